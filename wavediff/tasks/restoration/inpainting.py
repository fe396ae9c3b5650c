"""Gaps in a recording, filled."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from wavediff.errors import UserError
from wavediff.tasks.restoration.posterior import Posterior, Progress
from wavediff.tasks.restoration.windows import fill_missing

FADE = 0.005  # seconds from either edge of a gap in which the filling is corrected to meet it


def inpaint(
    posterior: Posterior,
    audio: Tensor,
    rate: int,
    gaps: Sequence[tuple[int, int]],
    progress: Progress | None = None,
) -> Tensor:
    """Fill the gaps of ``audio [channels, time]``; all other samples stay as they are.

    Args:
        posterior: of the audio.
        audio: full scale [-1, 1]; what it holds in the gaps is not used.
        rate: of the audio, in Hz.
        gaps: (start, stop) in samples.
        progress: called with the share that is done.

    Raises:
        UserError: for a gap outside of the audio, or where nothing is known.
    """
    known = torch.ones_like(audio, dtype=torch.bool)
    for start, stop in gaps:
        if start == stop:
            raise UserError(
                f"the gap at {start / rate:g} s is shorter than a sample: give a longer"
            )
        if not 0 <= start < stop <= audio.shape[-1]:
            raise UserError(
                f"the gap from {start / rate:g} to {stop / rate:g} s is not within the recording "
                f"of {audio.shape[-1] / rate:g} s"
            )
        known[:, start:stop] = False
    if not known.any():
        raise UserError("the gap is the whole recording: nothing is left to condition on")

    def agree(estimate: Tensor, given: Tensor, known: Tensor, gain: float) -> Tensor:
        return torch.where(known, given, estimate)

    def finish(sampled: Tensor, recording: Tensor, known: Tensor) -> Tensor:
        return match_edges(sampled, recording, known, max(1, round(FADE * rate)))

    return fill_missing(posterior, audio, rate, known, agree, finish, progress)


def match_edges(sampled: Tensor, recording: Tensor, known: Tensor, size: int) -> Tensor:
    """``sampled [time]`` corrected at the edges of each gap, so that nothing jumps.

    Its error on the known side, mirrored at the edge, is added to the gap's first and last ``size``
    samples with a weight that fades to 0.
    """
    sampled, error = sampled.clone(), recording - sampled
    edges = torch.diff(known.int()).nonzero().flatten() + 1
    for edge in edges.tolist():
        begins = bool(known[edge - 1])  # the gap begins at this edge, or ends
        inside = first_true(known[edge:] if begins else known[:edge].flip(0))
        outside = first_true(~known[:edge].flip(0) if begins else ~known[edge:])
        n = min(size, inside, outside)
        fade = torch.cos(torch.linspace(0, math.pi / 2, n + 2)[1:-1]).square().to(sampled)
        if begins:
            sampled[edge : edge + n] += fade * error[edge - n : edge].flip(0)
        else:
            sampled[edge - n : edge] += fade.flip(0) * error[edge : edge + n].flip(0)
    return sampled


def first_true(flags: Tensor) -> int:
    """Index of the first True in ``flags [time]``, or their number where there is none."""
    return int(flags.int().argmax()) if flags.any() else len(flags)
