"""Grids of times for samplers.

A grid maps a schedule to times: ``karras(18)(schedule)`` is float64, descending, and ends at the
clean end.
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

from wavediff.diffusion.schedule import DiscreteBetas, Schedule, check_steps

Options = ParamSpec("Options")


@dataclass(frozen=True)
class Grid:
    """A map from a schedule to times.

    Attributes:
        function: ``(schedule, **options) -> times``.
        options: of the function.
    """

    function: Callable[..., Tensor]
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, schedule: Schedule) -> Tensor:
        """The times for ``schedule``, float64 ``[steps + 1]``, descending."""
        return self.function(schedule, **self.options)

    @property
    def takes_steps(self) -> bool:
        """Whether the number of steps is an option."""
        return "steps" in self.options

    def with_options(self, **options: Any) -> Grid:
        """The same grid with other options."""
        return Grid(self.function, {**self.options, **options})


def grid(
    function: Callable[Concatenate[Schedule, Options], Tensor],
) -> Callable[Options, Grid]:
    """Decorate ``(schedule, **options) -> times``, so that ``name(**options)`` is a ``Grid``."""
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
    """Equal steps in time from ``t_max`` to ``t_end``.

    ``uniform(20)(schedule)`` are the times, float64 ``[steps + 1]``, descending.

    Args:
        steps: 1 or more.
        t_end: last time, below ``t_max``; the clean end by default.

    Raises:
        ValueError: for a schedule, if ``steps`` is less than 1.
    """
    check_steps(steps)
    return torch.linspace(schedule.t_max, t_end, steps + 1, dtype=torch.float64)


@grid
def uniform_to_t_min(schedule: Schedule, steps: int) -> Tensor:
    """Equal steps in time from ``t_max`` to ``t_min``, then one to the clean end.

    The grid of SGMSE+ (Richter et al. 2023) and FlowSE (Lee et al. 2025).

    Args:
        steps: 1 or more, including the last.
    """
    check_steps(steps)
    trained = torch.linspace(schedule.t_max, schedule.t_min, steps, dtype=torch.float64)
    return torch.cat([trained, torch.zeros(1, dtype=torch.float64)])


@grid
def log_snr_uniform(
    schedule: Schedule, steps: int, t_start: float | None = None, t_last: float | None = None
) -> Tensor:
    """Equal steps in log-SNR from ``t_start`` to ``t_last``, then one to the clean end.

    The grid of DPM-Solver (Lu et al. 2022). ``log_snr_uniform(20)(schedule)`` are the times,
    float64 ``[steps + 1]``, descending.

    Args:
        steps: 1 or more, including the last.
        t_start, t_last: times with a finite log-SNR; ``t_max`` and ``t_min`` by default.

    Raises:
        ValueError: for a schedule, if ``steps`` is less than 1 or the log-SNR is not finite.
    """
    start, last = _ends(schedule, steps, t_start, t_last)
    log_snr = torch.linspace(start[1], last[1], steps, dtype=torch.float64)
    return _times_at(schedule, log_snr, start[0])


@grid
def karras(
    schedule: Schedule,
    steps: int,
    rho: float = 7.0,
    t_start: float | None = None,
    t_last: float | None = None,
) -> Tensor:
    """Equal steps in (sigma / alpha)^(1 / rho) from ``t_start`` to ``t_last``, then one to the end.

    The grid of EDM (Karras et al. 2022, eq. 5), for any schedule. ``karras(18)(schedule)`` are the
    times, float64 ``[steps + 1]``, descending to the clean end.

    Args:
        steps: 1 or more, including the last.
        rho: exponent, positive; larger values give more steps at low noise.
        t_start, t_last: times with finite sigma / alpha > 0; ``t_max`` and ``t_min`` by default.

    Raises:
        ValueError: for a schedule, if ``steps`` is less than 1, ``rho`` is not positive, or
            sigma / alpha is not finite and positive.
    """
    if not rho > 0:
        raise ValueError(f"the exponent rho must be positive, not {rho}")
    start, last = _ends(schedule, steps, t_start, t_last)
    ends = torch.tensor([start[1], last[1]], dtype=torch.float64)
    high, low = (-ends / 2 / rho).exp().tolist()
    if not 0 < low <= high < math.inf:
        raise ValueError(
            f"a grid of log-SNRs from {start[1]:g} to {last[1]:g} with rho = {rho:g} is none: "
            "t_start must be noisier than t_last, and rho not so small"
        )
    log_snr = -2 * rho * torch.linspace(high, low, steps, dtype=torch.float64).log()
    return _times_at(schedule, log_snr, start[0])


@grid
def fixed(schedule: Schedule, times: Sequence[float]) -> Tensor:
    """The given times, such as the result of a search.

    Args:
        times: ``[steps + 1]``, descending within 0 and ``t_max`` of the schedule.

    Raises:
        ValueError: for a schedule, if the times do not descend or are out of range.
    """
    found = torch.as_tensor(times, dtype=torch.float64)
    if found.ndim != 1 or len(found) < 2 or not (found.diff() < 0).all():
        raise ValueError("a fixed grid must be a descending list of at least two times")
    if found[0] > schedule.t_max or found[-1] < 0:
        raise ValueError(
            f"a fixed grid from {found[0]:g} to {found[-1]:g} is outside the range of the "
            f"schedule, {schedule.t_max:g} to 0"
        )
    return found


@grid
def nodes(schedule: Schedule) -> Tensor:
    """All noise levels of a discrete schedule, from T to 0.

    Raises:
        ValueError: for a continuous schedule.
    """
    if not isinstance(schedule, DiscreteBetas):
        raise ValueError("a continuous schedule has no levels: use a grid with a number of steps")
    return torch.arange(len(schedule.betas), -1, -1, dtype=torch.float64)


@grid
def from_betas(schedule: Schedule, betas: Sequence[float]) -> Tensor:
    """The times with the noise levels of a shorter list of betas: DiffWave's fast sampling.

    Kong et al. 2021, appendix, with [1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5] for BASE; the last is 0.7
    for LARGE.

    Args:
        betas: of the noise levels, in (0, 1).

    Raises:
        ValueError: if a noise level is outside the range of the schedule.
    """
    # betas define different noise levels on different kinds of paths
    path = type(schedule) if isinstance(schedule, DiscreteBetas) else DiscreteBetas
    log_snr = path(betas).log_snr(torch.arange(len(betas), 0, -1, dtype=torch.float64))
    return torch.cat([schedule.time_at(log_snr), torch.zeros(1, dtype=torch.float64)])


def _ends(
    schedule: Schedule, steps: int, t_start: float | None, t_last: float | None
) -> tuple[tuple[float, float], tuple[float, float]]:
    """(time, log-SNR) of the first time and of the last before the clean end."""
    check_steps(steps)
    t_start = schedule.t_max if t_start is None else t_start
    t_last = schedule.t_min if t_last is None else t_last
    ends = schedule.log_snr(torch.tensor([t_start, t_last], dtype=torch.float64))
    if not torch.isfinite(ends).all():
        raise ValueError(
            f"the log-SNR at the ends of the grid, {ends.tolist()}, is not finite: use a t_start "
            "with some signal and a t_last with some noise"
        )
    return (t_start, float(ends[0])), (t_last, float(ends[1]))


def _times_at(schedule: Schedule, log_snr: Tensor, t_start: float) -> Tensor:
    """The times at these log-SNRs, the first of which is exactly ``t_start``, and the clean end."""
    times = schedule.time_at(log_snr)
    times[0] = t_start
    return torch.cat([times, torch.zeros(1, dtype=torch.float64)])
