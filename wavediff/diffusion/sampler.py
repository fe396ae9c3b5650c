"""Samplers: a method that steps from noise to signal, on a grid of times.

    x = Heun(karras(18))(denoiser, torch.randn(16, 2))
    for i, t, x, x0_hat in Heun(karras(18)).walk(denoiser, torch.randn(16, 2)):
        ...

A method is a generator function decorated with ``@method`` that yields ``x, x0_hat`` after each
step. The initial state, the checks, ``no_grad`` and counting are common to all methods.
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
from wavediff.diffusion.schedule import Schedule, as_float64, check_steps
from wavediff.diffusion.times import Grid, uniform

Options = ParamSpec("Options")
Noise = Callable[[Tensor, int], Tensor]  # (like, number of the draw) -> standard normal
Steps = Iterator[tuple[Tensor, Tensor]]  # (x, x0_hat) after each step
# (denoiser, x, times, cond, noise, options) -> steps
StepFunction = Callable[Concatenate[DenoiserLike, Tensor, Tensor, Condition, Noise, Options], Steps]
Times = Callable[[Schedule], Tensor] | Tensor | Sequence[float]
MakeSampler = Callable[Concatenate[Times, Options], "Sampler"]  # (times, options) -> sampler


def gaussian(x: Tensor, draw: int) -> Tensor:
    """Fresh standard normal noise like ``x``, from torch's global generator."""
    return torch.randn_like(x)


class State(NamedTuple):
    """The state after a step.

    Attributes:
        i: number of the step, from 0.
        t: time after the step, float64 ``[]``.
        x: the state at ``t``, ``[batch, ...]``.
        x0_hat: the estimate of x_0 that the step used, like ``x``.
    """

    i: int
    t: Tensor
    x: Tensor
    x0_hat: Tensor


@dataclass(frozen=True)
class Method:
    """A sampling method with its options.

    Attributes:
        steps: the generator function, ``(denoiser, x, times, cond, noise, **options)``.
        options: all of its options.
        calls: network calls of a step, at most.
        stochastic: whether steps draw noise.
        refuse: ``(schedule, times)``; raises an error if the method does not support them.
    """

    steps: Callable[..., Steps]
    options: Mapping[str, Any]
    calls: int
    stochastic: bool
    refuse: Callable[[Schedule, Tensor], None]

    @property
    def name(self) -> str:
        """Name of the generator function, such as ``Heun``."""
        return self.steps.__name__


