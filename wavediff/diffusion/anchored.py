"""Paths with an anchor: x_t = alpha_t x_0 + anchor_t y + sigma_t eps with a known signal ``y``.

Sampling starts around (alpha_t + anchor_t) y, with y standing in for the unknown x_0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from wavediff.diffusion.schedule import DiscreteBetas, Schedule, as_float64, check_steps, log1mexp


class Bridge(Schedule):
    """The variance-exploding Schroedinger bridge from x_0 to y (Jukic et al. 2024, table 1).

    With g^2(t) = c k^(2t), sigma_t^2 = c (k^(2t) - 1) / (2 log k) and sb_t^2 = sigma_1^2 -
    sigma_t^2 the path is

        x_t = sb_t^2/sigma_1^2 x_0 + sigma_t^2/sigma_1^2 y + sigma_t sb_t/sigma_1 eps

    for t in [0, 1]. There is no noise at either end: sampling starts from y itself.

    Args:
        k: base of the growth of the diffusion coefficient g, above 1.
        c: g^2 at t = 0, positive.
        t_min: smallest training time, in (0, 1).

    Raises:
        ValueError: if a parameter is out of range.
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
        """log(alpha_t / sigma_t^2), see above; -inf at t = 1, where signal and noise vanish."""
        return self.log_alpha(t) - self._log_sigma2(t)

    def prior_anchor(self, t: Tensor | float) -> Tensor:
        return torch.ones_like(as_float64(t))


class OUVE(Schedule):
    """SGMSE+'s Ornstein-Uhlenbeck process with exploding variance (Richter et al. 2023).

    dx = theta (y - x) dt + sigma_min r^t sqrt(2 log r) dw with r = sigma_max / sigma_min, so

        alpha_t = e^(-theta t)        anchor_t = 1 - alpha_t
        sigma_t^2 = sigma_min^2 (r^(2t) - e^(-2 theta t)) log r / (theta + log r)

    for t in [0, 1]. Here sigma is the standard deviation of a real number. SGMSE+ defines it for a
    complex number: there the real and the imaginary part each have sigma / sqrt(2).

    Args:
        theta: stiffness, positive.
        sigma_min, sigma_max: 0 < sigma_min < sigma_max, in units of the data.
        t_min: smallest training time, in (0, 1).

    Raises:
        ValueError: if a parameter is out of range.
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

    For t in [0, 1]. FlowSE (Lee et al. 2025) uses sigma_0 = 0 and sigma_1 = 0.487. Equal sigmas
    give conditional flow matching with constant width (Tong et al. 2024). DDIM on this path is
    Euler's method.

    Args:
        sigma_0, sigma_1: standard deviation of the noise at the clean end (0 or more) and around y
            (positive), in units of the data.
        t_min: smallest training time, in (0, 1).

    Raises:
        ValueError: if a parameter is out of range.
    """

    def __init__(self, sigma_0: float = 0.0, sigma_1: float = 0.487, t_min: float = 0.03) -> None:
        if not (sigma_0 >= 0 and sigma_1 > 0 and 0 < t_min < 1):
            raise ValueError(
                "AnchoredFlow needs sigma_0 >= 0, sigma_1 > 0 and 0 < t_min < 1, "
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
    """CDiffuSE: conditional diffusion with discrete noise levels (Lu et al. 2022).

    With alpha_bar = prod (1 - beta) and m_t^2 = (1 - alpha_bar) / sqrt(alpha_bar)

        alpha_t = (1 - m_t) sqrt(alpha_bar)        anchor_t = m_t sqrt(alpha_bar)
        sigma_t^2 = 1 - (1 + m_t^2) alpha_bar = (1 - alpha_bar)(1 - sqrt(alpha_bar))

    for t in [0, T]. Between noise levels sqrt(alpha_bar) is linear in t, as in DiffWave.

    Args:
        betas: ``[T]``, in (0, 1), with m_T < 1, that is sqrt(alpha_bar_T) > 0.618.

    Raises:
        ValueError: if the betas are out of range.
    """

    def __init__(self, betas: Sequence[float] | Tensor) -> None:
        super().__init__(betas)
        if not self._m(self.t_max) < 1:
            raise ValueError(
                "CDiffuSE needs a final sqrt(alpha_bar) above 0.618, where x0 has weight 0, "
                f"not {float(self._log_root(self.t_max).exp()):.3f}: use smaller betas"
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
    """CDiffuSE with betas linear from ``beta_min`` to ``beta_max``; by default those of BASE."""
    check_steps(steps, "a schedule")
    return CDiffuSE(torch.linspace(beta_min, beta_max, steps, dtype=torch.float64))
