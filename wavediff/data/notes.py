"""Synthetic notes of ten instruments, for class-conditional generation in minutes.

A note is a sum of partials with an envelope, and breath or string noise; pitch, loudness,
brightness and phases vary. There is one file per instrument with all its notes, which the loader
splits (``max_seconds`` is the length of a note).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wavediff.data.audio import write_audio
from wavediff.data.source import Source, labelled
from wavediff.inputs import expanded

MIN_HZ, SEMITONES = 130.8, 24  # the lowest pitch, and the range above it


@dataclass(frozen=True)
class Instrument:
    """The timbre of an instrument.

    Attributes:
        slope: harmonic k has amplitude k^-slope.
        even: factor for even harmonics.
        attack: time constant of the onset, in seconds.
        decay: time to 1/e, in seconds.
        damping: harmonic k decays 1 + damping (k - 1) times as fast.
        stretch: harmonic k of pitch f is at k f sqrt(1 + stretch k^2).
        vibrato: relative deviation of the pitch.
        breath: level of the noise.
    """

    slope: float
    even: float = 1.0
    attack: float = 0.003
    decay: float = 5.0
    damping: float = 0.0
    stretch: float = 0.0
    vibrato: float = 0.0
    breath: float = 0.02


INSTRUMENTS = {
    "bell": Instrument(0.6, 0.5, decay=0.3, damping=0.1, stretch=0.03),
    "clarinet": Instrument(0.8, 0.05, attack=0.03, breath=0.03),
    "flute": Instrument(2.2, attack=0.05, vibrato=0.01, breath=0.1),
    "guitar": Instrument(1.0, decay=0.15, damping=0.2, stretch=2e-4),
    "harp": Instrument(1.6, 0.6, decay=0.12, damping=0.05),
    "marimba": Instrument(2.0, 0.1, decay=0.05, damping=0.5, stretch=0.01),
    "oboe": Instrument(0.4, attack=0.02, vibrato=0.006, breath=0.03),
    "organ": Instrument(1.3, 1.5, attack=0.01),
    "trumpet": Instrument(0.7, attack=0.04, breath=0.04),
    "violin": Instrument(0.9, attack=0.07, vibrato=0.012, breath=0.05),
}


def notes(
    root: str, count: int = 8000, seconds: float = 0.256, sample_rate: int = 4000, seed: int = 0
) -> Source:
    """Synthesise notes, one wav file per instrument below ``root``, unless they are there already.

    The instruments are the labels.

    Args:
        root: the folder.
        count: number of notes, over all instruments.
        seconds: length of a note.
        sample_rate: in Hz.
        seed: of everything random.
    """
    folder = expanded(root) / f"{count}x{seconds:g}s-{sample_rate}Hz-seed{seed}"
    files = [folder / f"{name}.wav" for name in INSTRUMENTS]
    each = -(-count // len(INSTRUMENTS))
    for number, (file, name) in enumerate(zip(files, INSTRUMENTS, strict=True)):
        if not file.exists():
            parts = [note(name, seconds, sample_rate, (seed, number, i)) for i in range(each)]
            write_audio(file, torch.cat(parts, dim=-1), sample_rate)
    return labelled(folder, files, list(INSTRUMENTS))


def semitone(instrument: str, number: int, seed: int = 0) -> int:
    """The pitch of a note of ``notes(..., seed=seed)``, in semitones above the lowest."""
    return _semitone(np.random.default_rng((seed, list(INSTRUMENTS).index(instrument), number)))


def _semitone(rng: np.random.Generator) -> int:
    return int(rng.integers(SEMITONES + 1))


def note(
    instrument: str, seconds: float, sample_rate: int, seed: int | tuple[int, ...] = 0
) -> Tensor:
    """Synthesise a note, a function of the arguments alone.

    Args:
        instrument: a name of ``INSTRUMENTS``.
        seconds: length.
        sample_rate: in Hz.
        seed: of everything random.

    Returns:
        float32 ``[1, time]`` of peak at most 0.5.
    """
    kind = INSTRUMENTS[instrument]
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    pitch = MIN_HZ * 2 ** ((_semitone(rng) + rng.normal(0, 0.05)) / 12)
    slope = kind.slope * rng.uniform(0.85, 1.15)
    k = np.arange(1, int(0.47 * sample_rate / pitch) + 1)[:, None]
    frequency = k * pitch * np.sqrt(1 + kind.stretch * k**2)
    amplitude = k**-slope * np.where(k % 2 == 0, kind.even, 1.0)
    amplitude *= np.clip((0.47 * sample_rate - frequency) / (0.05 * sample_rate), 0, 1)
    amplitude = amplitude * np.exp(-time / kind.decay * (1 + kind.damping * (k - 1)))

    rate, phase = rng.uniform(5, 7), rng.uniform(0, 2 * np.pi)
    sway = kind.vibrato * np.cos(2 * np.pi * rate * time + phase) / (2 * np.pi * rate)
    start = rng.uniform(0, 2 * np.pi)
    tone = (amplitude * np.sin(2 * np.pi * frequency * (time + sway) + k * start)).sum(0)
    tone /= np.abs(tone).max() + 1e-9
    audio = tone + kind.breath * rng.standard_normal(len(time)) * np.exp(-time / kind.decay)
    audio *= 1 - np.exp(-time / (kind.attack * rng.uniform(0.8, 1.25)))
    audio *= np.clip((time[-1] - time) / 0.01, 0, 1)  # no click at the end
    # the noise floor of a recording
    audio += 0.01 * rng.standard_normal(len(time))
    loudness = 0.5 * 10 ** (rng.uniform(-10, 0) / 20)
    return torch.from_numpy(loudness * audio / np.abs(audio).max()).float()[None]
