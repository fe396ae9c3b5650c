import importlib.util
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wavediff.cli import run

SCRIPT = Path(__file__).parents[2] / "tools" / "shift_voice.py"
spec = importlib.util.spec_from_file_location("shift_voice", SCRIPT)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

RATE = 16000


@pytest.fixture
def tone(tmp_path):
    (tmp_path / "speech" / "deep").mkdir(parents=True)
    audio = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    soundfile.write(tmp_path / "speech" / "deep" / "a.flac", audio, RATE)
    return tmp_path


@pytest.mark.parametrize(("semitones", "hertz"), [(0, 440), (3, 523.25), (-12, 220)])
def test_the_pitch_moves_and_the_duration_stays(tone, semitones, hertz):
    words = [str(tone / "speech"), "-o", str(tone / "out"), "--semitones", str(semitones)]
    assert run(tool.main, [*words, "--gain-db", "-20"]) == 0
    audio, rate = soundfile.read(tone / "out" / "deep" / "a.wav")
    assert (len(audio), rate) == (RATE, RATE)
    middle = audio[RATE // 4 : 3 * RATE // 4]
    peak = np.argmax(np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 16 * RATE))) / 16
    assert peak == pytest.approx(hertz, abs=2)
    assert middle.std() == pytest.approx(0.05 / np.sqrt(2), rel=0.1)


def test_what_cannot_be_is_one_sentence(tone, capsys):
    assert run(tool.main, [str(tone / "none"), "-o", str(tone / "out")]) == 2
    assert "is not a folder" in capsys.readouterr().err
    assert run(tool.main, [str(tone / "speech"), "-o", str(tone / "speech")]) == 2
    assert "is not empty" in capsys.readouterr().err
