"""Procedural noise.

All generators take (length in samples, sample rate in Hz, random generator) and return float32
``[length]`` at an unspecified level.
"""

from collections.abc import Callable

import numpy as np
from scipy import fft

Noise = Callable[[int, int, np.random.Generator], np.ndarray]

MIN_HZ = 20.0  # lower limit of the spectra, for finite power


def white(length: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """White noise: equal power at all frequencies."""
    return rng.standard_normal(length, dtype=np.float32)


def pink(length: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Pink noise: power 1/f, -3 dB per octave."""
    return _shaped(length, sample_rate, rng, lambda f: f**-0.5)


def brown(length: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Brown noise: power 1/f^2, -6 dB per octave, like rumble."""
    return _shaped(length, sample_rate, rng, lambda f: 1 / f)


def hum(length: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Mains hum: 50 or 60 Hz within 0.2 % and up to 40 harmonics, with faint white noise."""
    base = rng.choice([50.0, 60.0]) * rng.uniform(0.998, 1.002)
    count = min(int(rng.integers(3, 41)), int(0.45 * sample_rate / base))
    amplitudes = rng.uniform(0.1, 1, count) * np.arange(1, count + 1) ** -rng.uniform(0.5, 1.5)
    tone = _harmonics(base * np.arange(length) / sample_rate, amplitudes, rng)
    return tone + np.float32(0.01 * amplitudes.max()) * white(length, sample_rate, rng)


def clicks(length: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Short ringing impulses of different levels, up to 20 per second and at least one."""
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
    """A fan: air noise modulated by the rotation, and the tones of the blades."""
    corner, slope = rng.uniform(200, 1500), rng.uniform(0.5, 1.2)
    air = _unit(_shaped(length, sample_rate, rng, lambda f: (1 + (f / corner) ** 2) ** -slope))
    rotations = rng.uniform(8, 40) * np.arange(length) / sample_rate
    blades = int(rng.integers(3, 9))
    tones = _unit(_harmonics(blades * rotations, rng.uniform(0.1, 1, 5) / np.arange(1, 6), rng))
    pulse = 1 + rng.uniform(0, 0.3) * np.sin(2 * np.pi * rotations).astype(np.float32)
    return air * pulse + np.float32(rng.uniform(0, 0.7)) * tones


def wind(length: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Wind at a microphone: low-frequency turbulence in gusts (after Nelke & Vary, 2014)."""
    corner = rng.uniform(60, 300)
    roar = _unit(_shaped(length, sample_rate, rng, lambda f: 1 / (1 + (f / corner) ** 2)))
    seconds = length / sample_rate
    gusts = np.exp(0.9 * rng.standard_normal(2 + int(seconds * rng.uniform(1, 4))))
    return roar * _interpolated(gusts, length)


def texture(length: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Bands with random modulation, correlated or not: rain, traffic, rustling, a crowd.

    Listeners recognise sounds of many events by such statistics (McDermott & Simoncelli 2011).
    """
    size = fft.next_fast_len(max(length, 16), real=True)
    frequency = fft.rfftfreq(size, 1 / sample_rate)
    parts = rng.standard_normal((2, len(frequency)), dtype=np.float32)
    spectrum = parts[0] + 1j * parts[1]
    bands = int(rng.integers(3, 10))
    octaves = np.log2(np.maximum(frequency, MIN_HZ) / MIN_HZ)
    place = octaves / octaves.max() * (bands - 1)  # neighbours overlap by half
    tilt, together = rng.uniform(-7, 0), rng.uniform(0, 1)  # dB per octave
    depth, rate = rng.uniform(0, 1.2), 2 ** rng.uniform(-1, 4)  # nepers, changes per second
    changes = 2 + int(rate * length / sample_rate)
    common = rng.standard_normal(changes)
    out = np.zeros(length, np.float32)
    for band in range(bands):
        share = np.maximum(0, 1 - np.abs(place - band))
        level = tilt * octaves + rng.normal(0, 6)
        gain = np.sqrt(share) * 10 ** (level / 20)
        own = rng.standard_normal(changes)
        swell = np.exp(depth * (together * common + (1 - together) * own))
        noise = fft.irfft(spectrum * gain.astype(np.float32), size)[:length]
        out += noise * _interpolated(swell, length)
    return out if out.any() else white(length, sample_rate, rng)


def knocks(length: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Impacts on up to three objects, each up to 8 times per second: dishes, keys, steps.

    The sound of an impact is a sum of decaying modes and a burst of noise (van den Doel & Pai
    1998). There is faint noise between impacts.
    """
    from scipy.signal import fftconvolve  # the import takes half a second

    total = length + sample_rate // 2
    time = np.arange(sample_rate // 2, dtype=np.float32) / sample_rate
    out = np.zeros(total, np.float32)
    for _ in range(int(rng.integers(1, 4))):
        lowest, modes = 60 * 2 ** rng.uniform(0, 5), int(rng.integers(1, 9))
        tones = np.minimum(lowest * np.cumsum(rng.uniform(0.5, 2, modes)), 0.45 * sample_rate)
        decays = 2 ** rng.uniform(-8, -2) * (tones[0] / tones) ** rng.uniform(0, 1)  # seconds
        thing = rng.uniform(0, 1) * white(len(time), sample_rate, rng)
        thing *= np.exp(-time / rng.uniform(0.001, 0.03))
        for tone, decay in zip(tones, decays, strict=True):
            wave = np.sin((2 * np.pi * tone) * time + rng.uniform(0, 2 * np.pi))
            thing += np.float32(rng.uniform(0.1, 1)) * wave * np.exp(-time / decay)
        count = max(1, rng.poisson(2 ** rng.uniform(-1, 3) * total / sample_rate))
        hits = np.zeros(total, np.float32)
        hits[rng.integers(total, size=count)] = np.exp(rng.normal(0, 0.8, count))
        out += rng.uniform(0.2, 1) * fftconvolve(hits, thing.astype(np.float32))[:total]
    hiss = _shaped(total, sample_rate, rng, lambda f: f**-0.5)
    out = _unit(out) + np.float32(10 ** rng.uniform(-2.5, -0.5)) * _unit(hiss)
    return out[total - length :]  # the first impacts are before the start


def motor(length: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Drifting harmonics through the resonances of a housing, and air noise: engines, tools."""
    base = 30 * 2 ** rng.uniform(0, 4.5)
    changes = 2 + int(length / sample_rate * 2 ** rng.uniform(-1, 2))
    drift = np.cumsum(rng.normal(0, rng.choice([0.01, 0.05, 0.3]), changes))
    pitch = base * 2 ** np.clip(drift - drift[0], -1, 1)
    cycles = np.cumsum(_interpolated(pitch, length), dtype=np.float64) / sample_rate
    count = max(1, min(int(rng.integers(3, 61)), int(0.45 * sample_rate / pitch.max())))
    multiples = np.arange(1, count + 1)
    amplitudes = rng.uniform(0.1, 1, count) * multiples ** -rng.uniform(0, 1.5)
    for centre in rng.uniform(0, 1, 2) * count:
        amplitudes *= 1 + 3 * np.exp(-0.5 * ((multiples - centre) / (1 + 0.1 * count)) ** 2)
    tone = _unit(_harmonics(cycles, amplitudes, rng))
    corner = rng.uniform(300, 3000)
    air = _unit(_shaped(length, sample_rate, rng, lambda f: 1 / (1 + f / corner)))
    shake = _interpolated(np.exp(rng.normal(0, rng.uniform(0, 0.4), changes)), length)
    return tone * shake + np.float32(10 ** rng.uniform(-2, 0.3)) * air


NOISES: dict[str, Noise] = {
    f.__name__: f for f in (white, pink, brown, hum, clicks, fan, wind, texture, knocks, motor)
}


def _shaped(
    length: int,
    sample_rate: int,
    rng: np.random.Generator,
    amplitude: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Generate Gaussian noise with the spectrum ``amplitude`` of frequency in Hz, above MIN_HZ."""
    size = fft.next_fast_len(max(length, 16), real=True)  # at least one period: no repetition
    frequency = fft.rfftfreq(size, 1 / sample_rate).astype(np.float32)
    gain = np.where(frequency < MIN_HZ, 0, amplitude(np.maximum(frequency, MIN_HZ)))
    if not gain.any():
        gain[1:] = 1
    parts = rng.standard_normal((2, len(frequency)), dtype=np.float32)
    spectrum = (parts[0] + 1j * parts[1]) * gain.astype(np.float32)
    return fft.irfft(spectrum, size)[:length]


def _harmonics(cycles: np.ndarray, amplitudes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Generate harmonics at random phases; the fundamental has the phase ``cycles`` in periods."""
    table = np.zeros(4097)  # one period, because a sine per harmonic would be slow
    phase = 2 * np.pi * np.arange(len(table)) / (len(table) - 1)
    for k, amplitude in enumerate(amplitudes, start=1):
        table += amplitude * np.sin(k * phase + rng.uniform(0, 2 * np.pi))
    place = (cycles % 1) * (len(table) - 1)
    return np.interp(place, np.arange(len(table)), table).astype(np.float32)


def _interpolated(values: np.ndarray, length: int) -> np.ndarray:
    """Interpolate values linearly to float32 ``[length]``."""
    place = np.linspace(0, len(values) - 1, length)
    return np.interp(place, np.arange(len(values)), values).astype(np.float32)


def _unit(audio: np.ndarray) -> np.ndarray:
    return audio / np.float32(np.sqrt(np.mean(np.square(audio))) + 1e-12)
