from pathlib import Path

import numpy as np
import pytest
import soundfile
from omegaconf import OmegaConf

from wavediff.data.mixing_settings import PROBABILITIES, Mixing

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture
def make_wav():
    """make_wav(path, seconds=1, rate=16000, value=None): a tone, or a constant, on the disk."""

    def make(
        path: Path, seconds: float = 1.0, rate: int = 16000, value: float | None = None
    ) -> Path:
        time = np.arange(round(seconds * rate)) / rate
        samples = 0.5 * np.sin(2 * np.pi * 440 * time) if value is None else 0 * time + value
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate)
        return path

    return make


@pytest.fixture
def spoil():
    """spoil(folder): the usual bad files, {name: reason for which each is to be counted}."""

    def make(folder: Path) -> dict[str, str]:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "bytes.wav").write_bytes(b"")
        (folder / "text.wav").write_text("this is a text, not a sound\n" * 50)
        soundfile.write(folder / "frames.wav", np.zeros(0), 16000)
        soundfile.write(folder / "nan.wav", np.full(16000, np.nan), 16000, subtype="FLOAT")
        soundfile.write(folder / "short.wav", np.zeros(800), 16000)
        soundfile.write(folder / "cut.flac", np.random.default_rng(0).uniform(-1, 1, 32000), 16000)
        data = (folder / "cut.flac").read_bytes()
        (folder / "cut.flac").write_bytes(data[:40])
        return {
            "bytes.wav": "empty",
            "text.wav": "unreadable",
            "frames.wav": "empty",
            "nan.wav": "not finite",
            "short.wav": "too short",
            "cut.flac": "unreadable",
        }

    return make


@pytest.fixture
def mixing():
    """mixing(**settings): as the file has it, but with nothing at random that is not asked for."""

    def make(**settings) -> Mixing:
        mix = OmegaConf.load(CONF / "data" / "mixing.yaml").mix
        mix.noise = None
        values = OmegaConf.to_container(mix) | dict.fromkeys(PROBABILITIES, 0.0)
        values |= {"speed": [1, 1], "noise_speed": [1, 1]}
        return Mixing.of(values | settings)

    return make
