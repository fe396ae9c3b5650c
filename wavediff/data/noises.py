"""Noise by formula, for all (length in samples, sample rate in Hz, generator): float32 [length], at
no particular level and different for every state of the generator."""

from collections.abc import Callable

import numpy as np
from scipy import fft

Noise = Callable[[int, int, np.random.Generator], np.ndarray]

LOWEST = 20.0  # Hz: where the power laws begin, so that their power is finite


def white(length: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """The same power at every frequency."""
    return rng.standard_normal(length, dtype=np.float32)


def pink(length: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Power 1/f: 3 dB less with every octave."""
    return _shaped(length, sample_rate, rng, lambda f: f**-0.5)


def brown(length: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Power 1/f^2: 6 dB less with every octave; rumble."""
    return _shaped(length, sample_rate, rng, lambda f: 1 / f)


def hum(length: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Of the mains: 50 or 60 Hz, within 0.2 %, and up to 40 harmonics, over a faint hiss."""
    base = rng.choice([50.0, 60.0]) * rng.uniform(0.998, 1.002)
    count = min(int(rng.integers(3, 41)), int(0.45 * sample_rate / base))
    amplitudes = rng.uniform(0.1, 1, count) * np.arange(1, count + 1) ** -rng.uniform(0.5, 1.5)
    tone = _harmonics(base * np.arange(length) / sample_rate, amplitudes, rng)
    return tone + np.float32(0.01 * amplitudes.max()) * white(length, sample_rate, rng)


def clicks(length: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Up to 20 short ringing impulses in a second, some much louder than others; one at least."""
    count = max(1, rng.poisson(rng.uniform(0.5, 20) * length / sample_rate))
    time = np.arange(max(2, int(0.01 * sample_rate))) / sample_rate
    ringing = np.cos(2 * np.pi * rng.uniform(0.03, 0.4) * sample_rate * time)
    click = (ringing * np.exp(-time / rng.uniform(0.0002, 0.002))).astype(np.float32)
    out = np.zeros(length + len(click), np.float32)
    strengths = np.exp(rng.standard_normal(count)) * rng.choice([-1, 1], count)
    for place, strength in zip(rng.integers(length, size=count), strengths, strict=True):
        out[place : place + len(click)] += np.float32(strength) * click
    return out[:length]


def fan(length: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Rushing air, pulsing with the rotation, and the tones of the blades."""
    corner, slope = rng.uniform(200, 1500), rng.uniform(0.5, 1.2)
    air = _unit(_shaped(length, sample_rate, rng, lambda f: (1 + (f / corner) ** 2) ** -slope))
    rotations = rng.uniform(8, 40) * np.arange(length) / sample_rate
    blades = int(rng.integers(3, 9))
    tones = _unit(_harmonics(blades * rotations, rng.uniform(0.1, 1, 5) / np.arange(1, 6), rng))
    pulse = 1 + rng.uniform(0, 0.3) * np.sin(2 * np.pi * rotations).astype(np.float32)
    return air * pulse + np.float32(rng.uniform(0, 0.7)) * tones


def wind(length: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Turbulence at a microphone: low frequencies, in gusts (after Nelke & Vary, 2014)."""
    corner = rng.uniform(60, 300)
    roar = _unit(_shaped(length, sample_rate, rng, lambda f: 1 / (1 + (f / corner) ** 2)))
    seconds = length / sample_rate
    gusts = np.exp(0.9 * rng.standard_normal(2 + int(seconds * rng.uniform(1, 4))))
    moments = np.linspace(0, seconds, len(gusts))
    return roar * np.interp(np.arange(length) / sample_rate, moments, gusts).astype(np.float32)


NOISES: dict[str, Noise] = {f.__name__: f for f in (white, pink, brown, hum, clicks, fan, wind)}


def _shaped(
    length: int,
    sample_rate: int,
    rng: np.random.Generator,
    amplitude: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Gaussian noise whose spectrum follows `amplitude` of the frequency in Hz, above LOWEST."""
    size = fft.next_fast_len(max(length, 16), real=True)  # a part of a period: it does not repeat
    frequency = fft.rfftfreq(size, 1 / sample_rate).astype(np.float32)
    gain = np.where(frequency < LOWEST, 0, amplitude(np.maximum(frequency, LOWEST)))
    if not gain.any():
        gain[1:] = 1
    parts = rng.standard_normal((2, len(frequency)), dtype=np.float32)
    spectrum = (parts[0] + 1j * parts[1]) * gain.astype(np.float32)
    return fft.irfft(spectrum, size)[:length]


def _harmonics(cycles: np.ndarray, amplitudes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Multiples of a tone that has gone through `cycles` [time] periods; each at any phase."""
    table = np.zeros(4097)  # of one period, then looked up: a sine for each harmonic would be slow
    phase = 2 * np.pi * np.arange(len(table)) / (len(table) - 1)
    for k, amplitude in enumerate(amplitudes, start=1):
        table += amplitude * np.sin(k * phase + rng.uniform(0, 2 * np.pi))
    place = (cycles % 1) * (len(table) - 1)
    return np.interp(place, np.arange(len(table)), table).astype(np.float32)


def _unit(audio: np.ndarray) -> np.ndarray:
    return audio / np.float32(np.sqrt(np.mean(np.square(audio))) + 1e-12)
