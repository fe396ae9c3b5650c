"""Posterior sampling given a noisy linear measurement y = A x_0 + n.

Moment-matching posterior sampling (MMPS; Rozet et al. 2024, "Learning diffusion priors from
observations by expectation maximization", section 4.2).
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

Linear = Callable[[Tensor], Tensor]


class PosteriorGuidance(Guided):
    """An estimate of E[x_0 | x_t, y] given a measurement y = A x_0 + n (MMPS; Rozet et al. 2024).

    With D = E[x_0 | x_t], the covariance C = sigma^2 / alpha dD/dx of x_0 given x_t, and noise n of
    variance R,

        x0_hat = D + C A^T (A C A^T + R)^-1 (y - A D)

    which is exact for Gaussian data. C and A^T are applied as vector-Jacobian products, the inverse
    by conjugate gradients. A call takes ``iterations + 1`` backward passes besides the forward
    pass, also under ``no_grad``.

    Args:
        denoiser: to guide.
        measure: A, a linear and differentiable map ``[batch, ...] -> like y``.
        y: the measurement, ``[batch, ...]``.
        variance: R, positive; a number, or one per value, like ``y``.
        iterations: of the conjugate-gradient method, 1 or more; converged items stop early.

    Raises:
        ValueError: if the variance or the number of iterations is not positive; when called, at a
            time without signal (alpha = 0).
    """

    def __init__(
        self,
        denoiser: DenoiserLike,
        measure: Linear,
        y: Tensor,
        variance: float | Tensor,
        iterations: int = 3,
    ) -> None:
        super().__init__(denoiser)
        if not (torch.as_tensor(variance) > 0).all():
            raise ValueError("the variance of a measurement must be positive")
        if iterations < 1:
            raise ValueError(f"conjugate gradients need at least 1 iteration, not {iterations}")
        self.measure, self.y, self.variance, self.iterations = measure, y, variance, iterations

    def forward(self, x: Tensor, t: Tensor | float, cond: Condition | None = None) -> Tensor:
        """The guided estimate, like ``x [batch, ...]``, at one time or one per item.

        Raises:
            ValueError: if alpha = 0: then dD/dx = 0 does not determine the covariance.
        """
        cond = Condition() if cond is None else cond
        t = as_float64(t)
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        if (alpha == 0).any():
            raise ValueError(
                "guidance by a measurement needs signal, alpha > 0: start at a smaller time"
            )
        with torch.inference_mode(False), torch.enable_grad():
            x = x.detach().clone().requires_grad_()
            x0_hat = self.denoiser(x, t, cond)
            estimate = x0_hat.detach().requires_grad_()
            predicted = self.measure(estimate)
            scale = broadcast(sigma.square() / alpha, x)

        def adjoint(w: Tensor) -> Tensor:
            return torch.autograd.grad(predicted, estimate, w, retain_graph=True)[0]

        def covariance(v: Tensor) -> Tensor:
            return scale * torch.autograd.grad(x0_hat, x, v, retain_graph=True)[0]

        def system(w: Tensor) -> Tensor:
            return self.measure(covariance(adjoint(w))) + self.variance * w

        with torch.inference_mode(False), torch.no_grad():
            weights = conjugate_gradients(system, self.y - predicted, self.iterations)
            return estimate.detach() + covariance(adjoint(weights))


def conjugate_gradients(system: Linear, b: Tensor, iterations: int) -> Tensor:
    """Solve ``system(x) = b`` by the conjugate-gradient method (Hestenes & Stiefel 1952).

    The items of the batch are solved independently. An item stops once it has converged, or where
    the system is not positive along its direction (an estimated covariance may be indefinite).

    Args:
        system: a linear map, positive definite.
        b: right side, ``[batch, ...]``.
        iterations: steps from x = 0.

    Returns:
        x, like ``b``.
    """
    x, residual = torch.zeros_like(b), b
    direction = residual
    energy = start = _dot(residual, residual)
    tiny = torch.finfo(b.dtype).eps ** 2
    for _ in range(iterations):
        image = system(direction)
        curvature = _dot(direction, image)
        active = (curvature > 0) & (energy > tiny * start)
        step = torch.where(active, energy / curvature, 0)
        x = x + step * direction
        residual = residual - step * image
        before, energy = energy, _dot(residual, residual)
        direction = residual + torch.where(active, energy / before, 0) * direction
    return x


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each item, ``[batch, 1, ...]``."""
    return (a * b).flatten(1).sum(1).reshape(-1, *[1] * (a.ndim - 1))
