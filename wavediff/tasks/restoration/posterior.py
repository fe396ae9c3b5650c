"""Sampling of audio that agrees with what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import DenoiserLike
from wavediff.diffusion.guidance import ProjectionGuidance
from wavediff.diffusion.noise import PositionNoise
from wavediff.diffusion.sampler import Sampler
from wavediff.diffusion.schedule import Schedule
from wavediff.errors import UserError
from wavediff.tasks.generator import Generator
from wavediff.tasks.names import bundled_names
from wavediff.tasks.observation import Observation

PRIOR = "prior-en-22k"  # the bundled generator
SAMPLER = "dpmpp_2m_sde"  # fresh noise repairs the errors that a projection alone causes
DRAWS = 4
SEEDS = 1 << 32  # from one draw's seed to the next
FIRST_LOG_SNR = -8.0  # where sampling starts: earlier estimates hold too little of x_0 to project
LEVEL_SECONDS = 0.05  # length of the blocks of which a level is measured
GATE = 1e-4  # share of the loudest block's power below which a block is a pause

Projection = Callable[[Tensor], Tensor]
Progress = Callable[[float], None]


@dataclass(frozen=True)
class Posterior:
    """Samples audio from a generator given what is known of it.

    Attributes:
        generator: the prior; trained with observations, or with a linear representation.
        sampler: the generator's, or another that fits it.
        seed: of the noise.
        draws: samples that are averaged.
        label: the class of the sounds, where the generator has classes.

    Raises:
        UserError: for a representation that is not linear, unless the network sees what is known.
    """

    generator: Generator
    sampler: Sampler
    seed: int = 0
    draws: int = DRAWS
    label: int | None = None

    def __post_init__(self) -> None:
        generator = self.generator
        if generator.observe is not None:
            return
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
        project: Projection,
        observation: Observation,
        position: int = 0,
        progress: Progress | None = None,
    ) -> Tensor:
        """The mean of ``draws`` samples of audio that ``project`` leaves as it is.

        Args:
            project: moves audio ``[batch, 1, time]`` at the generator's rate and level to the
                nearest audio that agrees with what is known.
            observation: what is known, likewise, for a network that sees it.
            position: of its first sample in the whole recording; the noise depends on it.
            progress: called after each step with the share that is done, above 0 to 1.

        Returns:
            ``[batch, 1, time]``.
        """
        generator, audio = self.generator, observation.audio
        length = audio.shape[-1]
        label = None if self.label is None else torch.full((len(audio),), self.label)
        cond = generator.known(observation, None if label is None else label.to(audio.device))
        example = generator.encode(audio)
        denoiser = ProjectionGuidance(
            generator.denoiser,
            lambda x0, _: generator.encode(project(generator.decode(x0, length))),
        )
        total = torch.zeros_like(audio)
        for draw in range(self.draws):
            share = partial_progress(progress, draw, self.draws)
            x0 = self._sample(denoiser, example, cond, position, draw, share)
            total += generator.decode(x0, length)
        return total / self.draws

    def _sample(
        self,
        denoiser: DenoiserLike,
        example: Tensor,
        cond: Condition,
        position: int,
        draw: int,
        progress: Progress | None,
    ) -> Tensor:
        """One sample of the state, like ``example [batch, channels, frames]``."""
        generator = self.generator
        schedule = generator.denoiser.schedule
        grid = truncate_grid(schedule, self.sampler.grid(schedule))
        frame = position // generator.representation.hop_length
        noise = PositionNoise(self.seed + draw * SEEDS, frame)
        sampler = Sampler(self.sampler.method, grid)
        for state in sampler.walk(denoiser, noise(example, -1), cond, noise=noise):
            if progress is not None:
                progress((state.i + 1) / (len(grid) - 1))
        return state.x

    def typical_level(self) -> float:
        """Root mean square of the generator's audio: as stated, or from a state of unit noise."""
        generator = self.generator
        if generator.level is not None:
            return generator.level
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
    """Load a generator, by default ``PRIOR``.

    Args:
        checkpoint: a bundled model, a run folder or a file.
        device: to put it on.
        sampler, steps: instead of the defaults, which are the checkpoint's own for a network that
            sees what is known, and ``SAMPLER`` for others.
        options: of ``Posterior``.

    Raises:
        UserError: where there is none, it is not a generator, or its representation is not linear.
    """
    if checkpoint is None:
        if PRIOR not in bundled_names():
            raise UserError(
                "give --checkpoint MODEL, the run folder of a generator (wavediff train "
                "recipe=kathleen_prior trains one)"
            )
        checkpoint = PRIOR
    generator = Generator.from_pretrained(checkpoint).to(device)
    if generator.observe is None:
        sampler = sampler or SAMPLER
    label = generator.label_number(None)
    return Posterior(generator, generator.with_sampler(sampler, steps), label=label, **options)


def truncate_grid(schedule: Schedule, grid: Tensor) -> Tensor:
    """The part of a time grid from ``FIRST_LOG_SNR`` on, where it then starts."""
    if schedule.log_snr(grid[0]) >= FIRST_LOG_SNR:
        return grid
    first = schedule.time_at(FIRST_LOG_SNR)
    return torch.cat([first.reshape(1), grid[grid < first - 1e-6]])


def level(blocks: Iterable[Tensor], rate: int) -> Tensor:
    """Root mean square of audio ``[channels, time]`` in blocks, without pauses, ``[channels]``."""
    size = max(1, round(LEVEL_SECONDS * rate))
    powers = [
        part.double().square().mean(-1) for block in blocks for part in block.split(size, dim=-1)
    ]
    power = torch.stack(powers)
    loud = power > GATE * power.amax(0)
    return ((power * loud).sum(0) / loud.sum(0).clamp_min(1)).sqrt()


def partial_progress(progress: Progress | None, number: int, count: int) -> Progress | None:
    """The progress of job ``number`` as a share of ``count`` jobs."""
    if progress is None:
        return None
    return lambda share: progress((number + share) / count)
