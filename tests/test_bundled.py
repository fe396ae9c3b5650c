"""The bundled enhancers on a voice that it cannot have heard: a synthetic one."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wavediff.commands.enhance import main

SCRIPT = Path(__file__).parents[1] / "tools" / "make_demo_audio.py"
spec = importlib.util.spec_from_file_location("make_demo_audio", SCRIPT)
demo = importlib.util.module_from_spec(spec)
spec.loader.exec_module(demo)

FRAME = demo.SAMPLE_RATE // 50


@pytest.fixture(scope="module")
def speech():
    return demo.speak(demo.SENTENCE, 0)


def enhanced(audio: np.ndarray, folder: Path, *options: str) -> np.ndarray:
    soundfile.write(folder / "in.wav", audio, demo.SAMPLE_RATE, subtype="FLOAT")
    paths = [str(folder / "in.wav"), "-o", str(folder / "out.wav")]
    assert main([*paths, *options]) == 0
    return soundfile.read(folder / "out.wav")[0]


def levels(audio: np.ndarray, speech: np.ndarray) -> tuple[float, float]:
    """Decibels of `audio` where there is speech and where there is none."""

    def power(signal: np.ndarray) -> np.ndarray:
        return np.square(signal[: len(signal) // FRAME * FRAME]).reshape(-1, FRAME).mean(1)

    active = power(speech) > 1e-3 * power(speech).max()
    parts = power(audio)[active], power(audio)[~active]
    return tuple(10 * np.log10(part.mean()) for part in parts)


def test_the_level_of_clean_speech_is_kept(speech, tmp_path):
    before, after = levels(speech, speech)[0], levels(enhanced(speech, tmp_path), speech)[0]
    assert after == pytest.approx(before, abs=0.5)


@pytest.mark.parametrize("model", ["enhancer-16k", "enhancer-live-16k"])
@pytest.mark.parametrize("gain", [1.0, 0.01])
def test_noise_goes_and_speech_stays(speech, tmp_path, gain, model):
    noisy = gain * demo.noisy(speech, 10.0, 0)
    clean = speech * (noisy @ speech) / (speech @ speech)
    out = enhanced(noisy, tmp_path, "--checkpoint", model)
    (_, noise_before), (_, noise_after) = levels(noisy, speech), levels(out, speech)
    assert noise_after < noise_before - 10
    assert levels(out, speech)[0] == pytest.approx(levels(clean, speech)[0], abs=1.0)
    error_before, error_after = (np.square(x - clean).sum() for x in (noisy, out))
    assert error_after < error_before / 2
