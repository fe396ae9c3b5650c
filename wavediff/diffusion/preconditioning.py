"""Predictions: what the output F of a network means.

    x0_hat = c_skip x_t + c_out F(c_in x_t, c_noise) + c_anchor y

A prediction is a function ``(schedule, t) -> Coefficients``. ``c_anchor`` only applies with a
known signal y.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from wavediff.diffusion.schedule import Schedule


class Coefficients(NamedTuple):
    """The coefficients of a prediction, float64 tensors like ``t``."""

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
            f"a {name} prediction needs signal, but alpha = 0 (zero terminal SNR): "
            "use prediction x0 or v, or start sampling at a time with some signal"
        )


def eps(schedule: Schedule, t: Tensor) -> Coefficients:
    """The network predicts the noise eps (Ho et al. 2020).

        x0_hat = (x_t - anchor y - sigma F) / alpha

    Args:
        schedule: alpha, anchor and sigma as functions of time.
        t: times, float64 ``[]`` or ``[batch]``.

    Raises:
        ValueError: if alpha = 0.
    """
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    _needs_signal(alpha, "eps")
    return _without_anchor(schedule, t, 1 / alpha, -sigma / alpha)


def score(schedule: Schedule, t: Tensor) -> Coefficients:
    """The network predicts the score, -eps / sigma (Song et al. 2021; SGMSE+, Richter et al. 2023).

        x0_hat = (x_t - anchor y + sigma^2 F) / alpha

    Args:
        schedule: alpha, anchor and sigma as functions of time.
        t: times, float64 ``[]`` or ``[batch]``.

    Raises:
        ValueError: if alpha = 0.
    """
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    _needs_signal(alpha, "score")
    return _without_anchor(schedule, t, 1 / alpha, sigma.square() / alpha)


def ncsn(schedule: Schedule, t: Tensor) -> Coefficients:
    """The network predicts sigma times the score (NCSNv2; Song & Ermon 2020, technique 3).

        x0_hat = (x_t - anchor y + sigma F) / alpha

    Args:
        schedule: alpha, anchor and sigma as functions of time.
        t: times, float64 ``[]`` or ``[batch]``.

    Raises:
        ValueError: if alpha = 0.
    """
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    _needs_signal(alpha, "ncsn")
    return _without_anchor(schedule, t, 1 / alpha, sigma / alpha)


def x0(schedule: Schedule, t: Tensor) -> Coefficients:
    """The network predicts the clean signal: x0_hat = F.

    Args:
        schedule: alpha, anchor and sigma as functions of time.
        t: times, float64 ``[]`` or ``[batch]``.
    """
    one = torch.ones_like(schedule.alpha(t))
    return Coefficients(torch.zeros_like(one), one, one, torch.zeros_like(one))


def v(schedule: Schedule, t: Tensor) -> Coefficients:
    """The network predicts v = (alpha eps - sigma x_0) / nu (Salimans & Ho 2022, appendix D).

        x0_hat = (alpha (x_t - anchor y) - sigma nu F) / nu^2        nu^2 = alpha^2 + sigma^2

    Args:
        schedule: alpha, anchor and sigma as functions of time.
        t: times, float64 ``[]`` or ``[batch]``.
    """
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    nu = torch.hypot(alpha, sigma)
    return _without_anchor(schedule, t, alpha / nu**2, -sigma / nu)


def velocity(schedule: Schedule, t: Tensor) -> Coefficients:
    """The network predicts the velocity of the path (Lipman et al. 2023; Liu et al. 2023).

        F = dx/dt = alpha' x_0 + anchor' y + sigma' eps
        x0_hat = (sigma' (x_t - anchor y) - sigma (F - anchor' y)) / (alpha sigma' - alpha' sigma)

    Args:
        schedule: alpha, anchor and sigma as functions of time.
        t: times, float64 ``[]`` or ``[batch]``.
    """
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    d_alpha, d_anchor, d_sigma = schedule.derivatives(t)
    wronskian = alpha * d_sigma - d_alpha * sigma
    c_skip, c_out = d_sigma / wronskian, -sigma / wronskian
    c_anchor = -c_skip * schedule.anchor(t) - c_out * d_anchor
    return Coefficients(c_skip, c_out, torch.ones_like(alpha), c_anchor)


def edm(schedule: Schedule, t: Tensor, data_std: float = 1.0) -> Coefficients:
    """EDM's preconditioning: inputs and targets of unit variance at all times (Karras et al. 2022).

        x0_hat = alpha s^2 / n^2 x_t + sigma s / n F(x_t / n)        n^2 = alpha^2 s^2 + sigma^2

    Args:
        schedule: alpha, anchor and sigma as functions of time.
        t: times, float64 ``[]`` or ``[batch]``.
        data_std: s, the standard deviation of x_0, positive.

    Raises:
        ValueError: if ``data_std`` is not positive, or there is neither signal nor noise.
    """
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    n = _total_std(alpha, sigma, data_std)
    c_skip, c_out = alpha * (data_std / n) ** 2, sigma * data_std / n
    return _without_anchor(schedule, t, c_skip, c_out)._replace(c_in=1 / n)


def consistency(schedule: Schedule, t: Tensor, data_std: float = 1.0) -> Coefficients:
    """The preconditioning of consistency models: x0_hat = x_t at the smallest time, for any F.

    For sigma_t = t it is that of Song et al. 2023, appendix C, with t_0 = ``schedule.t_min``:
    c_skip = s^2 / ((t - t_0)^2 + s^2) and c_out = s (t - t_0) / sqrt(s^2 + t^2). Any schedule is
    this one in terms of x / alpha and sigma / alpha. Transformed back, such that the output is x at
    t_0, with d = sigma - alpha sigma_0 / alpha_0 and n^2 = alpha^2 s^2 + sigma^2:

        c_skip = alpha_0 alpha s^2 / (d^2 + alpha^2 s^2)        c_out = alpha_0 d s / n

    Times below t_0 count as t_0.

    Args:
        schedule: alpha, anchor and sigma as functions of time.
        t: times, float64 ``[]`` or ``[batch]``.
        data_std: s, the standard deviation of x_0, positive.

    Raises:
        ValueError: if ``data_std`` is not positive, or there is neither signal nor noise.
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
            "an edm or consistency prediction needs signal or noise, but there is neither (at the "
            "start of a bridge): use prediction x0"
        )
    return n


def combined_noise(schedule: Schedule, t: Tensor) -> Coefficients:
    """The network predicts all noise, including that in y (CDiffuSE; Lu et al. 2022).

        x_t = rho x_0 + sqrt(1 - rho^2) F        with rho = alpha + anchor

    rho is CDiffuSE's sqrt(alpha_bar). y is x_0 plus noise and does not appear explicitly.

    Args:
        schedule: alpha, anchor and sigma as functions of time.
        t: times, float64 ``[]`` or ``[batch]``.

    Raises:
        ValueError: if rho is not in (0, 1).
    """
    rho = schedule.alpha(t) + schedule.anchor(t)
    # a sum of 1 may be off by rounding
    if (rho > 1 - 1e-12).any() or (rho <= 0).any():
        raise ValueError(
            "a combined-noise prediction needs 0 < alpha + anchor < 1: use the cdiffuse schedule, "
            "or prediction eps or x0"
        )
    one = torch.ones_like(rho)
    return Coefficients(1 / rho, -torch.sqrt(1 - rho.square()) / rho, one, torch.zeros_like(one))
