"""Creates an evaluation set for enhancement: clean speech, and the same with noise.

    python tools/make_enhancement_set.py --clean speech/ --noise noises/ -o set/
    wavediff enhance set/noisy -o enhanced/
    wavediff evaluate --reference set/clean --noisy set/noisy --estimate enhanced/ \\
        --manifest set/manifest.csv

Writes clean/NAME.wav, noisy/NAME.wav (16-bit) and manifest.csv. SNRs are equally frequent, and so
are the noises: random excerpts of each recording in turn, then babble of other speakers of the
clean folder, where a speaker is a file's name up to its first "-", as in LibriSpeech. The SNR is
the ratio of the powers of speech and noise over the frames with speech. If the sum would clip,
clean and noisy are attenuated equally. The same folders and seed give identical files, and the same
excerpts of noise with any of these options:

    --rt60 0.3 0.8   speech in simulated rooms; clean is the sound of the first 50 ms
    --peak-db -40    peak of all noisy recordings, in dB relative to full scale
    --high-pass 50   remove content of the speech recordings below, in Hz: rumble is not speech
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.signal import butter, sosfiltfilt
from tqdm import tqdm

from wavediff.cli import run
from wavediff.data import rooms
from wavediff.data.audio import read_audio, write_audio
from wavediff.errors import UserError
from wavediff.files import atomic_path
from wavediff.inputs import find_audio

ACTIVE_DB = 30.0  # frames further below the loudest are pauses
FRAME = 0.02  # seconds
FADE = 0.05  # seconds of cross-fade from the end of a noise to its start
VOICES = 6  # maximum speakers in babble
PEAK = 0.99
EARLY = 0.05  # seconds of reflections that are part of the clean speech


def active(speech: np.ndarray, sample_rate: int) -> np.ndarray:
    """Active speech, bool [time]: frames of 20 ms within 30 dB of the loudest frame."""
    size = max(1, round(FRAME * sample_rate))
    frames = np.pad(speech, (0, -len(speech) % size)).reshape(-1, size)
    power = np.mean(frames**2, axis=1)
    return np.repeat(power > power.max() * 10 ** (-ACTIVE_DB / 10), size)[: len(speech)]


def snr_db(speech: np.ndarray, noise: np.ndarray, sample_rate: int) -> float:
    """SNR in dB over the active speech, of [time] each."""
    mask = active(speech, sample_rate)
    return float(10 * np.log10(np.mean(speech[mask] ** 2) / np.mean(noise[mask] ** 2)))


def mix(
    speech: np.ndarray,
    noise: np.ndarray,
    snr: float,
    sample_rate: int,
    clean: np.ndarray | None = None,
    peak_db: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Mix to (clean, noisy), [time] each, at `snr` dB over the active speech, peaks up to 0.99.

    clean: the speech without reverberation, if `speech` has any.
    peak_db: of the noisy recording, instead of the level of the speech.
    """
    clean = speech if clean is None else clean
    noise = noise * 10 ** ((snr_db(speech, noise, sample_rate) - snr) / 20)
    noisy = speech + noise
    gain = min(1.0, PEAK / max(np.abs(clean).max(), np.abs(noisy).max()))
    if peak_db is not None:
        gain = min(10 ** (peak_db / 20) / np.abs(noisy).max(), 1 / np.abs(clean).max())
    return gain * clean, gain * noisy


