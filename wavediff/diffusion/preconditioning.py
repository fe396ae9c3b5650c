"""What a network's output F means: x0_hat = c_skip x_t + c_out F(c_in x_t, c_noise) + c_anchor y.

Each prediction is a function ``(schedule, t) -> Coefficients``; ``c_anchor`` only counts where
there is a known signal y.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from wavediff.diffusion.schedule import Schedule


class Coefficients(NamedTuple):
    """Float64 tensors like ``t``."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_anchor: Tensor


def _without_anchor(schedule: Schedule, t: Tensor, c_skip: Tensor, c_out: Tensor) -> Coefficients:
    """x0_hat = c_skip (x_t - anchor_t y) + c_out F."""
    return Coefficients(c_skip, c_out, torch.ones_like(c_skip), -c_skip * schedule.anchor(t))


def _needs_signal(alpha: Tensor, name: str) -> None:
    if (alpha == 0).any():
        raise ValueError(
            f"a {name} prediction says nothing where alpha = 0 (zero terminal SNR): "
            "use prediction x0 or v, or start sampling at a time with some signal left"
        )


def eps(schedule: Schedule, t: Tensor) -> Coefficients:
    """F is the noise (Ho et al. 2020): x0_hat = (x_t - anchor y - sigma F) / alpha."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    _needs_signal(alpha, "eps")
    return _without_anchor(schedule, t, 1 / alpha, -sigma / alpha)


def score(schedule: Schedule, t: Tensor) -> Coefficients:
    """F is the score, -eps / sigma (Song et al. 2021; SGMSE+, Richter et al. 2023).

    x0_hat = (x_t - anchor y + sigma^2 F) / alpha
    """
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    _needs_signal(alpha, "score")
    return _without_anchor(schedule, t, 1 / alpha, sigma.square() / alpha)


def ncsn(schedule: Schedule, t: Tensor) -> Coefficients:
    """F is sigma times the score, NCSNv2's (Song & Ermon 2020, technique 3): score = F / sigma.

    x0_hat = (x_t - anchor y + sigma F) / alpha
    """
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    _needs_signal(alpha, "ncsn")
    return _without_anchor(schedule, t, 1 / alpha, sigma / alpha)


def x0(schedule: Schedule, t: Tensor) -> Coefficients:
    """F is the clean signal."""
    one = torch.ones_like(schedule.alpha(t))
    return Coefficients(torch.zeros_like(one), one, one, torch.zeros_like(one))


def v(schedule: Schedule, t: Tensor) -> Coefficients:
    """F = (alpha eps - sigma x0) / nu, nu^2 = alpha^2 + sigma^2 (Salimans & Ho 2022, app. D)."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    nu = torch.hypot(alpha, sigma)
    return _without_anchor(schedule, t, alpha / nu**2, -sigma / nu)


def velocity(schedule: Schedule, t: Tensor) -> Coefficients:
    """F = dx/dt = alpha' x0 + anchor' y + sigma' eps (Lipman et al. 2023; Liu et al. 2023)."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    d_alpha, d_anchor, d_sigma = schedule.derivatives(t)
    wronskian = alpha * d_sigma - d_alpha * sigma
    c_skip, c_out = d_sigma / wronskian, -sigma / wronskian
    c_anchor = -c_skip * schedule.anchor(t) - c_out * d_anchor
    return Coefficients(c_skip, c_out, torch.ones_like(alpha), c_anchor)


def edm(schedule: Schedule, t: Tensor, data_std: float = 1.0) -> Coefficients:
    """Inputs and targets of variance 1 at every time (Karras et al. 2022, table 1).

    With n^2 = alpha^2 s^2 + sigma^2: c_skip = alpha s^2 / n^2, c_out = sigma s / n, c_in = 1 / n.

    Args:
        data_std: s, the standard deviation of x_0.
    """
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    n = _total_std(alpha, sigma, data_std)
    c_skip, c_out = alpha * (data_std / n) ** 2, sigma * data_std / n
    return _without_anchor(schedule, t, c_skip, c_out)._replace(c_in=1 / n)


def consistency(schedule: Schedule, t: Tensor, data_std: float = 1.0) -> Coefficients:
    """Like ``edm``, but x0_hat = x_t for any F at the smallest noise, t_0 = ``schedule.t_min``.

    Song et al. 2023, appendix C, where sigma_t = t: c_skip = s^2 / ((t - t_0)^2 + s^2) and
    c_out = s (t - t_0) / sqrt(s^2 + t^2). Any schedule is that one in x / alpha and sigma / alpha;
    carried back, so that the output is x at t_0, with d = sigma - alpha sigma_0 / alpha_0:

        c_skip = alpha_0 alpha s^2 / (d^2 + alpha^2 s^2)        c_out = alpha_0 d s / n

    Times below t_0 count as t_0: the identity.

    Args:
        data_std: s, the standard deviation of x_0.
    """
    first = torch.as_tensor(schedule.t_min, dtype=torch.float64, device=t.device)
    t = torch.maximum(t, first)
    alpha, sigma, alpha_0 = schedule.alpha(t), schedule.sigma(t), schedule.alpha(first)
    n = _total_std(alpha, sigma, data_std)
    # exactly zero at t_0
    ratio = schedule.log_alpha(t) - schedule.log_sigma(t)
    ratio_0 = schedule.log_alpha(first) - schedule.log_sigma(first)
    d = -sigma * torch.expm1(ratio - ratio_0)
    signal = alpha * data_std
    c_skip = alpha_0 * data_std * signal / (d.square() + signal.square())
    return _without_anchor(schedule, t, c_skip, alpha_0 * d * data_std / n)._replace(c_in=1 / n)


def _total_std(alpha: Tensor, sigma: Tensor, data_std: float) -> Tensor:
    """n, the standard deviation of x_t."""
    if not data_std > 0:
        raise ValueError(f"data_std, the data's standard deviation, must be positive: {data_std}")
    n = torch.hypot(alpha * data_std, sigma)
    if (n == 0).any():
        raise ValueError(
            "an edm or consistency prediction says nothing where signal and noise are both gone "
            "(a bridge's start): use prediction x0"
        )
    return n


def combined_noise(schedule: Schedule, t: Tensor) -> Coefficients:
    """F is all that is not x0, the known signal's noise too (CDiffuSE, Lu et al. 2022).

    x_t = rho x0 + sqrt(1 - rho^2) F with rho = alpha + anchor, which CDiffuSE has as
    sqrt(alpha_bar). Defined where y stands for x0 plus noise; y itself drops out.
    """
    rho = schedule.alpha(t) + schedule.anchor(t)
    # weights that sum to 1 may do so but for rounding
    if (rho > 1 - 1e-12).any() or (rho <= 0).any():
        raise ValueError(
            "a combined-noise prediction needs 0 < alpha + anchor < 1: use the cdiffuse schedule, "
            "or prediction eps or x0"
        )
    one = torch.ones_like(rho)
    return Coefficients(1 / rho, -torch.sqrt(1 - rho.square()) / rho, one, torch.zeros_like(one))
