"""What a recording lacks, filled in from what a generator knows of such sounds.

Gaps, bands and clipped peaks are all a part of the waveform of which the rest is known: at every
step the estimate of x_0 is moved onto what is known (``wavediff.diffusion.ProjectionGuidance``,
as DDNM, Wang et al. 2023), and the mean of several draws comes nearer than any of them. What is
known stays as it is; only the windows around what is missing are computed, at the generator's rate
and usual level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from wavediff.data.audio import resample
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.guidance import ProjectionGuidance
from wavediff.diffusion.noise import PositionNoise
from wavediff.diffusion.sampler import Sampler
from wavediff.diffusion.schedule import Schedule
from wavediff.errors import UserError
from wavediff.tasks.generator import Generator
from wavediff.tasks.names import bundled_names

PRIOR = "prior-en-22k"  # the bundled generator
CONTEXT = 0.6  # seconds on either side of what is missing
WINDOW = 4.0  # seconds of signal in one computation, unless a single gap is longer
OVERLAP = 0.5  # seconds that neighbouring pieces of an extension share
JOIN = 0.005  # seconds over which a gap's filling is led to its edges
FIRST_LOG_SNR = -8.0  # sampling starts here: with nothing of x_0 left nothing can be measured
ROLLOFF = 0.9  # of half the sample rate: what anti-aliasing filters leave whole
BLOCK = 0.05  # seconds, and
SEEDS = 1 << 32  # from one draw's seed to the next
DRAWS = 4
SAMPLER = "dpmpp_2m_sde"  # unless told otherwise: fresh noise mends what a projection tears
RUNS = 8  # neighbouring samples at an extreme value that mean clipping
GATE = 1e-4  # share of the loudest block's power: quieter ones are pauses

Audio = Callable[[Tensor], Tensor]
Progress = Callable[[float], None]


@dataclass(frozen=True)
class Posterior:
    """How to sample what is missing.

    Attributes:
        generator: knows what sounds are like; its representation must be linear.
        sampler: of the generator, or another that fits it.
        seed: of the noise.
        draws: whose mean is taken.
        label: the class of the sounds, where the generator has classes.
    """

    generator: Generator
    sampler: Sampler
    seed: int = 0
    draws: int = DRAWS
    label: int | None = None

    def __post_init__(self) -> None:
        generator = self.generator
        probe = PositionNoise(0)(torch.empty(1, 1, 4 * generator.representation.hop_length), 0)
        probe = probe.to(generator.device)
        once, twice = generator.encode(0.1 * probe), generator.encode(0.2 * probe)
        if not torch.allclose(2 * once, twice, rtol=1e-3, atol=1e-4):
            raise UserError(
                "this generator's representation is not linear, so recordings cannot be restored "
                "with it: train one with representation=speech_bands (recipe=kathleen_prior)"
            )

    @torch.no_grad()
    def mean(
        self,
        project: Audio,
        observed: Tensor,
        position: int = 0,
        callback: Progress | None = None,
    ) -> Tensor:
        """The mean of ``draws`` samples of audio that ``project`` leaves as it is.

        Args:
            project: audio like ``observed [batch, 1, time]``, at the generator's rate and level, to
                what is nearest to it among all that agrees with what is known.
            position: of the first sample in the whole: the noise depends on it.
            callback: told the share that is done after each step.
        """
        generator, length = self.generator, observed.shape[-1]
        like = generator.encode(observed)
        denoiser = ProjectionGuidance(
            generator.denoiser,
            lambda x0, _: generator.encode(project(generator.decode(x0, length))),
        )
        total = torch.zeros_like(observed)
        for draw in range(self.draws):
            told = None if callback is None else _share(callback, draw, self.draws)
            total += generator.decode(self._run(denoiser, like, position, draw, told), length)
        return total / self.draws

    def _run(
        self,
        denoiser: torch.nn.Module,
        like: Tensor,
        position: int,
        draw: int,
        callback: Progress | None,
    ) -> Tensor:
        """The sampler's walk from noise to a state like ``like [batch, channels, frames]``."""
        generator = self.generator
        schedule = generator.denoiser.schedule
        grid = started(schedule, self.sampler.grid(schedule))
        place = position // generator.representation.hop_length
        noise = PositionNoise(self.seed + draw * SEEDS, place)
        label = self.label
        cond = Condition(
            label=None if label is None else torch.full((len(like),), label, device=like.device)
        )
        sampler = Sampler(self.sampler.method, grid)
        for state in sampler.walk(denoiser, noise(like, -1), cond, noise=noise):
            if callback is not None:
                callback((state.i + 1) / (len(grid) - 1))
        return state.x

    def typical_level(self) -> float:
        """Root mean square of the audio that the generator knows: that of a state of unit noise."""
        generator = self.generator
        length = generator.length(1.0)
        shape = (1, generator.representation.channels, generator.representation.frames(length))
        state = PositionNoise(0)(torch.empty(shape), 0).to(generator.device)
        return float(generator.decode(state, length).square().mean().sqrt())


