"""Folders with a file whose name is no UTF-8: every command takes it like the others."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from omegaconf import OmegaConf

from wavediff.files import conf_folder
from wavediff.tasks.build import build_task
from wavediff.tasks.checkpoint import save_task

NAME = b"caf\xe9"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("names") / "in"
    path.mkdir()
    sound = 0.1 * np.random.default_rng(0).normal(size=8000)
    for name in (b"a.wav", NAME + b".wav"):
        file = path / "plain.wav"
        soundfile.write(file, sound, 16000)
        try:
            os.rename(file, os.path.join(os.fsencode(path), name))
        except OSError:
            pytest.skip("this file system takes UTF-8 only")
    return path


def wavediff(folder: Path, *words: str) -> bytes:
    done = subprocess.run(
        [sys.executable, "-m", "wavediff", *words, "--device", "cpu"]
        if words[0] not in ("evaluate", "mel")
        else [sys.executable, "-m", "wavediff", *words],
        cwd=folder.parent,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_enhance_mel_and_vocode_write_files_of_the_same_name(folder):
    for words, name in (
        (["enhance", "in", "-o", "clean", "--report", "r.html"], NAME + b".wav"),
        (["mel", "in", "-o", "mels"], NAME + b".npy"),
        (["vocode", "mels", "-o", "again", "--mel-iterations", "2"], NAME + b".wav"),
    ):
        out = wavediff(folder, *words)
        target = os.path.join(os.fsencode(folder.parent), words[3].encode())
        assert name in os.listdir(target)
        assert name in out
    assert (folder.parent / "r.html").stat().st_size > 1000


def generator(place: Path) -> Path:
    """A generator of toy size, untrained."""

    def group(name: str, choice: str) -> dict:
        return OmegaConf.to_container(OmegaConf.load(conf_folder() / name / f"{choice}.yaml"))

    small = {"width": 8, "layers": 2, "dilation_cycle": 2}
    task = build_task(
        {
            "task": group("task", "generator") | {"sample_rate": 16_000, "crop_seconds": 0.05},
            "representation": group("representation", "waveform"),
            "network": group("network", "diffwave") | small,
            "schedule": group("schedule", "vp"),
            "prediction": "v",
            "objective": group("objective", "denoising"),
            "sampler": group("sampler", "ddim"),
        }
    )
    save_task(place / "model.safetensors", task.config, task.network.state_dict(), {})
    return place


def test_likelihood_and_generate_take_the_name(folder):
    model = ["--checkpoint", str(generator(folder.parent / "prior")), "--steps", "1"]
    words = ["--probes", "1", "--csv", "l.csv", "--json", "l.json"]
    assert NAME in wavediff(folder, "likelihood", "in", *model, *words)
    assert NAME in (folder.parent / "l.csv").read_bytes()
    wavediff(folder, "generate", "--augment", "in", "-o", "more", "--n", "1", *model)
    assert len(list((folder.parent / "more").glob("*.wav"))) == 1


def test_evaluate_writes_tables_with_the_name(folder):
    shutil.copytree(folder, folder.parent / "estimate", dirs_exist_ok=True)
    words = ["--metrics", "si_sdr", "--jobs", "1", "--csv", "e.csv", "--json", "e.json"]
    wavediff(folder, "evaluate", "--reference", "in", "--estimate", "estimate", *words)
    with open(folder.parent / "e.csv", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.reader(file))
    assert any(NAME in os.fsencode(cell) for row in rows for cell in row)


def test_training_and_its_validation_take_the_name(folder):
    place = folder.parent / "labelled"
    for label in (b"a", NAME):
        below = os.path.join(os.fsencode(place), label)
        os.makedirs(below)
        for name in os.listdir(os.fsencode(folder)):
            shutil.copy(os.path.join(os.fsencode(folder), name), below)
    words = ["recipe=tiny", "data=folder", "data.root=labelled", "data.labels=true", "run_dir=run"]
    words += ["network.width=8", "network.layers=2", "task.crop_frames=4", "trainer.max_steps=1"]
    words += ["trainer.validate_every=1", "trainer.validate_files=2", "trainer.measures=[mr_stft]"]
    words += ["trainer.validate_seconds=0.4", "data.workers=0", "trainer.batch_size=2"]
    words += ["data.split={every: 4, test: null, validation: 1}", "trainer.device=cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "wavediff", "train", *words], cwd=place.parent, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    speak = ["--checkpoint", "run", "--label", os.fsdecode(NAME), "--mel-iterations", "0"]
    wavediff(folder, "vocode", "in/a.wav", "-o", "spoken.wav", *speak)
