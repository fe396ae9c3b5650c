"""Cross-entropy from a distribution of x_0 to the model's, by the likelihood weighting.

LSGM (Vahdat et al. 2021), theorem 1, in the log-SNR: with times whose log-SNR is uniform, which is
their importance sampling, the weight of every time is the same (Kingma et al. 2021, eq. 18).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.forward import broadcast, diffuse
from wavediff.diffusion.objective import Denoised
from wavediff.diffusion.schedule import Schedule


def cross_entropy(
    denoiser: Denoiser, x0: Tensor, u: Tensor, eps: Tensor, cond: Condition
) -> Denoised:
    """An estimate of E_q[-log p(x_e)], nats per number, one per item, as the ``loss``.

    e = t_min is where the schedule begins, q the distribution that ``x0`` is drawn from and then
    noised to e. The estimate has the mean (over u and eps)

        H[x_e | x_0] + KL(q(x_T | x_0) || prior) + 1/2 int |eps - eps_hat|^2 d(-log SNR)

    and gradients with respect to ``x0`` and the denoiser. It is exact where the denoiser is the
    posterior mean of the model's own marginals, and an upper bound of what its reverse SDE has.

    Args:
        x0: ``[batch, channels, time]``.
        u: ``[batch]`` in [0, 1), quantiles of the log-SNR.
        eps: standard normal, like ``x0``.

    Raises:
        ValueError: for a schedule whose log-SNR is not finite at ``t_min`` and ``t_max``.
    """
    schedule = denoiser.schedule
    high, low = schedule.log_snr(schedule.t_min), schedule.log_snr(schedule.t_max)
    if not (high.isfinite() and low.isfinite()):
        raise ValueError(
            "a cross-entropy needs a schedule whose log-SNR is finite at t_min and t_max, like vp"
        )
    log_snr = high + (low - high) * u.to(high)
    t = schedule.time_at(log_snr)
    x0_hat = denoiser(diffuse(schedule, x0, t, eps, cond), t, cond)
    # |eps - eps_hat|^2 = SNR |x0 - x0_hat|^2
    root = broadcast(((high - low) / 2 * log_snr.exp()).sqrt(), x0)
    path = (root * (x0_hat - x0)).square().flatten(1).mean(1)
    start = _start(schedule, x0).flatten(1).mean(1)
    entropy = (math.log(2 * math.pi) + 1) / 2 + schedule.log_sigma(schedule.t_min).item()
    return Denoised(path + start + entropy, x0_hat, t, log_snr)


def _start(schedule: Schedule, x0: Tensor) -> Tensor:
    """KL(N(alpha x0, sigma^2) || N(0, prior_std^2)) at t_max, of each number."""
    t = schedule.t_max
    prior = schedule.prior_std(t)
    alpha, sigma = (schedule.alpha(t) / prior).item(), (schedule.sigma(t) / prior).item()
    return ((alpha * x0).square() + sigma**2 - 1) / 2 - math.log(sigma)


def noised_entropy(schedule: Schedule, log_variance: Tensor) -> Tensor:
    """Entropy, in nats, of a Gaussian number of this log-variance after noising to ``t_min``."""
    alpha, sigma = (f(schedule.t_min).item() for f in (schedule.alpha, schedule.sigma))
    variance = alpha**2 * log_variance.exp() + sigma**2
    return (math.log(2 * math.pi) + 1 + torch.log(variance)) / 2