def posterior_of(
    checkpoint: str | None,
    device: torch.device,
    sampler: str | None = None,
    steps: int | None = None,
    **options: int,
) -> Posterior:
    """The generator called so, ``PRIOR`` by default, with ``SAMPLER`` or another.

    Raises:
        UserError: where there is none, it is no generator, or cannot be used for restoration.
    """
    if checkpoint is None:
        if PRIOR not in bundled_names():
            raise UserError(
                "give --checkpoint MODEL, the run folder of a generator (wavediff train "
                "recipe=kathleen_prior trains one)"
            )
        checkpoint = PRIOR
    generator = Generator.from_pretrained(checkpoint).to(device)
    label = generator.label_number(None)
    return Posterior(
        generator, generator.with_sampler(sampler or SAMPLER, steps), label=label, **options
    )


def started(schedule: Schedule, grid: Tensor) -> Tensor:
    """The grid without what lies before ``FIRST_LOG_SNR``, where it then starts."""
    if schedule.log_snr(grid[0]) >= FIRST_LOG_SNR:
        return grid
    first = schedule.time_at(FIRST_LOG_SNR)
    return torch.cat([first.reshape(1), grid[grid < first - 1e-6]])


def level(blocks: Iterable[Tensor], rate: int) -> Tensor:
    """Root mean square of audio ``[channels, time]`` in pieces, pauses left out, ``[channels]``."""
    size = max(1, round(BLOCK * rate))
    powers = [
        part.double().square().mean(-1) for block in blocks for part in block.split(size, dim=-1)
    ]
    power = torch.stack(powers)
    loud = power > GATE * power.amax(0)
    return ((power * loud).sum(0) / loud.sum(0).clamp_min(1)).sqrt()


def inpaint(
    posterior: Posterior,
    audio: Tensor,
    rate: int,
    gaps: Sequence[tuple[int, int]],
    callback: Progress | None = None,
) -> Tensor:
    """``audio [channels, time]`` with its gaps filled; outside of them it is not touched.

    Args:
        rate: of the audio, in Hz.
        gaps: first sample and the one after the last of each.

    Raises:
        UserError: for a gap outside of the audio, or where nothing else is there.
    """
    known = torch.ones_like(audio, dtype=torch.bool)
    for start, stop in gaps:
        if not 0 <= start < stop <= audio.shape[-1]:
            raise UserError(
                f"the gap from {start / rate:g} to {stop / rate:g} s is not within the recording "
                f"of {audio.shape[-1] / rate:g} s"
            )
        known[:, start:stop] = False
    if not known.any():
        raise UserError("the gap is the whole recording: nothing is left to go by")
    return _filled(posterior, audio, rate, known, None, None, callback)


