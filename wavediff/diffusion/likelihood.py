"""The log-density of data by the probability flow (Song et al. 2021, section 4.3).

Along dz/dw = v(z, w) the density changes as d log p(z) / dw = -div v (Chen et al. 2018, "Neural
ordinary differential equations", eq. 8), so the data's density is that of the noise that the flow
takes them to, plus the integral of the divergence.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.flow import Flow, dormand_prince, halves, norm, runge_kutta_4
from wavediff.diffusion.sampler import Noise, gaussian
from wavediff.diffusion.schedule import as_float64


@dataclass(frozen=True)
class LogDensity:
    """Log-densities of a batch.

    Attributes:
        nats: ``[batch]``, float64.
        error: standard error of ``nats`` by the random probes of the divergence, ``[batch]``; 0
            where the divergence is exact, NaN for a single probe.
        dimension: numbers per item, channels times time.
    """

    nats: Tensor
    error: Tensor
    dimension: int

    @property
    def nats_per_dimension(self) -> Tensor:
        """Negative log-density per dimension, nats, ``[batch]``: smaller is likelier."""
        return -self.nats / self.dimension

    @property
    def bits_per_dimension(self) -> Tensor:
        """The same in bits."""
        return self.nats_per_dimension / math.log(2)


def log_density(
    denoiser: Denoiser,
    x0: Tensor,
    cond: Condition | None = None,
    *,
    probes: int | None = None,
    kind: Literal["rademacher", "gaussian"] = "rademacher",
    steps: int | None = 50,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    t_min: float | None = None,
    t_max: float | None = None,
    noise: Noise = gaussian,
    callback: Callable[[], None] | None = None,
) -> LogDensity:
    """log p(x_0) of every item.

    The flow starts at ``t_min``, not at the clean end, where a density may have no bounds: the
    result is the log-density at x_0 of the data plus noise of sigma / alpha at ``t_min``, and data
    finer than that look smoother than they are. It ends at ``t_max`` in N(0, prior_std^2), which
    takes no notice of the signal that is left there: the mean over data with second moment m is
    too small by KL = (r - 1 - log r) / 2 nats per dimension (for Gaussian data, else less than
    that), r = (alpha^2 m + sigma^2) / prior_std^2; next to nothing for the usual schedules.

    Args:
        denoiser: of a path without a known signal y; it is differentiated by autograd.
        x0: data, ``[batch, channels, time]``.
        probes: of Hutchinson's estimator of the divergence, each kept along the whole flow
            (Grathwohl et al. 2019, FFJORD); None for the exact divergence, by as many vector-
            Jacobian products as there are dimensions.
        kind: of the probes. Rademacher's have no variance where the Jacobian is diagonal.
        steps: of the fixed Runge-Kutta method, four network calls each; None for adaptive ones
            to ``rtol`` and ``atol``, which needs torchdiffeq.
        t_min, t_max: the schedule's own by default.
        noise: of the probes, ``noise(x0, k)`` for probe k.
        callback: told after each network call.

    Raises:
        ValueError: for options out of range, a path with an anchor, or one without noise at
            ``t_min``.
        ImportError: for adaptive steps without torchdiffeq.
    """
    cond = Condition() if cond is None else cond
    schedule = denoiser.schedule
    t = as_float64(schedule.t_min if t_min is None else t_min)
    t_end = as_float64(schedule.t_max if t_max is None else t_max)
    if cond.anchor is not None or float(schedule.anchor(t_end)) != 0:
        raise ValueError("a path that leads to a known signal y has no noise density to end in")
    if not (t < t_end and schedule.sigma(t) > 0):
        raise ValueError(
            f"a likelihood needs noise at its first time and t_min < t_max, not {float(t):g} and "
            f"{float(t_end):g}"
        )
    if probes is not None and probes < 1:
        raise ValueError(f"the divergence needs at least 1 probe, not {probes}")
    if kind not in ("rademacher", "gaussian"):
        raise ValueError(f"probes are rademacher or gaussian, not {kind!r}")
    if steps is not None and steps < 1:
        raise ValueError(f"a likelihood needs at least 1 step, not {steps}")

    dimension = x0[0].numel()
    directions = None if probes is None else _probes(x0, probes, kind, noise)
    flow = Flow(denoiser, cond, t_end, t)

    def field(w: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        slope, divergence = _divergence(flow, w, state[0], directions)
        if callback is not None:
            callback()
        return slope, divergence

    z = (schedule.alpha(t) * x0 / norm(schedule, t)).to(x0)
    rows = 1 if probes is None else probes
    # torchdiffeq keeps the whole state in one precision
    precision = x0.dtype if steps is None else _wide(x0)
    state = (z.detach(), torch.zeros(rows, len(x0), device=x0.device, dtype=precision))
    if steps is None:
        z, change = dormand_prince(field, state, flow.end, flow.start, rtol, atol)
    else:
        nodes = halves(flow.end, flow.start, steps)
        flow.look_up(nodes)
        z, change = runge_kutta_4(field, state, nodes)

    scale = float(norm(schedule, t_end) / schedule.prior_std(t_end))
    squares = (scale * z.double()).square().flatten(1).sum(1)
    log_prior = -squares / 2 + dimension * (math.log(scale) - math.log(2 * math.pi) / 2)
    # from z to the data: z = alpha / nu x_0
    log_scale = float((schedule.alpha(t) / norm(schedule, t)).log())
    estimates = log_prior + change.double() + dimension * log_scale
    if probes is None:
        error = torch.zeros_like(estimates[0])
    elif probes == 1:
        error = torch.full_like(estimates[0], math.nan)
    else:
        error = estimates.std(0) / math.sqrt(probes)
    return LogDensity(estimates.mean(0), error, dimension)


def _wide(x: Tensor) -> torch.dtype:
    """Double precision for sums over many dimensions, where the device has it."""
    return torch.float32 if x.device.type == "mps" else torch.float64


def _probes(x: Tensor, number: int, kind: str, noise: Noise) -> Tensor:
    """``[number, batch, ...]``, of unit variance."""
    draws = torch.stack([noise(x, k) for k in range(number)])
    return draws if kind == "gaussian" else torch.where(draws < 0, -1.0, 1.0).to(x)


def _divergence(
    flow: Flow, w: Tensor, z: Tensor, directions: Tensor | None
) -> tuple[Tensor, Tensor]:
    """dz/dw and its divergence: exact, ``[1, batch]``, or along each probe, ``[probes, batch]``."""
    with torch.inference_mode(False), torch.enable_grad():
        z = z.detach().clone().requires_grad_()
        slope = flow(w, z)
        if directions is None:
            flat = slope.flatten(1)
            total = torch.zeros(len(z), device=z.device, dtype=_wide(z))
            for k in range(flat.shape[1]):
                (row,) = torch.autograd.grad(flat[:, k].sum(), z, retain_graph=True)
                total += row.flatten(1)[:, k]
            return slope.detach(), total[None]
        products = []
        for probe in directions:
            (product,) = torch.autograd.grad(slope, z, probe, retain_graph=True)
            products.append((product * probe).flatten(1).sum(1).to(_wide(z)))
        return slope.detach(), torch.stack(products)
