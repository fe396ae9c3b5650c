"""Samplers: a method that steps from noise to signal, and the times that it steps over.

    x = Heun(karras(18))(denoiser, torch.randn(16, 2))
    for i, t, x, x0_hat in Heun(karras(18)).walk(denoiser, torch.randn(16, 2)):
        ...

A method is a generator function under ``@method``. It yields ``x, x0_hat`` after each step; all
else is done here, once: the start, the check of the grid, ``no_grad``, counting.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Concatenate, NamedTuple, ParamSpec

import torch
from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser, DenoiserLike
from wavediff.diffusion.reverse import start
from wavediff.diffusion.schedule import Schedule, as_float64
from wavediff.diffusion.times import Grid, uniform

Options = ParamSpec("Options")
Noise = Callable[[Tensor, int], Tensor]  # (like, number of the draw) -> standard normal
Steps = Iterator[tuple[Tensor, Tensor]]  # (x, x0_hat) after each step
Stepping = Callable[Concatenate[DenoiserLike, Tensor, Tensor, Condition, Noise, Options], Steps]
Times = Callable[[Schedule], Tensor] | Tensor | Sequence[float]


def gaussian(x: Tensor, draw: int) -> Tensor:
    """Fresh standard normal noise like ``x``, from torch's global generator."""
    return torch.randn_like(x)


class State(NamedTuple):
    """Where a walk stands.

    Attributes:
        i: number of the step that led here, from 0.
        t: time of ``x``, float64 ``[]``.
        x: the state, like the noise that the walk began with.
        x0_hat: the estimate of x_0 that the step was made with.
    """

    i: int
    t: Tensor
    x: Tensor
    x0_hat: Tensor


@dataclass(frozen=True)
class Method:
    """A way to step, with its options.

    Attributes:
        steps: the generator function, ``(denoiser, x, times, cond, noise, **options)``.
        options: all of its options.
        calls: network calls of a step, at most.
        stochastic: whether steps draw noise.
        refuse: ``(schedule, times)``, raises for what the method cannot do.
    """

    steps: Callable[..., Steps]
    options: Mapping[str, Any]
    calls: int
    stochastic: bool
    refuse: Callable[[Schedule, Tensor], None]

    @property
    def name(self) -> str:
        """As it is imported, such as ``Heun``."""
        return self.steps.__name__


