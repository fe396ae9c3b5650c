"""The probability flow as an ordinary differential equation without singularities.

With nu^2 = alpha^2 + sigma^2, z = (x - anchor y) / nu and w = asinh(alpha / sigma) the flow
dx = x0_hat d alpha + eps_hat d sigma + y d anchor (Song et al. 2021, eq. 13) is, for any schedule,

    dz/dw = x0_hat - tanh(w) z

w is 0 where there is no signal and approaches log(2 alpha / sigma) towards the clean end; the right
side is finite at both. (alpha / nu = tanh w, sigma / nu = 1 / cosh w.)
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
MAX_STEPS = 200  # of the adaptive method, including rejected ones
CALLS_PER_STEP = 6  # Dormand-Prince has seven stages; the last is the first of the next step


def coordinate(schedule: Schedule, t: Tensor | float) -> Tensor:
    """w = asinh(alpha_t / sigma_t), decreasing in t."""
    return torch.asinh(torch.exp(schedule.log_snr(t) / 2))


def norm(schedule: Schedule, t: Tensor | float) -> Tensor:
    """nu_t = sqrt(alpha_t^2 + sigma_t^2)."""
    return torch.hypot(schedule.alpha(t), schedule.sigma(t))


class Flow:
    """The right side dz/dw between two times.

    Args:
        denoiser, cond: of the flow.
        t, s: the noisier and the cleaner time, with sigma_s > 0.

    Attributes:
        start, end: the coordinates w of ``t`` and ``s``.
        x0_hat: the estimate of x_0 at the latest evaluation.
    """

    x0_hat: Tensor

    def __init__(self, denoiser: DenoiserLike, cond: Condition, t: Tensor, s: Tensor) -> None:
        self.denoiser, self.cond, self.schedule = denoiser, cond, denoiser.schedule
        self.start, self.end = (coordinate(self.schedule, time) for time in (t, s))
        self._range = [float(self.schedule.log_snr(time)) for time in (t, s)]
        self._times: dict[float, Tensor] = {}

    def enter(self, x: Tensor, t: Tensor | float) -> Tensor:
        """z of x at time t; 0 where alpha = sigma = 0 (the start of a bridge)."""
        scale = float(norm(self.schedule, t))
        centred = add_anchor(x, -self.schedule.anchor(t), self.cond)
        return centred / scale if scale > 0 else torch.zeros_like(x)

    def leave(self, z: Tensor, t: Tensor | float) -> Tensor:
        """x of z at time t."""
        return add_anchor(float(norm(self.schedule, t)) * z, self.schedule.anchor(t), self.cond)

    def time(self, w: Tensor | float) -> Tensor:
        """The times with the coordinates ``w``, clamped to the range of the flow."""
        log_snr = 2 * torch.log(torch.sinh(as_float64(w)))
        return self.schedule.time_at(log_snr.clamp(*self._range))

    def look_up(self, nodes: Tensor) -> None:
        """Cache the times of all ``nodes``: the bisection costs as much for one as for many."""
        self._times |= zip(nodes.tolist(), self.time(nodes), strict=True)

    def __call__(self, w: Tensor, z: Tensor) -> Tensor:
        at = float(w)
        t = self._times[at] if at in self._times else self.time(at)
        self.x0_hat = self.denoiser(self.leave(z, t), t, self.cond)
        return self.x0_hat - math.tanh(at) * z


def halves(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Ends and midpoints of ``steps`` equal steps, ``[2 steps + 1]``, float64."""
    return torch.linspace(float(start), float(end), 2 * steps + 1, dtype=torch.float64)


def runge_kutta_4(f: Field, y: State, nodes: Tensor) -> State:
    """The classical Runge-Kutta method over equal steps; order 4.

    Args:
        f: right side, ``(node, state) -> slopes``.
        y: initial state.
        nodes: ends and midpoints of the steps, see ``halves``.
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
    """The adaptive Dormand-Prince method of order 5, by torchdiffeq.

    Args:
        f: right side, ``(node, state) -> slopes``.
        y: initial state.
        start, end: of the integration.
        rtol, atol: relative and absolute tolerance of each step.

    Raises:
        ImportError: without torchdiffeq.
        ValueError: if more than ``MAX_STEPS`` steps, or too small ones, would be needed.
    """
    span = torch.stack([as_float64(start), as_float64(end)]).to(y[0].device)
    # the last step must not overshoot: the flow is undefined beyond the end
    options = {"max_num_steps": MAX_STEPS, "dtype": torch.float64, "step_t": span[1:]}
    try:
        path = import_torchdiffeq().odeint(
            f, y, span, rtol=rtol, atol=atol, method="dopri5", options=options
        )
    except AssertionError as error:  # how torchdiffeq reports failure
        raise ValueError(
            f"the adaptive method does not reach rtol {rtol:g} and atol {atol:g} ({error}): "
            "use larger tolerances"
        ) from error
    return tuple(values[-1] for values in path)


def import_torchdiffeq() -> ModuleType:
    """Import torchdiffeq.

    Raises:
        ImportError: if it is not installed, with the command that installs it.
    """
    try:
        import torchdiffeq
    except ImportError as error:
        raise ImportError(
            "adaptive steps need the package torchdiffeq, which is not installed: "
            'pip install "wavediff[ode]"'
        ) from error
    return torchdiffeq
