"""Which instruments and pitches of the notes come out of a model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wavediff.evaluation.coverage import log_spectrum

ENOUGH = 0.5  # of the sounds that an instrument has on average: so many of it are needed
FLOOR = 0.1  # of a sound's largest magnitude: its noise does not tell which note it is


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


def kinds_and_pitches(
    notes: Notes, reference: Tensor, estimate: Tensor, asked: Tensor | None = None
) -> tuple[float, float]:
    """(share of the instruments, share of the pitches of each instrument) that come out.

    A sound is of the instrument and pitch of the nearest note. An instrument comes out if half as
    many sounds are of it as it has on average; a pitch of it if one sound is. With ``asked``, a
    sound counts only if it is of the instrument that it was generated for.

    Args:
        reference: features of ``notes``, ``[n, d]``.
        estimate: features of the sounds, ``[m, d]``.
        asked: the instruments that the sounds were generated for, ``[m]``.
    """
    nearest = torch.cdist(estimate, reference).argmin(1)
    kinds, pitches = notes.kinds[nearest], notes.pitches[nearest]
    if asked is not None:
        kinds, pitches = kinds[kinds == asked], pitches[kinds == asked]
    table = torch.zeros(notes.counts, dtype=torch.int64)
    table.index_put_((kinds, pitches), torch.ones_like(kinds), accumulate=True)
    least = ENOUGH * len(estimate) / notes.counts[0]
    return float((table.sum(1) >= least).double().mean()), float((table > 0).double().mean())


def spectrum(audio: Tensor) -> Tensor:
    """Features by which a sound's instrument and pitch are told, ``[n, d]``."""
    return log_spectrum(audio, FLOOR)
