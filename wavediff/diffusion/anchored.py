"""Paths with an anchor: x_t = alpha_t x_0 + anchor_t y + sigma_t eps with a known signal ``y``.

Sampling starts around (alpha_t + anchor_t) y: y takes the place of the x_0 that is still unknown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from wavediff.diffusion.schedule import DiscreteBetas, Schedule, as_float64, log1mexp


class Bridge(Schedule):
    """The variance-exploding Schroedinger bridge from x_0 to y (Jukic et al. 2024, table 1).

    With g^2(t) = c k^(2t), sigma_t^2 = c (k^(2t) - 1) / (2 log k) and sb_t^2 = sigma_1^2 -
    sigma_t^2 the path is

        x_t = sb_t^2/sigma_1^2 x_0 + sigma_t^2/sigma_1^2 y + sigma_t sb_t/sigma_1 eps

    for t in [0, 1]: it starts from y itself, with no noise at either end.

    Args:
        k: growth of the diffusion coefficient, above 1.
        c: its square at t = 0, positive.
        t_min: smallest training time, in (0, 1).

    Raises:
        ValueError: for numbers out of range.
    """

    def __init__(self, k: float = 2.6, c: float = 0.4, t_min: float = 1e-4) -> None:
        if not (k > 1 and c > 0 and 0 < t_min < 1):
            raise ValueError(f"a bridge needs k > 1, c > 0, 0 < t_min < 1, not {k}, {c}, {t_min}")
        self.k, self.c, self.t_min = k, c, t_min
        self._growth = 2 * math.log(k)
        self._scale = c / self._growth  # sigma_t^2 = scale (k^(2t) - 1)

    def _log_sigma2(self, t: Tensor | float) -> Tensor:
        """log sigma_t^2; -inf at t = 0."""
        return math.log(self._scale) + torch.log(torch.expm1(self._growth * as_float64(t)))

    def log_alpha(self, t: Tensor | float) -> Tensor:
        """log(sb_t^2 / sigma_1^2); -inf at t = 1."""
        left = -torch.expm1(self._growth * (as_float64(t) - 1))
        return torch.log(left) - torch.log(-torch.expm1(as_float64(-self._growth)))

    def log_sigma(self, t: Tensor | float) -> Tensor:
        """log(sigma_t sb_t / sigma_1); -inf at both ends."""
        return (self._log_sigma2(t) + self.log_alpha(t)) / 2

    def anchor(self, t: Tensor | float) -> Tensor:
        """sigma_t^2 / sigma_1^2, from 0 to 1."""
        return torch.expm1(self._growth * as_float64(t)) / torch.expm1(as_float64(self._growth))

    def log_snr(self, t: Tensor | float) -> Tensor:
        """log(alpha_t / sigma_t^2); -inf at t = 1, where signal and noise are both gone."""
        return self.log_alpha(t) - self._log_sigma2(t)

    def prior_anchor(self, t: Tensor | float) -> Tensor:
        return torch.ones_like(as_float64(t))


class OUVE(Schedule):
    """SGMSE+'s Ornstein-Uhlenbeck process with exploding variance (Richter et al. 2023).

    dx = theta (y - x) dt + sigma_min r^t sqrt(2 log r) dw with r = sigma_max / sigma_min, so

        alpha_t = e^(-theta t)        anchor_t = 1 - alpha_t
        sigma_t^2 = sigma_min^2 (r^(2t) - e^(-2 theta t)) log r / (theta + log r)

    sigma is that of a real number. SGMSE+'s is of a complex one, over both parts: its noise on
    each part is sigma / sqrt(2).

    Args:
        theta: stiffness, positive.
        sigma_min, sigma_max: 0 < sigma_min < sigma_max.
        t_min: smallest training time, in (0, 1).

    Raises:
        ValueError: for numbers out of range.
    """

    def __init__(
        self,
        theta: float = 1.5,
        sigma_min: float = 0.05,
        sigma_max: float = 0.5,
        t_min: float = 0.03,
    ) -> None:
        if not (theta > 0 and 0 < sigma_min < sigma_max and 0 < t_min < 1):
            raise ValueError(
                "OUVE needs theta > 0, 0 < sigma_min < sigma_max and 0 < t_min < 1, "
                f"not {theta}, {sigma_min}, {sigma_max}, {t_min}"
            )
        self.theta, self.sigma_min, self.sigma_max, self.t_min = theta, sigma_min, sigma_max, t_min
        self._log_ratio = math.log(sigma_max / sigma_min)

    def log_alpha(self, t: Tensor | float) -> Tensor:
        return -self.theta * as_float64(t)

    def anchor(self, t: Tensor | float) -> Tensor:
        return -torch.expm1(self.log_alpha(t))

    def log_sigma(self, t: Tensor | float) -> Tensor:
        rate = self.theta + self._log_ratio
        scale = math.log(self.sigma_min**2 * self._log_ratio / rate)
        return self.log_alpha(t) + (scale + torch.log(torch.expm1(2 * rate * as_float64(t)))) / 2

    def prior_anchor(self, t: Tensor | float) -> Tensor:
        return torch.ones_like(as_float64(t))


class AnchoredFlow(Schedule):
    """The straight path from y: x_t = (1 - t) x_0 + t y + ((1 - t) sigma_0 + t sigma_1) eps.

    FlowSE (Lee et al. 2025) has sigma_0 = 0 and sigma_1 = 0.487; equal sigmas are conditional
    flow matching with a constant width (Tong et al. 2024). Euler's method on it is DDIM.

    Args:
        sigma_0, sigma_1: noise at the clean end and around y; sigma_0 >= 0, sigma_1 > 0.
        t_min: smallest training time, in (0, 1).

    Raises:
        ValueError: for numbers out of range.
    """

    def __init__(self, sigma_0: float = 0.0, sigma_1: float = 0.487, t_min: float = 0.03) -> None:
        if not (sigma_0 >= 0 and sigma_1 > 0 and 0 < t_min < 1):
            raise ValueError(
                "a flow from y needs sigma_0 >= 0, sigma_1 > 0 and 0 < t_min < 1, "
                f"not {sigma_0}, {sigma_1}, {t_min}"
            )
        self.sigma_0, self.sigma_1, self.t_min = sigma_0, sigma_1, t_min

    def alpha(self, t: Tensor | float) -> Tensor:
        return 1 - as_float64(t)

    def anchor(self, t: Tensor | float) -> Tensor:
        return 1 * as_float64(t)

    def sigma(self, t: Tensor | float) -> Tensor:
        t = as_float64(t)
        return (1 - t) * self.sigma_0 + t * self.sigma_1

    def log_alpha(self, t: Tensor | float) -> Tensor:
        return torch.log1p(-as_float64(t))

    def log_sigma(self, t: Tensor | float) -> Tensor:
        return torch.log(self.sigma(t))

    def prior_anchor(self, t: Tensor | float) -> Tensor:
        return torch.ones_like(as_float64(t))


class CDiffuSE(DiscreteBetas):
    """Conditional diffusion over discrete levels (Lu et al. 2022).

    With alpha_bar of the betas and m_t^2 = (1 - alpha_bar) / sqrt(alpha_bar)

        alpha_t = (1 - m_t) sqrt(alpha_bar)        anchor_t = m_t sqrt(alpha_bar)
        sigma_t^2 = 1 - (1 + m_t^2) alpha_bar = (1 - alpha_bar)(1 - sqrt(alpha_bar))

    Between levels sqrt(alpha_bar) is linear in t, as in DiffWave.

    Args:
        betas: T numbers in (0, 1) with m_T < 1, that is sqrt(alpha_bar_T) > 0.618.

    Raises:
        ValueError: for betas out of range.
    """

    def __init__(self, betas: Sequence[float] | Tensor) -> None:
        super().__init__(betas)
        if not self._m(self.t_max) < 1:
            raise ValueError(
                "CDiffuSE's betas must leave sqrt(alpha_bar) above 0.618, where y has replaced "
                f"all of x0, not {float(self._log_root(self.t_max).exp()):.3f}: use smaller betas"
            )

    def _log_root(self, t: Tensor | float) -> Tensor:
        """log sqrt(alpha_bar)."""
        return super().log_alpha(t)

    def _m(self, t: Tensor | float) -> Tensor:
        return torch.sqrt(-2 * torch.sinh(self._log_root(t)))

    def log_alpha(self, t: Tensor | float) -> Tensor:
        return torch.log1p(-self._m(t)) + self._log_root(t)

    def log_sigma(self, t: Tensor | float) -> Tensor:
        log_root = self._log_root(t)
        return (log1mexp(2 * log_root) + log1mexp(log_root)) / 2

    def anchor(self, t: Tensor | float) -> Tensor:
        return self._m(t) * self._log_root(t).exp()

    def prior_std(self, t: Tensor | float) -> Tensor:
        return self.sigma(t)

    def prior_anchor(self, t: Tensor | float) -> Tensor:
        return self._log_root(t).exp()

    def time_at(self, log_snr: Tensor | float) -> Tensor:
        return Schedule.time_at(self, log_snr)


def cdiffuse(steps: int = 50, beta_min: float = 1e-4, beta_max: float = 0.035) -> CDiffuSE:
    """CDiffuSE with betas linear from ``beta_min`` to ``beta_max``; the defaults are BASE's."""
    return CDiffuSE(torch.linspace(beta_min, beta_max, steps, dtype=torch.float64))
