"""Synthetic speech by the source-filter model (Fant, 1960), for tests and experiments.

It has no words, but the features of speech that a vocoder models: gliding harmonics under moving
formants, breath noise, noise bursts and pauses.
"""

import numpy as np
import torch
from torch import Tensor

from wavediff.data.audio import write_audio
from wavediff.data.source import Source, labelled
from wavediff.inputs import expanded

# First four formants in Hz of i, e, a, o, u, ae (men; the first three of Peterson & Barney 1952).
VOWELS = np.array(
    [
        [270, 2290, 3010, 3600],
        [530, 1840, 2480, 3500],
        [730, 1090, 2440, 3400],
        [570, 840, 2410, 3300],
        [300, 870, 2240, 3300],
        [660, 1720, 2410, 3500],
    ],
    dtype=np.float64,
)
BANDWIDTHS = np.array([90.0, 120.0, 180.0, 300.0])
LEVELS = np.array([1.0, 0.6, 0.4, 0.3])


def synthetic(
    root: str,
    count: int = 24,
    seconds: float = 2.0,
    sample_rate: int = 22050,
    speakers: int | None = None,
    seed: int = 0,
) -> Source:
    """Synthesise utterances as wav files below ``root``, unless they are there already.

    Args:
        root: the folder.
        count: number of utterances.
        seconds: length of an utterance.
        sample_rate: in Hz.
        speakers: number of voices, which are the labels; None for one voice without labels.
        seed: of everything random.
    """
    voices = f"-{speakers}-speakers" if speakers else ""
    folder = expanded(root) / f"{seconds:g}s-{sample_rate}Hz{voices}-seed{seed}"
    files = [folder / f"utterance-{i:04d}.wav" for i in range(count)]
    names = [i % (speakers or 1) for i in range(count)]
    for i, (file, voice) in enumerate(zip(files, names, strict=True)):
        if not file.exists():
            pitch = 2.0 ** (voice / max(speakers or 1, 1))  # spread over an octave
            audio = utterance(seconds, sample_rate, (seed, i), pitch=pitch)
            write_audio(file, audio, sample_rate)
    if not speakers:
        return Source(folder, files)
    return labelled(folder, files, [f"voice-{voice:03d}" for voice in names])


def utterance(
    seconds: float, sample_rate: int, seed: int | tuple[int, ...] = 0, pitch: float = 1.0
) -> Tensor:
    """Synthesise an utterance, a function of the arguments alone.

    Args:
        seconds: length.
        sample_rate: in Hz.
        seed: of everything random.
        pitch: factor of the pitch of a male voice; 2 is a child's.

    Returns:
        float32 ``[1, time]`` of peak 0.5.
    """
    rng = np.random.default_rng(seed)
    length = max(1, round(seconds * sample_rate))
    time = np.arange(length) / sample_rate
    slow = np.arange(0, seconds + 0.003, 0.003)  # grid of the slowly varying parameters
    points = _syllables(rng, seconds)

    # melody: falls over the utterance, varies by syllable, with a little vibrato
    f0 = np.interp(slow, points, 105 * pitch * rng.uniform(0.85, 1.25, len(points)))
    f0 *= (1.15 - 0.3 * slow / seconds) * (1 + 0.01 * np.sin(2 * np.pi * 5.5 * slow))
    vowels = VOWELS[rng.integers(len(VOWELS), size=len(points))] * pitch**0.3
    formants = [np.interp(slow, points, formant) for formant in vowels.T]
    loudness = np.where(rng.random(len(points)) < 0.2, 0.0, rng.uniform(0.4, 1, len(points)))
    loudness = np.interp(time, points, loudness)

    voiced = harmonics(f0, formants, slow, length, sample_rate)
    voiced *= loudness / (np.abs(voiced).max() + 1e-9)

    # consonants: bursts of high-passed (differenced) noise at some syllable boundaries
    hiss = np.diff(rng.standard_normal(length + 1))
    moments = points[rng.random(len(points)) < 0.5]
    bursts = sum((np.exp(-(((time - at) / 0.02) ** 2)) for at in moments), np.zeros(length))
    audio = voiced + 0.06 * bursts * hiss + 0.004 * loudness * hiss
    audio *= np.minimum(1, np.minimum(time, time[::-1]) / 0.02)
    return torch.from_numpy(0.5 * audio / (np.abs(audio).max() + 1e-9)).float()[None]


def harmonics(
    f0: np.ndarray, formants: list[np.ndarray], slow: np.ndarray, length: int, sample_rate: int
) -> np.ndarray:
    """Synthesise harmonics ``[length]`` with formants.

    Args:
        f0: pitch in Hz on the grid ``slow``.
        formants: frequencies in Hz on the grid ``slow``, one array each.
        slow: times of the grid in seconds.
        length: in samples.
        sample_rate: in Hz.
    """
    time = np.arange(length) / sample_rate
    voiced = np.zeros(length)
    cycle = np.exp(2j * np.pi * np.cumsum(np.interp(time, slow, f0)) / sample_rate)
    harmonic = np.ones(length, dtype=complex)
    for k in range(1, int(0.47 * sample_rate / f0.min()) + 1):
        harmonic *= cycle
        audible = np.clip((0.47 - k * f0 / sample_rate) / 0.02, 0, 1)
        amplitude = audible / np.sqrt(k) * _resonances(k * f0, formants)
        voiced += np.interp(time, slow, amplitude) * harmonic.imag
    return voiced


def _syllables(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Draw syllable boundaries in seconds, about six per second, from 0 to the end."""
    steps = rng.uniform(0.08, 0.25, size=2 + int(seconds / 0.08))
    inner = np.cumsum(steps)
    return np.concatenate([[0.0], inner[inner < seconds], [seconds]])


def _resonances(frequency: np.ndarray, formants: list[np.ndarray]) -> np.ndarray:
    """Return the amplitude at ``frequency`` Hz of parallel resonances (Klatt, 1980)."""
    gain = np.full_like(frequency, 0.03)
    for formant, bandwidth, level in zip(formants, BANDWIDTHS, LEVELS, strict=True):
        gain += level / (1 + ((frequency - formant) / bandwidth) ** 2)
    return gain