def method(
    calls: int | Callable[..., int] = 1,
    stochastic: bool | Callable[..., bool] = False,
    refuse: Callable[..., None] | None = None,
) -> Callable[[StepFunction[Options]], MakeSampler[Options]]:
    """Decorate a generator function, so that ``Name(times, **options)`` is a sampler.

        @method(calls=1)
        def Euler(denoiser, x, times, cond, noise):
            for t, s in pairwise(times):
                x0_hat = denoiser(x, t, cond)
                x = step(denoiser.schedule, x, x0_hat, t, s, cond)
                yield x, x0_hat

    The function yields the state and the estimate of x_0 after each step. It is called with the
    denoiser, the initial state ``x [batch, ...]``, descending ``times [steps + 1]``, the condition,
    ``noise`` and its options by keyword. Step i takes its noise from ``noise(x, i)``, or with k
    draws a step from ``noise(x, k i)`` to ``noise(x, k i + k - 1)``.

    Args:
        calls: network calls of a step, at most; a number, or a function of the options.
        stochastic: whether steps draw noise; a bool, or a function of the options.
        refuse: called with ``(schedule, times, **options)`` before sampling. It raises ValueError
            if the method does not support them, ImportError if a package is missing.
    """

    if inspect.isgeneratorfunction(calls):
        raise TypeError(f"decorate {calls.__name__} with @method(), with parentheses")

    def decorate(steps: StepFunction[Options]) -> MakeSampler[Options]:
        signature = inspect.signature(steps)
        given = list(signature.parameters.values())
        name = steps.__name__
        if len(given) < 5:
            raise TypeError(f"{name} must take (denoiser, x, times, cond, noise), then its options")

        @wraps(steps)
        def sampler(times: Times, *args: Options.args, **kwargs: Options.kwargs) -> Sampler:
            try:
                bound = signature.bind(*[None] * 5, *args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{name} {error}") from None
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
    """A sampling method on a grid of times, such as ``Heun(karras(18))``.

        x = sampler(denoiser, z)                  # a sample of x_0 from noise z [batch, ...]
        for i, t, x, x0_hat in sampler.walk(denoiser, z):
            ...                                   # each step

    Attributes:
        method: the method with its options.
        times: ``schedule -> times``, such as ``karras(18)``, or the times themselves,
            ``[steps + 1]``, descending.
    """

    method: Method
    times: Times

    def grid(self, schedule: Schedule) -> Tensor:
        """The times for ``schedule``, float64 ``[steps + 1]``.

        Raises:
            ValueError: if they do not descend, or the schedule does not support the grid.
        """
        try:
            grid = as_float64(self.times(schedule) if callable(self.times) else self.times)
        except TypeError as error:  # missing or mistyped options
            raise ValueError(f"the options of the grid of times are invalid: {error}") from error
        if grid.ndim != 1 or len(grid) < 2 or not (grid[:-1] > grid[1:]).all():
            raise ValueError(
                "times must be a grid, such as karras(18), or two or more numbers, descending"
            )
        return grid

    def with_steps(self, steps: int) -> Sampler:
        """The same method with another number of steps.

        Args:
            steps: 1 or more. A grid with a fixed number of steps is replaced by a uniform one,
                unless it has this number.

        Raises:
            ValueError: for another number than 1 to 100,000.
        """
        check_steps(steps)
        own = self.times
        if isinstance(own, Grid) and own.takes_steps:
            return replace(self, times=own.with_options(steps=steps))

        def times(schedule: Schedule) -> Tensor:
            try:
                grid = self.grid(schedule)
            except ValueError:  # a fixed grid that the schedule does not support
                grid = None
            if grid is None or len(grid) != steps + 1:
                return uniform(steps)(schedule)
            return grid

        return replace(self, times=times)

    def calls(self, schedule: Schedule) -> int:
        """Network calls of a sample, at most."""
        return self.method.calls * (len(self.grid(schedule)) - 1)

    @property
    def stochastic(self) -> bool:
        """Whether the steps draw noise, besides the initial noise."""
        return self.method.stochastic

    def check(self, denoiser: Denoiser) -> None:
        """Check that method, grid, schedule and prediction are compatible.

        Raises:
            ValueError: if they are not.
            ImportError: if a package that the method needs is missing.
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
        """Iterate over the states after each step, without gradients.

        Args:
            denoiser: called as ``denoiser(x, t, cond)``, with its ``schedule``.
            z: standard normal noise, ``[batch, ...]`` of any rank.
            cond: conditions of the denoiser; none by default.
            noise: ``(like, number of the draw) -> standard normal``, the noise of the steps; by
                default from torch's global generator.
            started: whether ``z`` is the state at the first time of the grid instead of noise.

        Raises:
            ValueError: if the method does not support the schedule or the grid.
            ImportError: if a package that the method needs is missing.
            TypeError: without a denoiser or noise, or for a method that draws noise and does not
                say so.
        """
        cond = Condition() if cond is None else cond
        try:
            schedule = denoiser.schedule
        except AttributeError:
            raise TypeError(
                "sampling needs a denoiser: Denoiser(network, schedule, prediction)"
            ) from None
        if not isinstance(z, Tensor):
            raise TypeError(f"z is standard normal noise, torch.randn(shape), not {z!r}")
        times = self.grid(schedule)
        self.method.refuse(schedule, times)
        x = z if started else start(schedule, times[0], z, cond)
        return self._states(denoiser, x, times, cond, noise)

    @torch.no_grad()
    def _states(
        self, denoiser: DenoiserLike, x: Tensor, times: Tensor, cond: Condition, noise: Noise
    ) -> Iterator[State]:
        noise = noise if self.stochastic else self._no_noise
        steps = self.method.steps(denoiser, x, times, cond, noise, **self.method.options)
        for i, yielded in enumerate(steps):
            if not isinstance(yielded, tuple) or len(yielded) != 2:
                raise TypeError(f"{self.method.name} must yield (x, x0_hat) after each step")
            yield State(i, times[i + 1], *yielded)

    def _no_noise(self, x: Tensor, draw: int) -> Tensor:
        raise TypeError(f"{self.method.name} draws noise: declare it with @method(stochastic=True)")

    def __call__(
        self,
        denoiser: DenoiserLike,
        z: Tensor,
        cond: Condition | None = None,
        *,
        noise: Noise = gaussian,
        started: bool = False,
    ) -> Tensor:
        """Draw samples: the last state of ``walk``, which is x_0 if the grid ends at t = 0."""
        for state in self.walk(denoiser, z, cond, noise=noise, started=started):
            x = state.x
        return x
