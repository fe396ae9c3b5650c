import importlib.util
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wavediff.cli import run

SCRIPT = Path(__file__).parents[2] / "recipes" / "libri_noise" / "prepare.py"
spec = importlib.util.spec_from_file_location("prepare", SCRIPT)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

RATE = 8000


def write(path: Path, *parts: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.concatenate(parts), RATE)


def tone(seconds: float) -> np.ndarray:
    return 0.2 * np.cos(2 * np.pi * 440 * np.arange(round(seconds * RATE)) / RATE)


@pytest.fixture
def clones(tmp_path):
    silence = np.zeros(RATE)
    esc = tmp_path / "clones" / "ESC-50"
    write(esc / "audio" / "dog.wav", silence, tone(2), silence)
    write(esc / "audio" / "tick.wav", tone(0.1), silence)
    write(esc / "audio" / "frog.wav", tone(2))
    (esc / "meta").mkdir()
    (esc / "meta" / "esc50.csv").write_text(
        "filename,fold,target,category,esc10\n"
        "dog.wav,1,0,dog,True\ntick.wav,1,1,tick,True\nfrog.wav,1,2,frog,False\n"
    )
    for file, _ in made_up(tmp_path / "clones"):
        write(file, tone(91 if file.stem == "hum" else 1))
    return tmp_path / "clones"


def made_up(clones: Path) -> list[tuple[Path, str]]:
    for repository in tool.AMBIENT:
        (clones / repository).mkdir(parents=True)
    return tool.ambient(clones)


def test_both_folders_are_made(clones, tmp_path, capsys):
    assert run(tool.main, [str(clones), "-o", str(tmp_path / "data")]) == 0
    assert [path.name for path in (tmp_path / "data" / "esc-10").iterdir()] == ["dog.flac"]
    assert "tick.wav" in capsys.readouterr().err
    ambient = sorted((tmp_path / "data" / "ambient").iterdir())
    assert len(ambient) == 32
    dog, rate = soundfile.read(tmp_path / "data" / "esc-10" / "dog.flac")
    assert (rate, np.abs(dog).max()) == (16000, pytest.approx(0.7, abs=1e-3))
    assert len(dog) == pytest.approx(2 * rate, rel=0.01)
    assert soundfile.info(tmp_path / "data" / "ambient" / "ambient-engine-hum.flac").duration == 90


@pytest.mark.parametrize("lacking", ["ESC-50/meta/esc50.csv", "blanket"])
def test_a_clone_that_lacks_is_named(clones, tmp_path, capsys, lacking):
    (clones / lacking).rename(tmp_path / "away")
    assert run(tool.main, [str(clones), "-o", str(tmp_path / "data")]) == 2
    assert f"{lacking} is not there: clone" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
