"""Observation self-guidance: conditional sampling with an unconditional denoiser.

TSDiff (Kollovieh et al. 2023, "Predict, refine, synthesize", section 3.2) approximates
p(y | x_t) by p(y | x0_hat(x_t)). The gradient of its log through the denoiser turns the score of
p(x) into that of p(x | y).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import DenoiserLike
from wavediff.diffusion.forward import broadcast
from wavediff.diffusion.guidance import Guided
from wavediff.diffusion.schedule import as_float64

# (x0_hat [batch, channels, time], cond) -> log p(y | x0_hat) up to a constant, [batch]
LogLikelihood = Callable[[Tensor, Condition], Tensor]


class SelfGuidance(Guided):
    """Guidance by the likelihood of an observation y given the estimate (Kollovieh et al. 2023).

    The score of p(x_t | y) is approximated by that of p(x_t) plus scale grad_x log p(y |
    x0_hat(x)). With score = (alpha x0_hat - x) / sigma^2 the guided estimate is, for any sampler,

        x0_hat + scale sigma^2 / alpha grad_x log p(y | x0_hat(x))

    TSDiff adds scale posterior_std^2 times the gradient to the mean of a DDPM step, which is the
    same in the limit of small steps. This treats x0_hat as equally accurate at all noise levels, so
    that large scales overshoot or diverge. With ``data_std`` the scale decreases with the
    uncertainty of x_0, to scale / (1 + scale v) with v = data_std^2 sigma^2 / (alpha^2 data_std^2 +
    sigma^2): the variance of y is TSDiff's 1 / scale plus that of x_0 given x_t for independent
    Gaussian data (Song et al. 2023, "Pseudoinverse-guided diffusion models", section 3.2).

    A call takes a backward pass besides the forward pass, also under ``no_grad``. If alpha = 0, the
    estimate is not guided.

    Args:
        denoiser: to guide.
        log_likelihood: log p(y | x0_hat) up to a constant, ``(x0_hat [batch, ...], cond) ->
            [batch]``, such as ``mean_square`` and ``pinball``.
        scale: of the guidance, 0 or more; 0 is the denoiser without guidance.
        data_std: standard deviation of the data, or 0 for the same scale at all times, as TSDiff.

    Raises:
        ValueError: if ``scale`` or ``data_std`` is negative.
    """

    def __init__(
        self,
        denoiser: DenoiserLike,
        log_likelihood: LogLikelihood,
        scale: float,
        data_std: float = 0.0,
    ) -> None:
        super().__init__(denoiser)
        if not (scale >= 0 and data_std >= 0):
            raise ValueError(
                f"the scale of guidance and data_std must be 0 or more, not {scale} and {data_std}"
            )
        self.log_likelihood, self.scale, self.data_std = log_likelihood, scale, data_std

    def forward(self, x: Tensor, t: Tensor | float, cond: Condition | None = None) -> Tensor:
        """The guided estimate, like ``x [batch, ...]``, at one time or one per item."""
        cond = Condition() if cond is None else cond
        t = as_float64(t)
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        if self.scale == 0 or (alpha == 0).all():
            return self.denoiser(x, t, cond)
        with torch.inference_mode(False), torch.enable_grad():
            x = x.detach().clone().requires_grad_()
            x0_hat = self.denoiser(x, t, cond)
            (gradient,) = torch.autograd.grad(self.log_likelihood(x0_hat, cond).sum(), x)
        variance: Tensor | float = 0.0
        if self.data_std > 0:
            variance = 1 / ((alpha / sigma) ** 2 + self.data_std**-2)
        scale = self.scale / (1 + self.scale * variance)
        weight = torch.where(alpha > 0, scale * sigma**2 / alpha, 0)
        return x0_hat.detach() + broadcast(weight, x) * gradient


def mean_square(y: Tensor, known: Tensor) -> LogLikelihood:
    """Gaussian log-likelihood of the observed values, -|y - x0_hat|^2 / 2 (TSDiff, eq. 6).

    Args:
        y: observed values, ``[batch, ...]``.
        known: where ``y`` is observed, bool, like ``y``.
    """

    def log_likelihood(x0_hat: Tensor, cond: Condition) -> Tensor:
        error = torch.where(known, y - x0_hat, 0)
        return -error.square().flatten(1).sum(1) / 2

    return log_likelihood


def pinball(y: Tensor, known: Tensor, quantile: Tensor) -> LogLikelihood:
    """Asymmetric Laplace log-likelihood, -max(k e, (k - 1) e) with e = y - x0_hat (TSDiff, eq. 7).

    Args:
        y: observed values, ``[batch, ...]``.
        known: where ``y`` is observed, bool, like ``y``.
        quantile: k of each item, ``[batch]`` in (0, 1). See ``quantiles`` for several samples of
            the same y.
    """

    def log_likelihood(x0_hat: Tensor, cond: Condition) -> Tensor:
        error = torch.where(known, y - x0_hat, 0)
        k = broadcast(quantile, x0_hat)
        return -torch.maximum(k * error, (k - 1) * error).flatten(1).sum(1)

    return log_likelihood


def quantiles(samples: int) -> Tensor:
    """i / (N + 1) for i = 1 .. N, float64: evenly spaced quantiles for N samples."""
    return torch.arange(1, samples + 1, dtype=torch.float64) / (samples + 1)
