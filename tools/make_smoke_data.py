"""Writes tiny datasets of made-up voices in the layouts of the real ones."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from wavediff.cli import run
from wavediff.data.audio import write_audio
from wavediff.data.synthetic import utterance

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


def libritts(root: Path) -> Path:
    """LibriTTS: part, speaker, chapter; WAV at 24 kHz."""
    for voice, speaker in enumerate(["19", "103"]):
        for i in range(4):
            name = f"train-clean-100/{speaker}/198/{speaker}_198_{i:06d}_000000.wav"
            _write(root / "LibriTTS" / name, 24_000, i, voice)
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


# By the name of the function in `wavediff.data` that reads the layout.
LAYOUTS: dict[str, Callable[[Path], Path]] = {
    maker.__name__: maker
    for maker in (folder, ljspeech, vctk, libritts, voicebank_demand, synthetic, notes)
}


def _write(path: Path, sample_rate: int, seed: int, voice: int = 0) -> None:
    audio = utterance(SECONDS, sample_rate, (seed, voice), pitch=1 + 0.6 * voice)
    write_audio(path, audio, sample_rate)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="folder that gets a folder for each layout")
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    options = parser.parse_args(argv)
    for name in options.layouts:
        print(LAYOUTS[name](options.output / name))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
