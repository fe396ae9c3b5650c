"""Speaks "hello world, this is sound" by a formant synthesiser, so that no recording is needed.

A source and a filter (Fant, 1960; Klatt, 1980): a train of glottal pulses with jitter and shimmer,
and breath, go through a cascade of moving resonances; hissing and bursts are band-passed noise.
With --noisy the same once more, in the noise of a fan and of the mains.
"""

import argparse
import sys
from typing import NamedTuple

import numpy as np
import torch
from scipy.signal import butter, lfilter, resample_poly, sosfilt

from wavediff.cli import run
from wavediff.data import noises
from wavediff.data.audio import write_audio
from wavediff.data.mixing import noise_gain

SAMPLE_RATE = 22_050
FRAME = 22  # samples between two settings of the filters: 1 ms
OVERSAMPLING = 4  # of the glottal pulses, whose corners would alias


class Phone(NamedTuple):
    """What the mouth is held at. Formants of a woman's voice in Hz (vowels: Peterson & Barney,
    1952), levels of the three sources relative to a full vowel."""

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
    """float64 [time] at `SAMPLE_RATE`, of peak 0.7, for names in `PHONES`."""
    rng = np.random.default_rng(seed)
    phones = [PHONES[name] for name in sentence.split()]
    frames = [round(phone.seconds * SAMPLE_RATE / FRAME) for phone in phones]
    held = np.repeat(np.array(phones).T, frames, axis=1)

    # The tongue glides; breath, voice and hiss start and stop faster; intonation is the slowest.
    formants = [smooth(track, 0.055) for track in held[1:4]]
    voice, breath, hiss = (smooth(track, 0.020) for track in held[4:7])
    f0 = 190 + 45 * smooth(held[7], 0.22) - 45 * np.linspace(0, 1, held.shape[1])

    length = held.shape[1] * FRAME
    source = glottal_pulses(per_sample(f0), rng) * per_sample(voice)
    source += rng.standard_normal(length) * per_sample(0.15 * breath + 0.02 * voice)
    speech = vocal_tract(source, formants)
    band = butter(3, [4200, 9500], "bandpass", fs=SAMPLE_RATE, output="sos")
    speech /= np.abs(speech).max()
    speech += 0.2 * sosfilt(band, rng.standard_normal(length)) * per_sample(hiss)
    speech += 3e-4 * rng.standard_normal(length)  # a quiet room
    return 0.7 * speech / np.abs(speech).max()


def glottal_pulses(f0: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Derivative of the air flow for a pitch track in Hz, [time] -> [time] (KLGLOTT88: Klatt &
    Klatt, 1990): open for 0.6 of each period, closing abruptly; jitter of 0.8%, shimmer of 4%."""
    rate = SAMPLE_RATE * OVERSAMPLING
    flow = np.zeros(len(f0) * OVERSAMPLING)
    start = 0.0
    while start < len(flow):
        period = rate / f0[int(start) // OVERSAMPLING] * (1 + 0.008 * rng.standard_normal())
        phase = (np.arange(np.ceil(start), min(start + 0.6 * period, len(flow))) - start) / period
        phase = phase / 0.6  # 0 to 1 while the glottis is open
        first = int(np.ceil(start))
        loudness = 1 + 0.04 * rng.standard_normal()
        flow[first : first + len(phase)] = loudness * (2 * phase - 3 * phase**2)
        start += period
    return resample_poly(flow, 1, OVERSAMPLING)


def vocal_tract(source: np.ndarray, formants: list[np.ndarray]) -> np.ndarray:
    """`source` [time] through resonances in a cascade: three move, those above stand still."""
    output = source
    for frequency in range(4200, SAMPLE_RATE // 2 - 1000, 1100):
        output = resonance(output, np.full_like(formants[0], frequency), 250 + frequency / 40)
    for frequency, bandwidth in zip(formants, (80, 110, 170), strict=True):
        output = resonance(output, frequency, bandwidth)
    return output


def resonance(source: np.ndarray, frequency: np.ndarray, bandwidth: float) -> np.ndarray:
    """y[n] = a x[n] + b y[n-1] + c y[n-2] of unit gain at 0 Hz (Klatt, 1980, equation 2), with a
    `frequency` in Hz for each frame. What is kept between frames are the outputs, so that a change
    of the coefficients does not click."""
    c = -np.exp(-2 * np.pi * bandwidth / SAMPLE_RATE)
    y1 = y2 = 0.0
    output = np.empty_like(source)
    for frame, b in enumerate(2 * np.sqrt(-c) * np.cos(2 * np.pi * frequency / SAMPLE_RATE)):
        block = slice(frame * FRAME, (frame + 1) * FRAME)
        state = [b * y1 + c * y2, c * y1]
        output[block], _ = lfilter([1 - b - c], [1, -b, -c], source[block], zi=state)
        y2, y1 = output[block][-2:]
    return output


def smooth(track: np.ndarray, seconds: float) -> np.ndarray:
    """[frames] -> [frames], through a Hann window of `seconds`."""
    window = np.hanning(max(3, round(seconds * SAMPLE_RATE / FRAME)) + 2)
    padded = np.pad(track, len(window), mode="edge")
    return np.convolve(padded, window / window.sum(), mode="same")[len(window) : -len(window)]


def per_sample(track: np.ndarray) -> np.ndarray:
    """[frames] -> [frames * FRAME], linearly."""
    return np.interp(np.arange(len(track) * FRAME) / FRAME, np.arange(len(track)), track)


def noisy(speech: np.ndarray, snr_db: float, seed: int) -> np.ndarray:
    """`speech` [time] in noise, with the peak that it had."""
    rng = np.random.default_rng(seed)
    noise = noises.fan(len(speech), SAMPLE_RATE, rng) + 0.5 * noises.hum(
        len(speech), SAMPLE_RATE, rng
    )
    mixture = speech + noise_gain(speech, noise, snr_db, SAMPLE_RATE) * noise
    return mixture * np.abs(speech).max() / np.abs(mixture).max()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", default="demo/original.wav", help="a .wav or .flac file")
    parser.add_argument("--noisy", help="another file, for the noisy recording")
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
