"""The log-density of data by the probability flow (Song et al. 2021, section 4.3).

Along dz/dw = v(z, w) the density changes as d log p(z) / dw = -div v (Chen et al. 2018, "Neural
ordinary differential equations", eq. 8). The log-density of the data is that of the noise at the
end of the flow plus the integral of the divergence.
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
from wavediff.diffusion.schedule import as_float64, check_steps


@dataclass(frozen=True)
class LogDensity:
    """Log-densities of a batch.

    Attributes:
        nats: log p(x_0), float64 ``[batch]``.
        error: standard error of ``nats`` due to the random probes of the divergence, ``[batch]``; 0
            for the exact divergence, NaN for a single probe.
        dimension: numbers per item.
    """

    nats: Tensor
    error: Tensor
    dimension: int

    @property
    def nats_per_dimension(self) -> Tensor:
        """Negative log-density per dimension in nats, ``[batch]``; smaller is more likely."""
        return -self.nats / self.dimension

    @property
    def bits_per_dimension(self) -> Tensor:
        """Negative log-density per dimension in bits, ``[batch]``."""
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
    """Log-density of data by the probability-flow ODE (Song et al. 2021, section 4.3).

        log p(x_0) = log p(x_T) + int div dx/dt dt

    The flow starts at ``t_min`` instead of the clean end, where the density may be unbounded: the
    result is the log-density at x_0 of the data plus noise of standard deviation sigma / alpha at
    ``t_min``. It ends at ``t_max`` in N(0, prior_std^2), which neglects the remaining signal: the
    mean over data with second moment m is too small by at most KL = (r - 1 - log r) / 2 nats per
    dimension with r = (alpha^2 m + sigma^2) / prior_std^2, negligible for common schedules.

    Args:
        denoiser: of a schedule without an anchor; differentiated by autograd.
        x0: data, ``[batch, ...]``.
        cond: conditions of the denoiser; none by default.
        probes: number of probes of Hutchinson's estimator of the divergence, each constant along
            the flow (FFJORD; Grathwohl et al. 2019); None for the exact divergence, which takes one
            vector-Jacobian product per dimension.
        kind: distribution of the probes. Rademacher probes have no variance if the Jacobian is
            diagonal.
        steps: of the fixed-step Runge-Kutta method, four network calls each; None for the adaptive
            Dormand-Prince method, which needs torchdiffeq.
        rtol, atol: tolerances of the adaptive method.
        t_min, t_max: range of the integration; that of the schedule by default.
        noise: ``noise(x0, k)`` is probe k before ``kind`` is applied, standard normal.
        callback: called after each network call.

    Returns:
        The log-densities, with standard errors and conversions to nats and bits per dimension.

    Raises:
        ValueError: if an option is out of range, the path has an anchor, or there is no noise at
            ``t_min``.
        ImportError: for the adaptive method without torchdiffeq.
    """
    cond = Condition() if cond is None else cond
    schedule = denoiser.schedule
    t = as_float64(schedule.t_min if t_min is None else t_min)
    t_end = as_float64(schedule.t_max if t_max is None else t_max)
    if cond.anchor is not None or float(schedule.anchor(t_end)) != 0:
        raise ValueError("a likelihood needs a path that ends in noise, without an anchor")
    if not (t < t_end and schedule.sigma(t) > 0):
        raise ValueError(
            f"a likelihood needs t_min < t_max and noise at t_min, not {float(t):g} and "
            f"{float(t_end):g}"
        )
    if probes is not None and probes < 1:
        raise ValueError(f"the divergence needs at least 1 probe, not {probes}")
    if kind not in ("rademacher", "gaussian"):
        raise ValueError(f"probes must be rademacher or gaussian, not {kind!r}")
    if steps is not None:
        check_steps(steps, "a likelihood")

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
    # torchdiffeq requires one dtype for all parts of the state
    precision = x0.dtype if steps is None else _sum_dtype(x0)
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
    # change of variables from z = alpha / nu x_0 to x_0
    log_scale = float((schedule.alpha(t) / norm(schedule, t)).log())
    estimates = log_prior + change.double() + dimension * log_scale
    if probes is None:
        error = torch.zeros_like(estimates[0])
    elif probes == 1:
        error = torch.full_like(estimates[0], math.nan)
    else:
        error = estimates.std(0) / math.sqrt(probes)
    return LogDensity(estimates.mean(0), error, dimension)


def _sum_dtype(x: Tensor) -> torch.dtype:
    """Double precision for sums over many dimensions, if the device supports it."""
    return torch.float32 if x.device.type == "mps" else torch.float64


def _probes(x: Tensor, number: int, kind: str, noise: Noise) -> Tensor:
    """Probes of unit variance, ``[number, batch, ...]``."""
    draws = torch.stack([noise(x, k) for k in range(number)])
    return draws if kind == "gaussian" else torch.where(draws < 0, -1.0, 1.0).to(x)


def _divergence(
    flow: Flow, w: Tensor, z: Tensor, directions: Tensor | None
) -> tuple[Tensor, Tensor]:
    """dz/dw and its divergence: exact ``[1, batch]``, or an estimate by each probe."""
    with torch.inference_mode(False), torch.enable_grad():
        z = z.detach().clone().requires_grad_()
        slope = flow(w, z)
        if directions is None:
            flat = slope.flatten(1)
            total = torch.zeros(len(z), device=z.device, dtype=_sum_dtype(z))
            for k in range(flat.shape[1]):
                (row,) = torch.autograd.grad(flat[:, k].sum(), z, retain_graph=True)
                total += row.flatten(1)[:, k]
            return slope.detach(), total[None]
        products = []
        for probe in directions:
            (product,) = torch.autograd.grad(slope, z, probe, retain_graph=True)
            products.append((product * probe).flatten(1).sum(1).to(_sum_dtype(z)))
        return slope.detach(), torch.stack(products)
