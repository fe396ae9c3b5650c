"""Makes a set to measure enhancement on: clean speech, and the same with noise added.

    python tools/make_enhancement_set.py --clean speech/ --noise noises/ -o set/
    wavediff enhance set/noisy -o enhanced/
    wavediff evaluate --reference set/clean --noisy set/noisy --estimate enhanced/ \\
        --manifest set/manifest.csv

Writes clean/NAME.wav, noisy/NAME.wav (16-bit) and manifest.csv. SNRs come in equal shares, and so
do the noises: random cuts of each recording in turn, then babble, which is voices of other speakers
of the clean folder, a speaker being a file's name up to its first "-", as in LibriSpeech. The SNR
is that of the powers of speech and noise over the frames with speech. Where the sum would clip,
clean and noisy are scaled down alike. The same folders and seed give the same bytes, and the same
cuts of noise whichever of these is given:

    --rt60 0.3 0.8   speech in simulated rooms; clean is what arrives within 50 ms
    --peak-db -40    all noisy recordings peak there, dB of full scale
    --high-pass 50   speech without what its own recording has below, Hz: rumble is no speech
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

ACTIVE_DB = 30.0  # frames this far below the loudest count as pauses
FRAME = 0.02  # seconds
FADE = 0.05  # seconds over which the end of a noise runs into its beginning
VOICES = 6  # speakers in a babble, fewer where there are not as many
PEAK = 0.99
EARLY = 0.05  # seconds of reflections that count as clean


def active(speech: np.ndarray, sample_rate: int) -> np.ndarray:
    """bool [time]: where the level in frames of 20 ms is within 30 dB of the loudest frame's."""
    size = max(1, round(FRAME * sample_rate))
    frames = np.pad(speech, (0, -len(speech) % size)).reshape(-1, size)
    power = np.mean(frames**2, axis=1)
    return np.repeat(power > power.max() * 10 ** (-ACTIVE_DB / 10), size)[: len(speech)]


def snr_db(speech: np.ndarray, noise: np.ndarray, sample_rate: int) -> float:
    """10 log10 of the ratio of the powers over the active speech, [time] each."""
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
    """(clean, noisy), [time] each, of `snr` dB over the active speech and peaks of at most 0.99.

    clean: the speech without its room, where it is in one.
    peak_db: of the noisy recording, instead of the speech's own level.
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
    """(the speech in a simulated room, what of it arrives within 50 ms), [time] each."""
    room = rooms.simulated(sample_rate, rng.uniform(*rt60), rng)
    return room.apply(speech, round(EARLY * sample_rate))


def high_passed(speech: np.ndarray, edge: float, sample_rate: int) -> np.ndarray:
    """[time] with 6 dB less at `edge` Hz and 48 dB an octave below, without delay."""
    return sosfiltfilt(butter(4, edge, "highpass", fs=sample_rate, output="sos"), speech)


def looped(
    signal: np.ndarray, length: int, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """A random cut [length]; what is shorter is repeated, its end faded into its beginning."""
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
    """The sum [length] of voices, each at the same level over its active speech."""
    total = np.zeros(length)
    for voice in voices:
        level = np.sqrt(np.mean(voice[active(voice, sample_rate)] ** 2))
        total += looped(voice, length, sample_rate, rng) / level
    return total


def read(path: Path, sample_rate: int) -> np.ndarray:
    """float64 [time], mono. Raises UserError for a file that is digital silence."""
    audio = read_audio(path, sample_rate)[0][0].double().numpy()
    if not audio.any():
        raise UserError(f"{path} is silent: take it out of its folder")
    return audio


def make(options: argparse.Namespace) -> list[dict]:
    """Writes the audio and returns the rows of the manifest."""
    rate = options.sample_rate
    voices, noises = find_audio([options.clean]), find_audio([options.noise])
    speakers: dict[str, list[Path]] = {}
    for path in voices:
        speakers.setdefault(path.stem.partition("-")[0], []).append(path)
    if len(speakers) < 3:
        raise UserError(
            f"babble takes three speakers or more, and {options.clean} has {len(speakers)}: name "
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
            raise UserError(f"{sources[0]} has no sound in a cut of {len(speech) / rate:.1f} s")
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
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder that is made")
    parser.add_argument("--files", type=int, default=100, help="how many (default: %(default)s)")
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
