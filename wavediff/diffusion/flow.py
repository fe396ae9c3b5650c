"""The probability flow as an ordinary differential equation in a coordinate of its own.

With nu^2 = alpha^2 + sigma^2, z = (x - anchor y) / nu and w = asinh(alpha / sigma) the flow
dx = x0_hat d alpha + eps_hat d sigma + y d anchor (Song et al. 2021, eq. 13) is, on every schedule,

    dz/dw = x0_hat - tanh(w) z

w grows from 0, where there is no signal, and like log(2 alpha / sigma) towards the clean end: the
right side has no singularity at either. (alpha / nu = tanh w, sigma / nu = 1 / cosh w.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import DenoiserLike
from wavediff.diffusion.forward import add_anchor
from wavediff.diffusion.schedule import Schedule, as_float64

State = tuple[Tensor, ...]
Field = Callable[[Tensor, State], State]
MAX_STEPS = 200  # adaptive steps, those that are tried again too
CALLS_PER_STEP = 6  # Dormand and Prince's; the seventh is the next step's first


def coordinate(schedule: Schedule, t: Tensor | float) -> Tensor:
    """w = asinh(alpha_t / sigma_t), decreasing in t."""
    return torch.asinh(torch.exp(schedule.log_snr(t) / 2))


def norm(schedule: Schedule, t: Tensor | float) -> Tensor:
    """nu_t = sqrt(alpha_t^2 + sigma_t^2)."""
    return torch.hypot(schedule.alpha(t), schedule.sigma(t))


class Flow:
    """dz/dw between two times.

    Args:
        denoiser, cond: of the flow.
        t, s: its noisier and its cleaner time; sigma_s > 0.

    Attributes:
        start, end: the coordinates of ``t`` and ``s``.
        x0_hat: the estimate of the latest evaluation.
    """

    x0_hat: Tensor

    def __init__(self, denoiser: DenoiserLike, cond: Condition, t: Tensor, s: Tensor) -> None:
        self.denoiser, self.cond, self.schedule = denoiser, cond, denoiser.schedule
        self.start, self.end = (coordinate(self.schedule, time) for time in (t, s))
        self._range = [float(self.schedule.log_snr(time)) for time in (t, s)]
        self._times: dict[float, Tensor] = {}

    def enter(self, x: Tensor, t: Tensor | float) -> Tensor:
        """z of x at time t; 0 where neither signal nor noise is left (a bridge's start)."""
        scale = float(norm(self.schedule, t))
        centred = add_anchor(x, -self.schedule.anchor(t), self.cond)
        return centred / scale if scale > 0 else torch.zeros_like(x)

    def leave(self, z: Tensor, t: Tensor | float) -> Tensor:
        """x of z at time t."""
        return add_anchor(float(norm(self.schedule, t)) * z, self.schedule.anchor(t), self.cond)

    def time(self, w: Tensor | float) -> Tensor:
        """The time with coordinate ``w``, one or many, within the flow's two."""
        log_snr = 2 * torch.log(torch.sinh(as_float64(w)))
        return self.schedule.time_at(log_snr.clamp(*self._range))

    def look_up(self, nodes: Tensor) -> None:
        """Find the times of many coordinates at once: each by itself would take as long."""
        self._times |= zip(nodes.tolist(), self.time(nodes), strict=True)

    def __call__(self, w: Tensor, z: Tensor) -> Tensor:
        at = float(w)
        t = self._times[at] if at in self._times else self.time(at)
        self.x0_hat = self.denoiser(self.leave(z, t), t, self.cond)
        return self.x0_hat - math.tanh(at) * z


def halves(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Ends and middles of ``steps`` equal steps, ``[2 steps + 1]``, float64."""
    return torch.linspace(float(start), float(end), 2 * steps + 1, dtype=torch.float64)


def runge_kutta_4(f: Field, y: State, nodes: Tensor) -> State:
    """The classical Runge-Kutta method in equal steps over ``nodes``; order 4.

    ``nodes`` are those of ``halves``: the ends of the steps and their middles, in turn.
    """

    def moved(y: State, slopes: State, h: float) -> State:
        return tuple(a + h * b for a, b in zip(y, slopes, strict=True))

    for a, middle, b in zip(nodes[:-1:2], nodes[1::2], nodes[2::2], strict=True):
        h = float(b - a)
        k1 = f(a, y)
        k2 = f(middle, moved(y, k1, h / 2))
        k3 = f(middle, moved(y, k2, h / 2))
        k4 = f(b, moved(y, k3, h))
        mean = tuple((p + 2 * q + 2 * r + u) / 6 for p, q, r, u in zip(k1, k2, k3, k4, strict=True))
        y = moved(y, mean, h)
    return y


def dormand_prince(
    f: Field, y: State, start: Tensor, end: Tensor, rtol: float, atol: float
) -> State:
    """Dormand and Prince's method of order 5 with adaptive steps, from torchdiffeq.

    Raises:
        ImportError: without torchdiffeq.
        ValueError: where the steps would be too many or too small.
    """
    span = torch.stack([as_float64(start), as_float64(end)]).to(y[0].device)
    # a step ends at the end itself: beyond it there is no flow
    options = {"max_num_steps": MAX_STEPS, "dtype": torch.float64, "step_t": span[1:]}
    try:
        path = import_torchdiffeq().odeint(
            f, y, span, rtol=rtol, atol=atol, method="dopri5", options=options
        )
    except AssertionError as error:  # torchdiffeq's way to give up
        raise ValueError(
            f"adaptive steps do not reach rtol {rtol:g} and atol {atol:g} ({error}): "
            "take larger ones"
        ) from error
    return tuple(values[-1] for values in path)


def import_torchdiffeq() -> ModuleType:
    """torchdiffeq, or an ImportError that says how to get it."""
    try:
        import torchdiffeq
    except ImportError as error:
        raise ImportError(
            "adaptive steps need the package torchdiffeq, which is not installed: "
            'pip install "wavediff[ode]"'
        ) from error
    return torchdiffeq
