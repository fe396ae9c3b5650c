"""A sampler with its grid of times, as configured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from wavediff.diffusion import reverse, times
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.noise import ItemNoise
from wavediff.diffusion.schedule import Schedule
from wavediff.errors import UserError
from wavediff.files import conf_folder
from wavediff.tasks.build import make

FIRST_STREAM = 16  # of the noise of `Sampler.estimate`; the tasks' losses draw from lower ones


@dataclass(frozen=True)
class Sampler:
    """How to walk back from noise.

    Attributes:
        function: one of ``wavediff.diffusion``, with its own options bound.
        times: ``schedule -> grid``.
    """

    function: Callable[..., Tensor]
    times: Callable[[Schedule], Tensor]

    def with_steps(self, schedule: Schedule, steps: int | None) -> Sampler:
        """The same on ``steps`` steps; uniform ones where its own grid has a fixed number."""
        if steps is None:
            return self
        if steps < 1:
            raise UserError(f"a sampler needs at least 1 step, not {steps}")
        if isinstance(self.times, partial) and "steps" in self.times.keywords:
            return replace(self, times=partial(self.times, steps=steps))
        try:
            if len(self.times(schedule)) == steps + 1:
                return self
        except ValueError:  # a grid for other schedules, which is not asked for
            pass
        return replace(self, times=partial(times.uniform, steps=steps))

    def grid(self, schedule: Schedule) -> Tensor:
        """The times, ``[steps + 1]``.

        Raises:
            UserError: where this grid does not exist for ``schedule``.
        """
        try:
            return self.times(schedule)
        except (ValueError, TypeError) as error:
            raise UserError(f"this sampler does not fit the model: {error}") from error

    def network_calls(self, schedule: Schedule) -> int:
        """At most this many evaluations of the denoiser."""
        function = getattr(self.function, "func", self.function)
        per_step = getattr(function, "calls_per_step", 1)
        if callable(per_step):  # it depends on the sampler's options
            per_step = per_step(**getattr(self.function, "keywords", {}))
        return per_step * (len(self.grid(schedule)) - 1)

    def estimate(
        self, denoiser: Denoiser, like: Tensor, cond: Condition, noise: ItemNoise
    ) -> Tensor:
        """x0_hat at one of this sampler's own times for each item, with a gradient.

        Item by item one of the times is drawn, all alike, and the sampler walks there from noise,
        as it does when it is used: nothing of the true x_0 is in what the denoiser is given. Only
        the call at that time has a gradient. At the first time x0_hat is what one call gives, at
        the last time what all give: a walk of two steps teaches for one call and for two.

        This is training on the sampler's own path (InferGrad, Chen et al. 2022; PeriodWave-Turbo,
        Lee et al. 2024), cut before the last call as in DMD2's backward simulation (Yin et al.
        2024), which takes the memory of one call.

        Args:
            like: anything of the shape, type and place of x_0, ``[batch, channels, time]``.
            noise: of the start, of the sampler, and of the times.
        """
        schedule = denoiser.schedule
        grid = self.grid(schedule)

        def draw(x: Tensor, i: int) -> Tensor:
            return noise.normal(*x.shape[1:], stream=FIRST_STREAM + 2 + i).to(x)

        states = [reverse.start(schedule, grid[0], draw(like, -1), cond)]
        if len(grid) > 2:

            def keep(i: int, x: Tensor, x0_hat: Tensor) -> None:
                states.append(x)

            with torch.no_grad():
                self.function(denoiser, states[0], grid[:-1], cond, noise=draw, callback=keep)
        chosen = (noise.uniform(FIRST_STREAM) * len(states)).long()
        x = torch.stack([states[i][item] for item, i in enumerate(chosen.tolist())])
        return denoiser(x, grid[chosen], cond)


def _folder() -> Path:
    return conf_folder() / "sampler"


def sampler_names() -> list[str]:
    """Names that ``sampler_by_name`` knows, one per file of ``conf/sampler``."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def sampler_config(name: str) -> dict[str, Any]:
    """``conf/sampler/<name>.yaml``.

    Raises:
        UserError: for a name that does not exist, with those that do.
    """
    if name not in sampler_names():
        raise UserError(f"there is no sampler {name!r}; choose one of {', '.join(sampler_names())}")
    config = OmegaConf.load(_folder() / f"{name}.yaml")
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


def sampler_by_name(name: str) -> Sampler:
    """The sampler of ``conf/sampler/<name>.yaml``.

    Raises:
        UserError: for a name that does not exist, with those that do.
    """
    return make(sampler_config(name))


def checked_sampler(
    denoiser: Denoiser, default: Sampler, name: str | None = None, steps: int | None = None
) -> Sampler:
    """The sampler called ``name``, or ``default``, on ``steps`` steps, if ``denoiser`` can use it.

    Raises:
        UserError: for a name that does not exist, or a sampler that does not fit the model.
    """
    schedule = denoiser.schedule
    sampler = default if name is None else sampler_by_name(name)
    sampler = sampler.with_steps(schedule, steps)
    grid = sampler.grid(schedule)
    check = getattr(getattr(sampler.function, "func", sampler.function), "check", None)
    try:
        denoiser.prediction(schedule, grid[:-1])
        if check is not None:
            check(schedule, grid)
    except ValueError as error:
        raise UserError(f"this sampler does not fit the model: {error}") from error
    except ImportError as error:
        raise UserError(str(error)) from error
    return sampler