def method(
    calls: int | Callable[..., int] = 1,
    stochastic: bool | Callable[..., bool] = False,
    refuse: Callable[..., None] | None = None,
) -> Callable[[Stepping[Options]], Callable[Concatenate[Times, Options], Sampler]]:
    """Turn a generator function into what makes samplers of it: ``Name(times, **options)``.

    The function is called with ``(denoiser, x, times, cond, noise)`` and its own options by
    keyword. ``times [n + 1]`` descends. Step i takes its noise from ``noise(x, i)``, or from
    ``noise(x, k i)`` to ``noise(x, k i + k - 1)`` where it draws k times.

    Args:
        calls: network calls of a step, or a function of the options.
        stochastic: whether steps draw noise, or a function of the options.
        refuse: called with ``(schedule, times)`` and the options before a walk; raises ValueError
            for what the method cannot do, ImportError for a package that it lacks.
    """

    def decorate(steps: Stepping[Options]) -> Callable[Concatenate[Times, Options], Sampler]:
        signature = inspect.signature(steps)
        given = list(signature.parameters.values())

        @wraps(steps)
        def sampler(times: Times, *args: Options.args, **kwargs: Options.kwargs) -> Sampler:
            bound = signature.bind(*[None] * 5, *args, **kwargs)
            bound.apply_defaults()
            options = {p.name: bound.arguments[p.name] for p in given[5:]}

            def check(schedule: Schedule, times: Tensor) -> None:
                if refuse is not None:
                    refuse(schedule, times, **options)

            made = Method(
                steps,
                options,
                calls(**options) if callable(calls) else calls,
                stochastic(**options) if callable(stochastic) else stochastic,
                check,
            )
            return Sampler(made, times)

        first = inspect.Parameter("times", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        sampler.__signature__ = inspect.Signature([first, *given[5:]])  # type: ignore[attr-defined]
        return sampler

    return decorate


@dataclass(frozen=True)
class Sampler:
    """A method on a grid of times.

    Attributes:
        method: how to step.
        times: ``schedule -> grid``, or the grid itself, descending.
    """

    method: Method
    times: Times

    def grid(self, schedule: Schedule) -> Tensor:
        """The times, float64 ``[steps + 1]``.

        Raises:
            ValueError: for a grid that does not descend or does not exist for ``schedule``.
        """
        try:
            grid = as_float64(self.times(schedule) if callable(self.times) else self.times)
        except TypeError as error:  # options of the wrong kind
            raise ValueError(f"the grid of times cannot be made: {error}") from error
        if grid.ndim != 1 or len(grid) < 2 or not (grid[:-1] > grid[1:]).all():
            raise ValueError("times must be a descending list of at least two numbers")
        return grid

    def with_steps(self, steps: int) -> Sampler:
        """The same method in ``steps`` steps; equal ones where its own grid has a fixed number.

        Raises:
            ValueError: for less than one step.
        """
        if steps < 1:
            raise ValueError(f"a sampler needs at least 1 step, not {steps}")
        own = self.times
        if isinstance(own, Grid) and own.takes_steps:
            return replace(self, times=own.with_options(steps=steps))

        def times(schedule: Schedule) -> Tensor:
            try:
                grid = self.grid(schedule)
            except ValueError:  # a grid of other schedules, which is not asked for
                grid = None
            if grid is None or len(grid) != steps + 1:
                return uniform(steps)(schedule)
            return grid

        return replace(self, times=times)

    def calls(self, schedule: Schedule) -> int:
        """Network calls of a walk, at most."""
        return self.method.calls * (len(self.grid(schedule)) - 1)

    @property
    def stochastic(self) -> bool:
        """Whether a walk draws noise besides that which it starts from."""
        return self.method.stochastic

    def check(self, denoiser: Denoiser) -> None:
        """See before the walk that it is possible.

        Raises:
            ValueError: where method, grid, schedule and prediction do not fit together.
            ImportError: for a package that the method lacks.
        """
        schedule = denoiser.schedule
        grid = self.grid(schedule)
        denoiser.prediction(schedule, grid[:-1])
        self.method.refuse(schedule, grid)

    def walk(
        self,
        denoiser: DenoiserLike,
        z: Tensor,
        cond: Condition | None = None,
        *,
        noise: Noise = gaussian,
        started: bool = False,
    ) -> Iterator[State]:
        """The states after each step, without gradients.

        Args:
            denoiser: with its ``schedule``.
            z: standard normal noise, ``[batch, ...]`` of any rank.
            cond: of the denoiser.
            noise: ``(like, number) -> standard normal``, for what the steps draw.
            started: take ``z`` for a state at the first time of the grid.

        Raises:
            ValueError: for what the method cannot do.
        """
        cond = Condition() if cond is None else cond
        schedule = denoiser.schedule
        times = self.grid(schedule)
        self.method.refuse(schedule, times)
        x = z if started else start(schedule, times[0], z, cond)
        return self._states(denoiser, x, times, cond, noise)

    @torch.no_grad()
    def _states(
        self, denoiser: DenoiserLike, x: Tensor, times: Tensor, cond: Condition, noise: Noise
    ) -> Iterator[State]:
        steps = self.method.steps(denoiser, x, times, cond, noise, **self.method.options)
        for i, (x, x0_hat) in enumerate(steps):
            yield State(i, times[i + 1], x, x0_hat)

    def __call__(
        self,
        denoiser: DenoiserLike,
        z: Tensor,
        cond: Condition | None = None,
        *,
        noise: Noise = gaussian,
        started: bool = False,
    ) -> Tensor:
        """The last state of ``walk``: a sample of x_0 where the grid ends at the clean end."""
        for state in self.walk(denoiser, z, cond, noise=noise, started=started):
            x = state.x
        return x