def declip(
    posterior: Posterior,
    audio: Tensor,
    rate: int,
    low: float,
    high: float,
    callback: Progress | None = None,
) -> Tensor:
    """``audio [channels, time]`` with samples at ``low`` or below and ``high`` or above restored.

    They come out at least as far from zero as those bounds, beyond full scale if need be; all
    others are not touched.

    Raises:
        UserError: for bounds that are not below and above zero, or between which there is nothing.
    """
    if not low < 0 < high:
        raise UserError(f"clipping is at a level below and one above 0, not {low:g} and {high:g}")
    known = (audio > low) & (audio < high)
    if not known.any():
        raise UserError("every sample is clipped: nothing is left to go by")
    return _filled(posterior, audio, rate, known, low, high, callback)


def clipping(audio: Tensor) -> tuple[float, float]:
    """The levels at which ``audio [channels, time]`` is clipped, below and above zero.

    The extreme values, where runs of samples share them to 0.2 %.

    Raises:
        UserError: where they do not.
    """
    found = []
    for side in (-audio, audio):
        bound = 0.998 * float(side.max())
        at = side >= bound
        runs = int((at[:, 1:] & at[:, :-1]).sum())
        found.append(bound if bound > 0 and runs >= RUNS else None)
    below, above = found
    if below is None and above is None:
        raise UserError("no clipping was found in the recording: give --threshold LEVEL")
    # one that is not clipped bounds nothing
    unbounded = 10 * max(float(audio.abs().max()), 1.0)
    return (-unbounded if below is None else -below, unbounded if above is None else above)


def _filled(
    posterior: Posterior,
    audio: Tensor,
    rate: int,
    known: Tensor,
    low: float | None,
    high: float | None,
    callback: Progress | None,
) -> Tensor:
    """Audio with what is not ``known``, like it, sampled; clipped samples stay beyond the bounds.

    Window after window: what one has filled in is known to the next.
    """
    out, known = audio.clone(), known.clone()
    gain = posterior.typical_level() / level([audio * known], rate)
    unit = rate // math.gcd(rate, posterior.generator.sample_rate)
    jobs = [
        (channel, left, right)
        for left, right in _windows(~known.all(0), rate, unit)
        for channel in range(len(audio))
        # what is silent around a gap stays silent
        if gain[channel].isfinite() and not known[channel, left:right].all()
    ]
    for number, (channel, left, right) in enumerate(jobs):
        window = (channel, slice(left, right))
        told = None if callback is None else _share(callback, number, len(jobs))
        found = _window(
            posterior, out[window], known[window], rate, float(gain[channel]), left, low, high, told
        )
        if low is None:
            found = _joined(found, out[window], known[window], max(1, round(JOIN * rate)))
        else:  # rounding must not lead back below the bounds
            clipped = audio[window]
            found = torch.where(clipped >= high, torch.maximum(found, clipped), found)
            found = torch.where(clipped <= low, torch.minimum(found, clipped), found)
        out[window] = torch.where(known[window], out[window], found)
        known[window] = True
    return out


def _share(callback: Progress, number: int, count: int) -> Progress:
    """Told of one of several jobs, tells of all."""
    return lambda share: callback((number + share) / count)


