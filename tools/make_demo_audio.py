"""Synthesises a voice that says "hello world, this is sound", as an example without recordings.

With --noisy, also writes it with the noise of a fan and mains hum.
"""

import argparse
import sys
from typing import NamedTuple

import numpy as np
import torch

from wavediff.cli import run
from wavediff.data import noises
from wavediff.data.audio import write_audio
from wavediff.data.augment import noise_gain
from wavediff.data.synthetic import harmonics

SAMPLE_RATE = 22_050
FRAME = 1e-3  # seconds between two articulations


class Phone(NamedTuple):
    """Target of articulation: formants of a female voice in Hz (vowels: Peterson & Barney 1952),
    and levels of the three sources relative to a full vowel."""

    seconds: float
    f1: float
    f2: float
    f3: float
    voice: float = 0.0
    breath: float = 0.0
    hiss: float = 0.0
    stress: float = 0.0


PHONES = {
    "_": Phone(0.16, 500, 1600, 2700),
    ".": Phone(0.30, 500, 1600, 2700),
    "h": Phone(0.08, 610, 1900, 2850, breath=0.5),
    "eh": Phone(0.10, 610, 2330, 2990, voice=0.9),
    "l": Phone(0.08, 380, 1050, 2900, voice=0.55),
    "l,": Phone(0.10, 450, 900, 2850, voice=0.5),
    "o": Phone(0.15, 560, 950, 2700, voice=1.0, stress=1.0),
    "o,": Phone(0.13, 420, 900, 2650, voice=0.6),
    "w": Phone(0.08, 320, 700, 2300, voice=0.5),
    "er": Phone(0.20, 500, 1550, 1950, voice=1.0, stress=0.9),
    "d-": Phone(0.06, 250, 1700, 2800, voice=0.08),
    "d": Phone(0.02, 300, 1800, 2800, voice=0.1, hiss=0.5),
    "dh": Phone(0.06, 290, 1450, 2650, voice=0.3, hiss=0.03),
    "i": Phone(0.09, 430, 2480, 3070, voice=0.85, stress=0.3),
    "s": Phone(0.14, 350, 1900, 2800, hiss=0.3),
    "z": Phone(0.09, 300, 1900, 2800, voice=0.2, hiss=0.15),
    "a": Phone(0.16, 850, 1300, 2800, voice=1.0, stress=0.8),
    "u": Phone(0.11, 450, 1050, 2670, voice=0.7),
    "n": Phone(0.11, 280, 1700, 2700, voice=0.35),
}
SENTENCE = "_ h eh l o o, . w er l, d- d . dh i s i z s a u n d- d _"  # hello world, this is sound


def speak(sentence: str, seed: int = 0) -> np.ndarray:
    """Synthesise names of `PHONES`: float64 [time] at `SAMPLE_RATE`, with a peak of 0.7."""
    rng = np.random.default_rng(seed)
    phones = [PHONES[name] for name in sentence.split()]
    held = np.repeat(np.array(phones).T, [round(phone.seconds / FRAME) for phone in phones], axis=1)

    # formants change slowly, the sources faster, intonation slowest
    formants = [smooth(track, 0.055) for track in held[1:4]]
    voice, breath, hiss = (smooth(track, 0.020) for track in held[4:7])
    f0 = 190 + 45 * smooth(held[7], 0.22) - 45 * np.linspace(0, 1, held.shape[1])

    slow = np.arange(held.shape[1]) * FRAME
    length = round(held.shape[1] * FRAME * SAMPLE_RATE)
    time = np.arange(length) / SAMPLE_RATE
    formants.append(np.full_like(f0, 3900.0))
    speech = harmonics(f0, formants, slow, length, SAMPLE_RATE) * np.interp(time, slow, voice)
    speech /= np.abs(speech).max()
    noise = np.diff(rng.standard_normal(length + 1))  # high-passed
    speech += 0.1 * noise * np.interp(time, slow, hiss + 0.2 * breath)
    speech += 3e-4 * rng.standard_normal(length)  # a quiet room
    return 0.7 * speech / np.abs(speech).max()


def smooth(track: np.ndarray, seconds: float) -> np.ndarray:
    """Smooth [frames] with a Hann window of `seconds`."""
    window = np.hanning(max(3, round(seconds / FRAME)) + 2)
    padded = np.pad(track, len(window), mode="edge")
    return np.convolve(padded, window / window.sum(), mode="same")[len(window) : -len(window)]


def noisy(speech: np.ndarray, snr_db: float, seed: int) -> np.ndarray:
    """Add noise to `speech` [time], at the same peak."""
    rng = np.random.default_rng(seed)
    noise = noises.fan(len(speech), SAMPLE_RATE, rng) + 0.5 * noises.hum(
        len(speech), SAMPLE_RATE, rng
    )
    mixture = speech + noise_gain(speech, noise, snr_db, SAMPLE_RATE) * noise
    return mixture * np.abs(speech).max() / np.abs(mixture).max()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", default="demo/original.wav", help="a .wav or .flac file")
    parser.add_argument("--noisy", help="file of the noisy recording")
    parser.add_argument("--snr", type=float, default=5.0, help="its SNR in dB (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    speech = speak(SENTENCE, options.seed)
    write_audio(options.output, torch.from_numpy(speech), SAMPLE_RATE)
    if options.noisy:
        mixture = noisy(speech, options.snr, options.seed)
        write_audio(options.noisy, torch.from_numpy(mixture), SAMPLE_RATE)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
