"""Distributions whose best denoiser, probability flow and marginals are known exactly.

They are denoisers: samplers, guidance and likelihoods can be measured with them before anything is
trained. Where ``mu`` and ``c`` are single numbers, data of any rank is meant.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.forward import broadcast
from wavediff.diffusion.schedule import Schedule, as_float64


class Gaussian:
    """Independent N(mu, c): D(x, t) = mu + alpha c / (alpha^2 c + sigma^2) (x - alpha mu).

    Args:
        schedule: of the noise.
        mu, c: mean and variance, each broadcast against the data ``[batch, ...]``.
    """

    def __init__(self, schedule: Schedule, mu: Tensor | float, c: Tensor | float) -> None:
        self.schedule, self.mu, self.c = schedule, as_float64(mu), as_float64(c)

    def __call__(self, x: Tensor, t: Tensor | float, cond: Condition | None = None) -> Tensor:
        """E[x_0 | x_t = x], float64, at one time or one per item."""
        a, s = (broadcast(f(t), x) for f in (self.schedule.alpha, self.schedule.sigma))
        return self.mu + a * self.c / (a**2 * self.c + s**2) * (x - a * self.mu)

    def variance(self, t: Tensor | float) -> Tensor:
        """Of x_t, like ``c``."""
        return self.schedule.alpha(t) ** 2 * self.c + self.schedule.sigma(t) ** 2

    def flow(self, x: Tensor, t: Tensor | float, s: Tensor | float) -> Tensor:
        """The probability flow's map from time t to time s."""
        gain = (self.variance(s) / self.variance(t)).sqrt()
        return self.schedule.alpha(s) * self.mu + gain * (x - self.schedule.alpha(t) * self.mu)


class Correlated:
    """N(mu, c) over the last dimension.

    Args:
        schedule: of the noise.
        mu: mean, ``[time]``.
        c: covariance, ``[time, time]``.
    """

    def __init__(self, schedule: Schedule, mu: Tensor, c: Tensor) -> None:
        self.schedule, self.mu, self.c = schedule, mu.double(), c.double()
        self.one = torch.eye(len(mu), dtype=torch.float64)

    def __call__(self, x: Tensor, t: Tensor | float, cond: Condition | None = None) -> Tensor:
        """E[x_0 | x_t = x], float64."""
        a, s = self.schedule.alpha(t), self.schedule.sigma(t)
        gain = a * self.c @ torch.linalg.inv(a**2 * self.c + s**2 * self.one)
        return self.mu + (x - a * self.mu) @ gain.mT

    def given(self, measure: Tensor, y: Tensor, variance: float) -> tuple[Tensor, Tensor]:
        """Mean and covariance given ``y = measure x_0 + n``, n of that variance."""
        noise = variance * torch.eye(len(y), dtype=torch.float64)
        gain = self.c @ measure.mT @ torch.linalg.inv(measure @ self.c @ measure.mT + noise)
        return self.mu + gain @ (y - measure @ self.mu), self.c - gain @ measure @ self.c

    def given_noisy(self, x: Tensor, t: Tensor | float) -> Correlated:
        """The law of x_0 given ``x_t = x [time]``."""
        a, s = float(self.schedule.alpha(t)), float(self.schedule.sigma(t))
        return Correlated(self.schedule, *self.given(a * self.one, x, s**2))


class Mixture:
    """A mixture of Gaussians on a line, independent and the same for every number.

    Args:
        schedule: of the noise.
        weights, means, stds: of the components, ``[components]``.
    """

    def __init__(self, schedule: Schedule, weights: Tensor, means: Tensor, stds: Tensor) -> None:
        self.schedule = schedule
        self.w, self.m, self.v = weights.double(), means.double(), stds.double() ** 2

    def _terms(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
        a, s = self.schedule.alpha(t), self.schedule.sigma(t)
        variance = a**2 * self.v + s**2
        centred = x[..., None] - a * self.m
        log_density = -(centred**2) / (2 * variance) - (2 * math.pi * variance).log() / 2
        return self.w.log() + log_density, centred, variance

    def log_density(self, x: Tensor, t: Tensor | float) -> Tensor:
        """log p_t(x) of each number, like ``x``."""
        return torch.logsumexp(self._terms(x, t)[0], dim=-1)

    def __call__(self, x: Tensor, t: Tensor | float, cond: Condition | None = None) -> Tensor:
        """E[x_0 | x_t = x], float64."""
        terms, centred, variance = self._terms(x, t)
        responsibility = torch.softmax(terms, dim=-1)
        gain = self.schedule.alpha(t) * self.v / variance
        return (responsibility * (self.m + gain * centred)).sum(-1)

    def cdf(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Of each number of x_t, like ``x``."""
        _, centred, variance = self._terms(x, t)
        return (self.w * torch.special.ndtr(centred / variance.sqrt())).sum(-1)

    def flow(self, x: Tensor, t: Tensor | float, s: Tensor | float) -> Tensor:
        """F_s^-1(F_t(x)) by bisection: the flow of an ODE on a line keeps the order of points."""
        target = self.cdf(x, t)
        # no point is farther out than 50 deviations of the widest component
        reach = 50 * float(self.schedule.alpha(s) + self.schedule.sigma(s))
        low, high = torch.full_like(x, -reach), torch.full_like(x, reach)
        for _ in range(100):
            middle = (low + high) / 2
            below = self.cdf(middle, s) < target
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2
