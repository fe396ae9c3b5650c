"""The high band that a recording of a low sample rate lacks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from wavediff.data.resampling import resample
from wavediff.errors import UserError
from wavediff.tasks.observation import Observation, low_pass
from wavediff.tasks.restoration.posterior import Posterior, Progress

PIECE = 4.0  # seconds of signal in one computation
OVERLAP = 0.5  # seconds that neighbouring pieces share and cross-fade
ROLLOFF = 0.9  # of half the sample rate, up to where anti-aliasing filters pass


def extend(
    posterior: Posterior,
    blocks: Iterable[Tensor],
    rate: int,
    new_rate: int,
    levels: Tensor,
    cutoff: float | None = None,
    progress: Progress | None = None,
) -> Iterator[Tensor]:
    """Audio at ``rate`` in blocks, to pieces at ``new_rate`` with a high band.

    Below the cutoff, the output is the input. Memory does not grow with the length.

    Args:
        posterior: of the audio.
        blocks: ``[channels, time]`` each, one after the other.
        rate, new_rate: in Hz.
        levels: ``level`` of all of the audio, per channel.
        cutoff: up to where the audio's band is complete, in Hz; by default ``ROLLOFF`` of half its
            rate.
        progress: called with the seconds of audio that are done.

    Yields:
        ``[channels, time]``.

    Raises:
        UserError: where ``new_rate`` is above the generator's rate, or nothing lies between the
            cutoff and half of ``new_rate``.
    """
    model_rate = posterior.generator.sample_rate
    cutoff = ROLLOFF * rate / 2 if cutoff is None else cutoff
    if new_rate > model_rate:
        raise UserError(
            f"this generator was trained on sound at {model_rate} Hz: give --rate {model_rate}"
        )
    if not 0 < cutoff <= rate / 2:
        raise UserError(f"--cutoff {cutoff:g} is not between 0 and half the rate, {rate / 2:g} Hz")
    if cutoff >= ROLLOFF * new_rate / 2:
        raise UserError(
            f"the recording's band ends at {cutoff:g} Hz, and {new_rate} Hz leave no room above: "
            "give --cutoff HZ if its band ends lower"
        )
    unit = rate // math.gcd(rate, math.gcd(model_rate, new_rate))
    size, shared = (-(-round(s * rate) // unit) * unit for s in (PIECE, OVERLAP))
    device = posterior.generator.device
    share_known = torch.full((1,), cutoff / model_rate, device=device)
    kernel = low_pass(cutoff / model_rate).float().to(device)[None, None]

    def low(x: Tensor) -> Tensor:
        return F.conv1d(x, kernel, padding=kernel.shape[-1] // 2)

    def project(known: Tensor, x: Tensor) -> Tensor:
        return x + known - low(x)

    def extend_piece(part: Tensor, position: int) -> Tensor:
        done, seconds = position / rate, part.shape[-1] / rate
        given = resample(F.pad(part, (0, -part.shape[-1] % unit)).float(), rate, model_rate)
        given = low(given[:, None].to(device))
        gain = (posterior.typical_level() / levels).to(given)[:, None, None]
        gain = torch.where(gain.isfinite(), gain, 0)
        whole = given.clone()
        share = progress and (lambda share: progress(done + share * seconds))
        for c in gain.flatten().nonzero().flatten().tolist():
            known = gain[c] * given[c : c + 1]
            place = position * model_rate // rate
            observation = Observation(known, torch.ones_like(known), share_known)
            estimate = posterior.mean(partial(project, known), observation, place, share)
            whole[c] += ((estimate - low(estimate)) / gain[c])[0]
        wide = resample(whole[:, 0].cpu(), model_rate, new_rate)
        return wide[:, : -(-part.shape[-1] * new_rate // rate)]

    tail, position = None, 0
    fade = torch.linspace(0, 1, shared * new_rate // rate)
    for part, last in overlapping_pieces(blocks, size, shared):
        new = extend_piece(part, position)
        if tail is not None:
            n = min(tail.shape[-1], new.shape[-1])
            new[:, :n] = torch.lerp(tail[:, :n], new[:, :n], fade[:n])
        stop = new.shape[-1] if last else new.shape[-1] - shared * new_rate // rate
        yield new[:, :stop]
        tail = new[:, stop:]
        position += size - shared


def overlapping_pieces(
    blocks: Iterable[Tensor], size: int, shared: int
) -> Iterator[tuple[Tensor, bool]]:
    """Pieces of ``size`` samples that share some with their neighbours, and whether it is the last.

    The last is at most ``size + shared`` long.
    """
    kept: list[Tensor] = []
    for block in blocks:
        kept.append(block)
        while sum(b.shape[-1] for b in kept) > size + shared:
            whole = torch.cat(kept, dim=-1)
            yield whole[:, :size], False
            kept = [whole[:, size - shared :]]
    if kept:
        yield torch.cat(kept, dim=-1), True