def in_room(
    speech: np.ndarray, rt60: Sequence[float], sample_rate: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(reverberant speech, its part within 50 ms), [time] each, in a simulated room."""
    room = rooms.simulated(sample_rate, rng.uniform(*rt60), rng)
    return room.apply(speech, round(EARLY * sample_rate))


def high_passed(speech: np.ndarray, edge: float, sample_rate: int) -> np.ndarray:
    """High-pass [time] with -6 dB at `edge` Hz and -48 dB an octave below, without delay."""
    return sosfiltfilt(butter(4, edge, "highpass", fs=sample_rate, output="sos"), speech)


def looped(
    signal: np.ndarray, length: int, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """Random excerpt [length]; a shorter signal is repeated with a cross-fade."""
    if len(signal) >= length:
        start = rng.integers(len(signal) - length + 1)
        return signal[start : start + length]
    fade = min(round(FADE * sample_rate), len(signal) // 2)
    angle = np.linspace(0, np.pi / 2, fade)
    head = np.sin(angle) * signal[:fade] + np.cos(angle) * signal[len(signal) - fade :]
    loop = np.concatenate([head, signal[fade : len(signal) - fade]])
    return np.resize(np.roll(loop, -rng.integers(len(loop))), length)


def babble(
    voices: Sequence[np.ndarray], length: int, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """Sum [length] of voices at equal levels over their active speech."""
    total = np.zeros(length)
    for voice in voices:
        level = np.sqrt(np.mean(voice[active(voice, sample_rate)] ** 2))
        total += looped(voice, length, sample_rate, rng) / level
    return total


def read(path: Path, sample_rate: int) -> np.ndarray:
    """Read float64 [time], mono. Raises UserError for digital silence."""
    audio = read_audio(path, sample_rate)[0][0].double().numpy()
    if not audio.any():
        raise UserError(f"{path} is silent: remove it from its folder")
    return audio


def make(options: argparse.Namespace) -> list[dict]:
    """Write the audio and return the rows of the manifest."""
    rate = options.sample_rate
    voices, noises = find_audio([options.clean]), find_audio([options.noise])
    speakers: dict[str, list[Path]] = {}
    for path in voices:
        speakers.setdefault(path.stem.partition("-")[0], []).append(path)
    if len(speakers) < 3:
        raise UserError(
            f"babble needs three or more speakers, and {options.clean} has {len(speakers)}: name "
            "the files SPEAKER-anything"
        )
    rng = np.random.default_rng(options.seed)
    chosen = sorted(rng.choice(len(voices), min(options.files, len(voices)), replace=False))
    rows = []
    for index, number in enumerate(tqdm(chosen, unit="file", file=sys.stderr)):
        path = voices[number]
        rng = np.random.default_rng([options.seed, index])
        speech = read(path, rate)
        if options.high_pass is not None:
            speech = high_passed(speech, options.high_pass, rate)
        turn = index // len(options.snrs) % (len(noises) + 1)
        if turn < len(noises):
            kind, sources = "recorded", [noises[turn]]
            noise = looped(read(sources[0], rate), len(speech), rate, rng)
        else:
            others = [name for name in speakers if name != path.stem.partition("-")[0]]
            names = rng.choice(others, min(VOICES, len(others)), replace=False)
            kind, sources = "babble", [speakers[n][rng.integers(len(speakers[n]))] for n in names]
            noise = babble([read(source, rate) for source in sources], len(speech), rate, rng)
        snr = options.snrs[index % len(options.snrs)]
        name = path.relative_to(options.clean).with_suffix("")
        clean = None
        if options.rt60 is not None:
            room_rng = np.random.default_rng([options.seed, index, 1])
            speech, clean = in_room(speech, options.rt60, rate, room_rng)
        if not noise[active(speech, rate)].any():
            raise UserError(f"{sources[0]} is silent in an excerpt of {len(speech) / rate:.1f} s")
        pair = mix(speech, noise, snr, rate, clean, options.peak_db)
        for folder, audio in zip(("clean", "noisy"), pair, strict=True):
            output = options.output / folder / f"{name}.wav"
            write_audio(output, torch.from_numpy(audio), rate)
        root = options.clean if kind == "babble" else options.noise
        names = " ".join(source.relative_to(root).as_posix() for source in sources)
        rows.append(
            {"name": name.as_posix(), "snr_db": f"{snr:g}", "noise": kind, "sources": names}
        )
    return rows


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clean", type=Path, required=True, help="folder of clean speech")
    parser.add_argument("--noise", type=Path, required=True, help="folder of noises")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the set")
    parser.add_argument(
        "--files", type=int, default=100, help="number of files (default: %(default)s)"
    )
    parser.add_argument("--snrs", type=float, nargs="+", default=[-5, 0, 5, 10, 15], metavar="DB")
    parser.add_argument("--sample-rate", type=int, default=16_000, help="Hz (default: %(default)s)")
    parser.add_argument("--rt60", type=float, nargs=2, metavar=("LOW", "HIGH"), help="seconds")
    parser.add_argument("--peak-db", type=float, metavar="DB", help="0 or below")
    parser.add_argument("--high-pass", type=float, metavar="HZ", help="of the speech")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    for folder in (options.clean, options.noise):
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder: give a folder of audio files")
    if options.files < 1 or options.seed < 0:
        raise UserError("--files must be 1 or more, and --seed 0 or more")
    if options.rt60 is not None and not 0 < options.rt60[0] <= options.rt60[1]:
        raise UserError("--rt60 must rise from above 0: give --rt60 0.3 0.8 for example")
    if options.peak_db is not None and not options.peak_db <= 0:
        raise UserError("--peak-db must be 0 or below: give --peak-db -20 for example")
    if options.high_pass is not None and not 0 < options.high_pass < options.sample_rate / 2:
        raise UserError(
            f"--high-pass must be above 0 and below {options.sample_rate / 2:g} Hz, half the "
            "sample rate: give --high-pass 50 for example"
        )
    if options.output.exists() and any(options.output.iterdir()):
        raise UserError(f"{options.output} is not empty: remove it, or give another folder")
    rows = make(options)
    with (
        atomic_path(options.output / "manifest.csv") as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
