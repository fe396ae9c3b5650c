"""Valid inputs that cases are made from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas
import soundfile

from wavediff import cli

RATE = 16_000
FAST = ["trainer.device=cpu", "trainer.threads=1", "trainer.progress=false", "data.workers=0",
        "trainer.batch_size=2", "trainer.validate_every=0", "trainer.max_steps=2",
        "trainer.checkpoint_every=1"]  # fmt: skip
MODELS = {  # name: overrides of the training of a toy
    "vocoder": ["recipe=tiny", "network.width=8", "network.layers=2", "network.dilation_cycle=2"],
    "enhancer": ["recipe=tiny_enhance", "network.network.width=8", "network.network.layers=2"],
    "generator": ["recipe=tiny_generate", "network.width=8", "network.layers=2"],
    "autoencoder": ["recipe=tiny_autoencoder", "network.width=4", "trainer.best=mr_stft"],
    "series": ["recipe=series", "data.path=table.csv", "data.context=24", "data.horizon=6",
               "network.width=8", "network.layers=2"],
    "forecaster": ["recipe=forecaster", "network.width=16", "network.encoder_blocks=1",
                   "network.decoder_blocks=1"],
}  # fmt: skip


STEPS = ["--steps", "2", "--device", "cpu", "--threads", "1"]


@dataclass(frozen=True)
class Case:
    """A command on a damaged input.

    Attributes:
        words: the command line, without the program's name.
        damage: what was done to the input.
        output: the file that an error must not leave, if there is one.
    """

    words: list[str]
    damage: str
    output: str | None = None


@dataclass(frozen=True)
class Material:
    """Valid inputs, in a folder: ``MODELS`` as runs, ``sound.wav``, ``table.csv`` and others."""

    folder: Path

    def run(self, name: str) -> Path:
        return self.folder / name


def make_material(folder: Path) -> Material:
    """Make the valid inputs."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    t = np.arange(RATE // 2) / RATE
    sound = 0.2 * np.sin(2 * np.pi * 220 * t) * (1 + np.sin(9 * t)) + 0.01 * rng.normal(size=len(t))
    soundfile.write(folder / "sound.wav", sound, RATE)
    mel = rng.normal(-5, 2, (80, 24)).clip(-11.5, 1).astype(np.float32)
    np.save(folder / "mel.npy", mel)
    steps = np.arange(240)
    frame = pandas.DataFrame({
        "time": pandas.date_range("2024-01-01", periods=len(steps), freq="h"),
        "load": (50 + 9 * np.sin(steps / 24 * 2 * np.pi) + rng.normal(size=len(steps))).round(2),
        "count": rng.poisson(3, len(steps)),
        "item": np.where(steps % 2, "a", "a"),
    })  # fmt: skip
    frame.to_csv(folder / "table.csv", index=False)
    frame.to_parquet(folder / "table.parquet")
    here = Path.cwd()
    try:
        os.chdir(folder)
        for name, words in MODELS.items():
            _quietly(["train", *words, *FAST, f"run_dir={name}"])
        _quietly(["encode", "sound.wav", "-o", "latent.npz", "--checkpoint", "autoencoder"])
    finally:
        os.chdir(here)
    return Material(folder)


def _quietly(words: list[str]) -> None:
    """Run a command in a fork, so that this process stays small."""
    pid = os.fork()
    if pid == 0:
        for stream in (1, 2):
            os.dup2(os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        code = 1
        try:
            code = cli.main(words)
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError(f"wavediff {' '.join(words)} failed: {Path('log').read_text()}")


def output_of(words: Sequence[str]) -> str | None:
    """The file of -o, where it is one."""
    found = words[words.index("-o") + 1] if "-o" in words else None
    return found if found is not None and "." in found else None
