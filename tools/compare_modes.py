"""Which instruments and pitches of the notes come out of a model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wavediff.evaluation.coverage import log_spectrum

ENOUGH = 0.5  # of the sounds that an instrument has on average: so many of it are needed
FLOOR = 0.1  # of the largest magnitude of a sound: noise below does not tell which note it is
N_FFT, HOP, BANDS = 256, 64, 16


@dataclass(frozen=True)
class Notes:
    """Notes whose instruments and pitches are known.

    Attributes:
        audio: ``[n, time]``.
        kinds, pitches: instrument and semitone of each, ``[n]``.
        counts: of the instruments and of the pitches that there are.
    """

    audio: Tensor
    kinds: Tensor
    pitches: Tensor
    counts: tuple[int, int]


def modes(notes: Notes, sounds: Tensor, asked: Tensor | None = None) -> tuple[float, float]:
    """``shares`` of ``sounds [m, time]``.

    A sound is of the instrument of the note with the nearest timbre, and of the pitch of the note
    with the nearest spectrum.
    """
    kinds = notes.kinds[_nearest(timbre(notes.audio), timbre(sounds))]
    pitches = notes.pitches[_nearest(spectrum(notes.audio), spectrum(sounds))]
    return shares(kinds, pitches, notes.counts, asked)


def shares(
    kinds: Tensor, pitches: Tensor, counts: tuple[int, int], asked: Tensor | None = None
) -> tuple[float, float]:
    """(share of the instruments, share of the pitches of each instrument) that come out.

    An instrument comes out if half as many sounds are of it as it has on average; a pitch of it if
    one sound is. With ``asked``, a sound counts only if it is of the instrument that it was
    generated for.

    Args:
        kinds, pitches: instrument and pitch of each sound, ``[m]``.
        counts: of the instruments and of the pitches that there are.
        asked: the instruments that the sounds were generated for, ``[m]``.
    """
    least = ENOUGH * len(kinds) / counts[0]
    if asked is not None:
        kinds, pitches = kinds[kinds == asked], pitches[kinds == asked]
    table = torch.zeros(counts, dtype=torch.int64)
    table.index_put_((kinds, pitches), torch.ones_like(kinds), accumulate=True)
    return float((table.sum(1) >= least).double().mean()), float((table > 0).double().mean())


def spectrum(audio: Tensor) -> Tensor:
    """Log spectra down to -20 dB, which tell the pitch, ``[n, d]``."""
    return log_spectrum(audio, FLOOR)


def timbre(audio: Tensor) -> Tensor:
    """Log levels of bands and of moments down to -20 dB, ``[n, d]``."""
    window = torch.hann_window(N_FFT)
    power = torch.stft(audio, N_FFT, HOP, window=window, return_complex=True).abs().square()
    bands = torch.stack([part.mean((1, 2)) for part in power[:, 1:].chunk(BANDS, 1)], dim=1)
    levels = [bands.sqrt(), power.sum(1).sqrt()]
    relative = (level / level.amax(1, keepdim=True).clamp(min=1e-12) for level in levels)
    return torch.cat([level.clamp(min=FLOOR).log() for level in relative], dim=1)


def _nearest(reference: Tensor, estimate: Tensor) -> Tensor:
    return torch.cdist(estimate, reference).argmin(1)
