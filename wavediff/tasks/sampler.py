"""A sampler with its grid of times, as configured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from torch import Tensor

from wavediff.diffusion import times
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.schedule import Schedule
from wavediff.errors import UserError
from wavediff.files import conf_folder
from wavediff.tasks.build import make


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
        except ValueError as error:
            raise UserError(f"this sampler does not fit the model: {error}") from error

    def network_calls(self, schedule: Schedule) -> int:
        """At most this many evaluations of the denoiser."""
        function = getattr(self.function, "func", self.function)
        per_step = getattr(function, "calls_per_step", 1)
        if callable(per_step):  # it depends on the sampler's options
            per_step = per_step(**getattr(self.function, "keywords", {}))
        return per_step * (len(self.grid(schedule)) - 1)


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
