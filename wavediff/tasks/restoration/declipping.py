"""Clipped peaks of a recording, restored."""

from __future__ import annotations

import torch
from torch import Tensor

from wavediff.errors import UserError
from wavediff.tasks.restoration.posterior import Posterior, Progress
from wavediff.tasks.restoration.windows import fill_missing

RUNS = 8  # pairs of neighbouring samples at the extreme value that are evidence of clipping
TOLERANCE = 0.998  # share of the extreme value from which a sample counts as clipped


def declip(
    posterior: Posterior,
    audio: Tensor,
    rate: int,
    low: float,
    high: float,
    progress: Progress | None = None,
) -> Tensor:
    """Restore the samples of ``audio [channels, time]`` that are clipped at ``low`` and ``high``.

    They come out at or beyond those levels, above full scale if need be; all others stay as they
    are.

    Args:
        posterior: of the audio.
        audio: full scale [-1, 1].
        rate: of the audio, in Hz.
        low, high: samples at ``low`` or below and at ``high`` or above are clipped.
        progress: called with the share that is done.

    Raises:
        UserError: for levels that are not below and above 0, or where every sample is clipped.
    """
    if not low < 0 < high:
        raise UserError(
            f"clipping levels of {low:g} and {high:g} are out of range: one is below 0, one above"
        )
    known = (audio > low) & (audio < high)
    if not known.any():
        raise UserError("every sample is clipped: nothing is left to condition on")

    def agree(estimate: Tensor, given: Tensor, known: Tensor, gain: float) -> Tensor:
        moved = interpolate_error(estimate, given, known)
        over, under = ~known & (given >= high * gain), ~known & (given <= low * gain)
        moved = torch.where(over, moved.clamp_min(high * gain), moved)
        return torch.where(under, moved.clamp_max(low * gain), moved)

    def finish(sampled: Tensor, recording: Tensor, known: Tensor) -> Tensor:
        # rounding must not bring a peak back below its level
        sampled = torch.where(recording >= high, torch.maximum(sampled, recording), sampled)
        return torch.where(recording <= low, torch.minimum(sampled, recording), sampled)

    return fill_missing(posterior, audio, rate, known, agree, finish, progress, telling=True)


def clipping(audio: Tensor) -> tuple[float, float]:
    """The levels below and above 0 at which ``audio [channels, time]`` is clipped.

    These are the extreme values, where runs of samples share them to 0.2 %. On a side that is not
    clipped the level is out of reach.

    Raises:
        UserError: where neither side is clipped.
    """
    found = []
    for side in (-audio, audio):
        extreme = TOLERANCE * float(side.max())
        at = side >= extreme
        runs = int((at[:, 1:] & at[:, :-1]).sum())
        found.append(extreme if extreme > 0 and runs >= RUNS else None)
    below, above = found
    if below is None and above is None:
        raise UserError("no clipping was found in the recording: give --threshold LEVEL")
    unreachable = 10 * max(float(audio.abs().max()), 1.0)
    return (-unreachable if below is None else -below, unreachable if above is None else above)


def interpolate_error(estimate: Tensor, given: Tensor, known: Tensor) -> Tensor:
    """``given`` where it is ``known [time]``; between, the estimate plus an interpolated error.

    The error ``given - estimate`` is interpolated linearly between known samples and constant
    beyond the first and the last.

    Args:
        estimate, given: ``[..., time]``.
    """
    place = torch.arange(len(known), device=known.device)
    before = torch.where(known, place, -1).cummax(0).values
    after = torch.where(known, place, len(known)).flip(0).cummin(0).values.flip(0)
    before, after = (
        torch.where(before < 0, after, before),
        torch.where(after == len(known), before, after),
    )
    error = given - estimate
    weight = ((place - before) / (after - before).clamp_min(1)).to(estimate)
    moved = estimate + torch.lerp(error[..., before], error[..., after], weight)
    return torch.where(known, given, moved)
