"""Missing samples of a recording, window by window."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from wavediff.data.resampling import resample
from wavediff.tasks.observation import Observation
from wavediff.tasks.restoration.posterior import Posterior, Progress, level, partial_progress

CONTEXT = 0.6  # seconds of known signal on either side of what is missing
WINDOW = 4.0  # seconds of signal in one computation, unless a single gap is longer

Agree = Callable[[Tensor, Tensor, Tensor, float], Tensor]
Finish = Callable[[Tensor, Tensor, Tensor], Tensor]


def fill_missing(
    posterior: Posterior,
    audio: Tensor,
    rate: int,
    known: Tensor,
    agree: Agree,
    finish: Finish,
    progress: Progress | None = None,
    telling: bool = False,
) -> Tensor:
    """Sample the samples of ``audio [channels, time]`` that are not ``known``.

    What one window has filled is known to the next. Digital silence around a gap stays silence.

    Args:
        posterior: of the audio.
        audio: at ``rate``, in Hz.
        known: booleans like ``audio``.
        agree: ``(estimate, given, known, gain)``, each ``[time]``: the estimate moved to what is
            known, where ``given`` is ``gain`` times the recording.
        finish: ``(sampled, recording, known)``, each ``[time]``: the samples to use for what is not
            known.
        progress: called with the share that is done.
        telling: whether the samples that are not known tell something, as clipped ones do.
    """
    out, known = audio.clone(), known.clone()
    gain = posterior.typical_level() / level([audio * known], rate)
    unit = rate // math.gcd(rate, posterior.generator.sample_rate)
    jobs = [
        (channel, left, right)
        for left, right in windows_around(~known.all(0), rate, unit)
        for channel in range(len(audio))
        if gain[channel].isfinite() and not known[channel, left:right].all()
    ]
    for number, (channel, left, right) in enumerate(jobs):
        window = (channel, slice(left, right))
        share = partial_progress(progress, number, len(jobs))
        sampled = sample_window(
            posterior,
            out[window],
            known[window],
            rate,
            float(gain[channel]),
            left,
            agree,
            share,
            telling,
        )
        sampled = finish(sampled, out[window], known[window])
        out[window] = torch.where(known[window], out[window], sampled)
        known[window] = True
    return out


def sample_window(
    posterior: Posterior,
    recording: Tensor,
    known: Tensor,
    rate: int,
    gain: float,
    position: int,
    agree: Agree,
    progress: Progress | None,
    telling: bool,
) -> Tensor:
    """All of a window ``[time]`` sampled given its known samples.

    The projection works at the recording's rate, sampling at the generator's: with U for
    upsampling and D for downsampling, x -> x + D(agree(U x) - U x).
    """
    generator = posterior.generator
    device, model_rate = generator.device, generator.sample_rate
    length = len(recording)
    padding = (0, -length % (rate // math.gcd(rate, model_rate)))
    mask = F.pad(known, padding).to(device)
    given = F.pad(recording.float() * gain, padding).to(device)

    def down(x: Tensor) -> Tensor:
        return resample(x, rate, model_rate)

    def up(x: Tensor) -> Tensor:
        return resample(x, model_rate, rate)[..., : len(mask)]

    def project(x: Tensor) -> Tensor:
        wide = up(x)
        return x + down(agree(wide, given, mask, gain) - wide)

    audio = down(given if telling else mask * given)[None, None]
    certain = (down(mask.to(given))[None, None] > 0.5).to(audio)
    observation = Observation(audio, certain, torch.full((1,), 0.5, device=device))
    estimate = posterior.mean(project, observation, position * model_rate // rate, progress)
    return (up(estimate)[0, 0, :length] / gain).to(recording)


def windows_around(missing: Tensor, rate: int, unit: int) -> Iterator[tuple[int, int]]:
    """(left, right) around what is missing ``[time]``, multiples of ``unit`` samples.

    Neighbouring gaps share a window as long as it stays below ``WINDOW``. The right end may lie
    beyond the recording's.
    """
    context, longest = round(CONTEXT * rate), round(WINDOW * rate)
    edges = torch.diff(missing.int(), prepend=torch.zeros(1), append=torch.zeros(1))
    starts, stops = (edges > 0).nonzero().flatten(), (edges < 0).nonzero().flatten()
    first, last = None, 0
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        if first is not None and (start - last > 2 * context or stop - first > longest):
            yield align(first - context, last + context, unit)
            first = None
        if first is None:
            first = start
        last = stop
    if first is not None:
        yield align(first - context, last + context, unit)


def align(left: int, right: int, unit: int) -> tuple[int, int]:
    """The least interval of whole units from 0 on that covers ``left`` to ``right``."""
    return max(0, left) // unit * unit, -(-right // unit) * unit
