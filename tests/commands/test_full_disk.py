"""A file system that takes no more bytes: one sentence, and nothing half-written."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest
import soundfile
from full_disk import full_disk

from wavediff.cli import main


@pytest.fixture
def here(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    sound = 0.1 * np.random.default_rng(0).normal(size=8000)
    soundfile.write("sound.wav", sound, 16_000)
    times = pandas.date_range("2024-01-01", periods=60, freq="D")
    pandas.DataFrame({"time": times, "y": np.sin(np.arange(60))}).to_csv("table.csv", index=False)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ["mel", "sound.wav", "-o", "out.npy"],
        ["mel", "sound.wav", "-o", "out.pt"],
        ["mel", "sound.wav", "-o", "out.safetensors"],
        ["vocode", "sound.wav", "-o", "out.wav", "--mel-iterations", "1"],
        ["vocode", "sound.wav", "-o", "out.flac", "--mel-iterations", "1"],
        *(["enhance", "sound.wav", "-o", f"out.{kind}"] for kind in ("wav", "flac", "mp3", "ogg")),
        ["enhance", "sound.wav", "-o", "out.opus"],
        ["enhance", "sound.wav", "-o", "out.aiff"],
        ["forecast", "table.csv", "-o", "out.csv", "--horizon", "40"],
        ["forecast", "table.csv", "-o", "out.parquet", "--horizon", "40"],
        ["bundle", "vocoder-en-22k", "-o", "out"],
        ["train", "recipe=series", "data.path=table.csv", "run_dir=out"],
    ],
    ids=lambda words: " ".join(words[:4]),
)
def test_an_output_that_does_not_fit(here: Path, words, capsys):
    before = set(here.rglob("*"))
    with full_disk():
        assert main(words) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: cannot write ")
    assert "too large for this file system" in error
    left = {path for path in set(here.rglob("*")) - before if path.is_file()}
    assert {path.name for path in left} <= {".lock"}


def test_a_plot_and_a_report_that_do_not_fit(here: Path, capsys):
    table = ["forecast", "table.csv", "-o", "small.csv", "--horizon", "1"]
    with full_disk():
        assert main([*table, "--plot", "out.png"]) == 2
    assert "cannot write out.png" in capsys.readouterr().err
    (here / "in").mkdir()
    os.rename("sound.wav", "in/sound.wav")
    assert main(["enhance", "in", "-o", "clean"]) == 0
    with full_disk():
        assert main(["enhance", "in", "-o", "clean", "--report", "out.html"]) == 2
    assert "cannot write out.html" in capsys.readouterr().err
    assert not list(here.glob("out*"))
    assert not [name for name in os.listdir() if name.startswith(".")]


def test_a_checkpoint_that_does_not_fit(here: Path, capsys):
    """The configuration and the log of the run do."""
    words = ["recipe=tiny", "data.root=data", "run_dir=run", "network.width=64"]
    words += ["trainer.max_steps=1", "trainer.validate_every=0", "trainer.progress=false"]
    words += ["task.crop_frames=4", "trainer.batch_size=2", "data.workers=0"]
    assert main(["train", *words, "run_dir=whole"]) == 0
    capsys.readouterr()
    with full_disk(100_000):
        assert main(["train", *words]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: cannot write ")
    assert "run/checkpoints/step-" in error
    assert "too large for this file system" in error
    assert (here / "run" / ".hydra" / "config.yaml").stat().st_size > 100
    assert not list((here / "run" / "checkpoints").iterdir())
    assert not list(here.glob("run/*.safetensors"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
@pytest.mark.parametrize(
    "words",
    [["enhance", "sound.wav", "-o", "-"], ["info"], ["mel", "sound.wav", "-o", "a.npy"]],
    ids=lambda words: words[0],
)
def test_a_full_disk_behind_stdout(here: Path, words):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "wavediff", *words], stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 2, done.stderr
    lines = done.stderr.decode().strip().splitlines()
    assert sum(line.startswith("error: ") for line in lines) == 1
    assert "the disk is full" in lines[-1]
    assert "Traceback" not in done.stderr.decode()