def _window(
    posterior: Posterior,
    part: Tensor,
    known: Tensor,
    rate: int,
    gain: float,
    position: int,
    low: float | None,
    high: float | None,
    callback: Progress | None,
) -> Tensor:
    """One window ``part [time]`` sampled anew, all of it, from its known samples."""
    generator = posterior.generator
    device, model_rate = generator.device, generator.sample_rate
    length = part.shape[-1]
    padding = (0, -length % (rate // math.gcd(rate, model_rate)))
    mask = F.pad(known, padding).to(device)
    given = F.pad(part.float() * gain, padding).to(device)

    def down(x: Tensor) -> Tensor:
        return resample(x, rate, model_rate)

    def up(x: Tensor) -> Tensor:
        return resample(x, model_rate, rate)[..., : len(mask)]

    def project(x: Tensor) -> Tensor:
        wide = up(x)
        if low is None:
            moved = torch.where(mask, given, wide)
        else:
            moved = led(wide, given, mask)
            over, under = ~mask & (given >= high * gain), ~mask & (given <= low * gain)
            moved = torch.where(over, moved.clamp_min(high * gain), moved)
            moved = torch.where(under, moved.clamp_max(low * gain), moved)
        return x + down(moved - wide)

    observed, place = down(mask * given)[None, None], position * model_rate // rate

    estimate = posterior.mean(project, observed, place, callback)
    return (up(estimate)[0, 0, :length] / gain).to(part)


def led(found: Tensor, given: Tensor, known: Tensor) -> Tensor:
    """``found [..., time]`` moved to ``given`` where that is ``known [time]``, and in between by
    what the line from one known sample's error to the next one's says."""
    place = torch.arange(len(known), device=known.device)
    before = torch.where(known, place, -1).cummax(0).values
    after = torch.where(known, place, len(known)).flip(0).cummin(0).values.flip(0)
    before, after = (
        torch.where(before < 0, after, before),
        torch.where(after == len(known), before, after),
    )
    error = given - found
    weight = ((place - before) / (after - before).clamp_min(1)).to(found)
    moved = found + torch.lerp(error[..., before], error[..., after], weight)
    return torch.where(known, given, moved)


def _windows(missing: Tensor, rate: int, unit: int) -> Iterator[tuple[int, int]]:
    """(left, right) around what is missing ``[time]``, in whole units; right may be past the end.

    Neighbours share a window as long as it stays below ``WINDOW``.
    """
    context, longest = round(CONTEXT * rate), round(WINDOW * rate)
    edges = torch.diff(missing.int(), prepend=torch.zeros(1), append=torch.zeros(1))
    starts, stops = (edges > 0).nonzero().flatten(), (edges < 0).nonzero().flatten()
    first = last = None
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        far = first is not None and (start - last > 2 * context or stop - first > longest)
        if far:
            yield _aligned(first - context, last + context, unit)
        if first is None or far:
            first = start
        last = stop
    if first is not None:
        yield _aligned(first - context, last + context, unit)


def _aligned(left: int, right: int, unit: int) -> tuple[int, int]:
    return max(0, left) // unit * unit, -(-right // unit) * unit


def _joined(found: Tensor, part: Tensor, known: Tensor, size: int) -> Tensor:
    """``found [time]`` led to the known samples at the edges of each gap.

    What it misses on the known side, mirrored at the edge, fades out within ``size`` samples of the
    gap, so that nothing jumps.
    """
    found, missed = found.clone(), part - found
    edges = torch.diff(known.int()).nonzero().flatten() + 1
    for edge in edges.tolist():
        inward = bool(known[edge - 1])  # the gap begins here
        inside = _run(known[edge:] if inward else known[:edge].flip(0))
        outside = _run(~known[:edge].flip(0) if inward else ~known[edge:])
        n = min(size, inside, outside)
        fade = torch.cos(torch.linspace(0, math.pi / 2, n + 2)[1:-1]).square().to(found)
        if inward:
            found[edge : edge + n] += fade * missed[edge - n : edge].flip(0)
        else:
            found[edge - n : edge] += fade.flip(0) * missed[edge : edge + n].flip(0)
    return found


def _run(ended: Tensor) -> int:
    """How long it is until the first True."""
    return int(ended.int().argmax()) if ended.any() else len(ended)


def low_pass(cutoff: float, taps: int = 255) -> Tensor:
    """A linear-phase filter (Kaiser window) that halves ``cutoff`` (cycles per sample)."""
    n = torch.arange(taps, dtype=torch.float64) - taps // 2
    kernel = 2 * cutoff * torch.sinc(2 * cutoff * n)
    kernel = kernel * torch.kaiser_window(taps, periodic=False, beta=8.0, dtype=torch.float64)
    return kernel / kernel.sum()


def extend(
    posterior: Posterior,
    blocks: Iterable[Tensor],
    rate: int,
    new_rate: int,
    levels: Tensor,
    cutoff: float | None = None,
    callback: Progress | None = None,
) -> Iterator[Tensor]:
    """Audio ``[channels, time]`` in pieces at ``rate``, to pieces at ``new_rate`` with a high band.

    Below the cutoff it is what came in. Memory does not grow with the length.

    Args:
        levels: ``level`` of all of the audio, per channel.
        cutoff: up to where the audio is whole, in Hz; ``ROLLOFF`` of half its rate by default.
        callback: told the seconds of audio that are done.

    Raises:
        UserError: where ``new_rate`` is above the generator's rate, or nothing lies between the
            cutoff and half of ``new_rate``.
    """
    model_rate = posterior.generator.sample_rate
    cutoff = ROLLOFF * rate / 2 if cutoff is None else cutoff
    if new_rate > model_rate:
        raise UserError(f"this model knows sound at {model_rate} Hz: give --rate {model_rate}")
    if not 0 < cutoff <= rate / 2:
        raise UserError(f"--cutoff {cutoff:g} is not between 0 and half the rate, {rate / 2:g} Hz")
    if cutoff >= ROLLOFF * new_rate / 2:
        raise UserError(
            f"the recording reaches up to {cutoff:g} Hz already, and {new_rate} Hz have no room "
            "for more: give --cutoff HZ if its band ends lower"
        )
    unit = rate // math.gcd(rate, math.gcd(model_rate, new_rate))
    size, shared = (-(-round(s * rate) // unit) * unit for s in (WINDOW, OVERLAP))
    device = posterior.generator.device
    kernel = low_pass(cutoff / model_rate).float().to(device)[None, None]

    def low(x: Tensor) -> Tensor:
        return F.conv1d(x, kernel, padding=kernel.shape[-1] // 2)

    def meet(known: Tensor, x: Tensor) -> Tensor:
        return x + known - low(x)

    def piece(part: Tensor, position: int) -> Tensor:
        done, seconds = position / rate, part.shape[-1] / rate
        given = resample(F.pad(part, (0, -part.shape[-1] % unit)).float(), rate, model_rate)
        given = low(given[:, None].to(device))
        gain = (posterior.typical_level() / levels).to(given)[:, None, None]
        gain = torch.where(gain.isfinite(), gain, 0)
        whole = given.clone()
        told = callback and (lambda share: callback(done + share * seconds))
        for c in gain.flatten().nonzero().flatten().tolist():
            known = gain[c] * given[c : c + 1]
            place = position * model_rate // rate
            estimate = posterior.mean(partial(meet, known), known, place, told)
            whole[c] += ((estimate - low(estimate)) / gain[c])[0]
        wide = resample(whole[:, 0].cpu(), model_rate, new_rate)
        return wide[:, : -(-part.shape[-1] * new_rate // rate)]

    tail, position = None, 0
    fade = torch.linspace(0, 1, shared * new_rate // rate)
    for part, last in _overlapping(blocks, size, shared):
        new = piece(part, position)
        if tail is not None:
            n = min(tail.shape[-1], new.shape[-1])
            new[:, :n] = torch.lerp(tail[:, :n], new[:, :n], fade[:n])
        stop = new.shape[-1] if last else new.shape[-1] - shared * new_rate // rate
        yield new[:, :stop]
        tail = new[:, stop:]
        position += size - shared


def _overlapping(blocks: Iterable[Tensor], size: int, shared: int) -> Iterator[tuple[Tensor, bool]]:
    """Pieces of ``size`` that share samples with their neighbours, and whether it is the last."""
    kept: list[Tensor] = []
    for block in blocks:
        kept.append(block)
        while sum(b.shape[-1] for b in kept) > size + shared:
            whole = torch.cat(kept, dim=-1)
            yield whole[:, :size], False
            kept = [whole[:, size - shared :]]
    if kept:
        yield torch.cat(kept, dim=-1), True
