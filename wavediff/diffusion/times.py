"""Grids of times for the samplers: float64, descending, ending at the clean end.

A grid follows from a schedule: ``karras(18)`` is a grid, ``karras(18)(schedule)`` its times.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import torch
from torch import Tensor

from wavediff.diffusion.schedule import DiscreteBetas, Schedule

Options = ParamSpec("Options")


@dataclass(frozen=True)
class Grid:
    """``schedule -> times``.

    Attributes:
        function: ``(schedule, **options) -> times``.
        options: its options.
    """

    function: Callable[..., Tensor]
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, schedule: Schedule) -> Tensor:
        """The times for ``schedule``, float64 ``[steps + 1]``, descending."""
        return self.function(schedule, **self.options)

    @property
    def takes_steps(self) -> bool:
        """Whether it exists for any number of steps."""
        return "steps" in self.options

    def with_options(self, **options: Any) -> Grid:
        """The same with other options."""
        return Grid(self.function, {**self.options, **options})


def grid(
    function: Callable[Concatenate[Schedule, Options], Tensor],
) -> Callable[Options, Grid]:
    """Turn ``(schedule, ...) -> times`` into ``(...) -> Grid``."""
    signature = inspect.signature(function)

    @wraps(function)
    def bound(*args: Options.args, **kwargs: Options.kwargs) -> Grid:
        given = signature.bind(None, *args, **kwargs).arguments
        return Grid(function, {name: value for name, value in given.items() if name != "schedule"})

    rest = list(signature.parameters.values())[1:]
    bound.__signature__ = inspect.Signature(rest)  # type: ignore[attr-defined]
    return bound


@grid
def uniform(schedule: Schedule, steps: int, t_end: float = 0.0) -> Tensor:
    """``steps`` equal steps from ``t_max`` to ``t_end``, ``[steps + 1]``."""
    _check(steps)
    return torch.linspace(schedule.t_max, t_end, steps + 1, dtype=torch.float64)


@grid
def uniform_to_t_min(schedule: Schedule, steps: int) -> Tensor:
    """Equal steps from ``t_max`` to ``t_min``, then one to the clean end, ``[steps + 1]``.

    The grid of SGMSE+ and FlowSE, whose networks know nothing below ``t_min``.
    """
    _check(steps)
    trained = torch.linspace(schedule.t_max, schedule.t_min, steps, dtype=torch.float64)
    return torch.cat([trained, torch.zeros(1, dtype=torch.float64)])


@grid
def log_snr_uniform(
    schedule: Schedule, steps: int, t_start: float | None = None, t_last: float | None = None
) -> Tensor:
    """Equal steps of log-SNR from ``t_start`` to ``t_last``, then one to the clean end.

    ``t_start`` must have a finite log-SNR; the defaults are the ends of the training range.
    """
    start, last = _ends(schedule, steps, t_start, t_last)
    levels = torch.linspace(start[1], last[1], steps, dtype=torch.float64)
    return _at_levels(schedule, levels, start[0])


@grid
def karras(
    schedule: Schedule,
    steps: int,
    rho: float = 7.0,
    t_start: float | None = None,
    t_last: float | None = None,
) -> Tensor:
    """Equal steps of (sigma / alpha)^(1 / rho), then one to the clean end, ``[steps + 1]``.

    EDM's grid (Karras et al. 2022, eq. 5), for any schedule: sigma / alpha is the noise on an
    undiminished signal. From ``t_start`` to ``t_last`` as in ``log_snr_uniform``.

    Raises:
        ValueError: where sigma / alpha is not finite at both ends, or rho is not positive.
    """
    if not rho > 0:
        raise ValueError(f"the exponent rho must be positive, not {rho}")
    start, last = _ends(schedule, steps, t_start, t_last)
    high, low = (math.exp(-log_snr / 2 / rho) for _, log_snr in (start, last))
    levels = -2 * rho * torch.linspace(high, low, steps, dtype=torch.float64).log()
    return _at_levels(schedule, levels, start[0])


@grid
def fixed(schedule: Schedule, times: Sequence[float]) -> Tensor:
    """These times, whatever the schedule: what a search found.

    Raises:
        ValueError: where they do not descend within the schedule's, 0 to ``t_max``.
    """
    found = torch.as_tensor(times, dtype=torch.float64)
    if found.ndim != 1 or len(found) < 2 or not (found.diff() < 0).all():
        raise ValueError("a fixed grid is a descending list of at least two times")
    if found[0] > schedule.t_max or found[-1] < 0:
        raise ValueError(
            f"a fixed grid from {found[0]:g} to {found[-1]:g} leaves the schedule's times, "
            f"{schedule.t_max:g} to 0"
        )
    return found


@grid
def nodes(schedule: Schedule) -> Tensor:
    """Every trained level of a discrete schedule, T to 0.

    Raises:
        ValueError: for a continuous schedule, which has no levels.
    """
    if not isinstance(schedule, DiscreteBetas):
        raise ValueError("a continuous schedule has no levels: use a grid of so many steps")
    return torch.arange(len(schedule.betas), -1, -1, dtype=torch.float64)


@grid
def from_betas(schedule: Schedule, betas: Sequence[float]) -> Tensor:
    """The times at which ``schedule`` has the noise levels of another, shorter list of betas.

    DiffWave's fast sampling (Kong et al. 2021, appendix): [1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5] for
    BASE, the last 0.7 for LARGE.

    Raises:
        ValueError: where a level lies outside of what the schedule was trained on.
    """
    # levels are compared on the same kind of path
    path = type(schedule) if isinstance(schedule, DiscreteBetas) else DiscreteBetas
    log_snr = path(betas).log_snr(torch.arange(len(betas), 0, -1, dtype=torch.float64))
    return torch.cat([schedule.time_at(log_snr), torch.zeros(1, dtype=torch.float64)])


def _check(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"a sampler needs at least 1 step, not {steps}")


def _ends(
    schedule: Schedule, steps: int, t_start: float | None, t_last: float | None
) -> tuple[tuple[float, float], tuple[float, float]]:
    """(time, log-SNR) where a grid starts and where its steps towards the clean end stop."""
    _check(steps)
    t_start = schedule.t_max if t_start is None else t_start
    t_last = schedule.t_min if t_last is None else t_last
    ends = schedule.log_snr(torch.tensor([t_start, t_last], dtype=torch.float64))
    if not torch.isfinite(ends).all():
        raise ValueError(
            f"the log-SNR at the grid's ends, {ends.tolist()}, is not finite: choose a t_start "
            "with some signal and a t_last with some noise"
        )
    return (t_start, float(ends[0])), (t_last, float(ends[1]))


def _at_levels(schedule: Schedule, log_snr: Tensor, t_start: float) -> Tensor:
    """The times of these levels, the first one without rounding, and the clean end."""
    times = schedule.time_at(log_snr)
    times[0] = t_start
    return torch.cat([times, torch.zeros(1, dtype=torch.float64)])
