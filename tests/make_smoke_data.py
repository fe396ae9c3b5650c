"""Writes tiny datasets of made-up voices and series in the layouts of the real ones."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas
import torch

from wavediff.data.audio import write_audio
from wavediff.data.synthetic import utterance
from wavediff.series.datasets import ROLLING
from wavediff.series.physionet import VARIABLES

SECONDS = 1.5


def folder(root: Path) -> Path:
    """Any folder, with folders in it."""
    for i in range(8):
        _write(root / f"part-{i % 2}" / f"{i:03d}.flac", 22_050, i)
    return root


def ljspeech(root: Path) -> Path:
    """LJSpeech-1.1: wavs/ and metadata.csv, one voice at 22,050 Hz."""
    names = [f"LJ001-{i:04d}" for i in range(1, 9)]
    for i, name in enumerate(names):
        _write(root / "LJSpeech-1.1" / "wavs" / f"{name}.wav", 22_050, i)
    lines = "".join(f"{name}||\n" for name in names)
    (root / "LJSpeech-1.1" / "metadata.csv").write_text(lines)
    return root


def vctk(root: Path) -> Path:
    """VCTK-Corpus-0.92: two microphones, FLAC at 48 kHz, a folder for each speaker."""
    for voice, speaker in enumerate(["p225", "p226"]):
        for i in range(1, 5):
            for microphone in ("mic1", "mic2"):
                name = f"wav48_silence_trimmed/{speaker}/{speaker}_{i:03d}_{microphone}.flac"
                _write(root / "VCTK-Corpus-0.92" / name, 48_000, i, voice)
    return root


def voicebank_demand(root: Path) -> Path:
    """VoiceBank-DEMAND: folders of clean and noisy WAV at 48 kHz under the same names."""
    for speaker, voice in (("p226", 0), ("p287", 1)):
        for i in range(1, 5):
            clean = utterance(SECONDS, 48_000, (i, voice), pitch=1 + 0.6 * voice)
            noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(i))
            for kind, audio in (("clean", clean), ("noisy", clean + 0.02 * noise)):
                name = f"{kind}_trainset_28spk_wav/{speaker}_{i:03d}.wav"
                write_audio(root / name, audio, 48_000)
    return root


def synthetic(root: Path) -> Path:
    """Nothing: this dataset writes itself."""
    return root


def notes(root: Path) -> Path:
    """Nothing: this dataset writes itself."""
    return root


def ett(root: Path) -> Path:
    """ETTh1: seven hourly columns."""
    return _table(root / "ETTh1.csv", [f"load{i}" for i in range(7)]).parent


def csv(root: Path) -> Path:
    """One table."""
    return _table(root / "table.csv", ["a", "b"])


def statsmodels(root: Path) -> Path:
    """Nothing: statsmodels carries these."""
    return root


def m4_hourly(root: Path) -> Path:
    """Two series of different lengths, the last 48 steps in a file of their own."""
    root.mkdir(parents=True, exist_ok=True)
    parts = {"train": (700, 500), "test": (48, 48)}
    for part, lengths in parts.items():
        rows = {f"H{i + 1}": pandas.Series(_daily(n) + 10 * i) for i, n in enumerate(lengths)}
        frame = pandas.DataFrame(rows).T
        frame.columns = [f"V{i + 2}" for i in frame.columns]
        frame.to_csv(root / f"M4-Hourly-{part}.csv", index_label="V1")
    return root


def rolling(root: Path) -> Path:
    """GluonTS's layout, of each dataset two series and a window for testing of each."""
    for part, length in (("train", 1200), ("test", 1230)):
        lines = [
            json.dumps({"start": "1990-01-01 00:00:00", "target": (_daily(length) + i).tolist()})
            for i in range(2)
        ]
        for name in ROLLING:
            path = root / f"{name}_nips" / part / f"{part}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def pm25(root: Path) -> Path:
    """A year of two stations with holes, and the same with more of them."""
    root.mkdir(parents=True, exist_ok=True)
    stamps = pandas.date_range("2014-05-01", "2015-04-30 23:00", freq="h").strftime(
        "%Y/%m/%d %H:%M:%S"
    )
    frame = pandas.DataFrame({"datetime": stamps})
    for i in range(2):
        frame[f"00100{i}"] = 20 * _daily(len(stamps)) + i
    generator = np.random.default_rng(0)
    for kind in ("ground", "missing"):
        holes = generator.random((len(frame), 2)) < 0.1
        frame.iloc[:, 1:] = frame.iloc[:, 1:].mask(holes)
        frame.to_csv(root / f"pm25_{kind}.txt", index=False)
    return root


def physionet(root: Path) -> Path:
    """Ten patients of whom little is known."""
    folder = root / "set-a"
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for patient in range(132539, 132549):
        rows = ["Time,Parameter,Value", f"00:00,RecordID,{patient}"]
        rows += [
            f"{hour:02d}:30,{name},{generator.normal(100, 10):.1f}"
            for hour in range(48)
            for name in generator.choice(VARIABLES, 7, replace=False)
        ]
        (folder / f"{patient}.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


def _daily(length: int) -> np.ndarray:
    """Positive numbers with a period of a day of hours."""
    noise = np.random.default_rng(length).normal(0, 0.1, length)
    return 5 + np.sin(np.arange(length) * 2 * np.pi / 24) + noise


def _table(path: Path, columns: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {name: _daily(1500) + i for i, name in enumerate(columns)}
    stamps = pandas.date_range("2016-07-01", periods=1500, freq="h")
    pandas.DataFrame({"date": stamps} | values).to_csv(path, index=False)
    return path


# By the name of the function in `wavediff.data` that reads the layout.
LAYOUTS: dict[str, Callable[[Path], Path]] = {
    maker.__name__: maker
    for maker in (
        *(folder, ljspeech, vctk, voicebank_demand, synthetic, notes),
        *(ett, csv, statsmodels, m4_hourly, rolling, pm25, physionet),
    )
}


def _write(path: Path, sample_rate: int, seed: int, voice: int = 0) -> None:
    audio = utterance(SECONDS, sample_rate, (seed, voice), pitch=1 + 0.6 * voice)
    write_audio(path, audio, sample_rate)
