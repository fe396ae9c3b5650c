"""The cross-entropy of a distribution of x_0 relative to the model, by likelihood weighting.

LSGM (Vahdat et al. 2021), theorem 1, in terms of the log-SNR. Times are drawn with uniform log-SNR,
which is the importance sampling of the paper and gives all times equal weight (Kingma et al. 2021,
eq. 18).
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
    """An estimate of E_q[-log p(x_e)] for each item, in nats per dimension, as the ``loss``.

    q is the distribution of ``x0`` after noising to e = t_min. The expectation of the estimate over
    u and eps is

        H[x_e | x_0] + KL(q(x_T | x_0) || prior) + 1/2 int |eps - eps_hat|^2 d(-log SNR)

    with gradients with respect to ``x0`` and the denoiser. It is exact if the denoiser is the
    posterior mean under the marginals of the model, and an upper bound for the model defined by the
    reverse SDE.

    Args:
        denoiser: the model p.
        x0: samples, ``[batch, ...]``.
        u: quantiles of the log-SNR, ``[batch]`` in [0, 1).
        eps: standard normal noise, like ``x0``.
        cond: conditions of the denoiser.

    Raises:
        ValueError: if the log-SNR of the schedule is not finite at ``t_min`` and ``t_max``.
    """
    schedule = denoiser.schedule
    high, low = schedule.log_snr(schedule.t_min), schedule.log_snr(schedule.t_max)
    if not (high.isfinite() and low.isfinite()):
        raise ValueError(
            "a cross-entropy needs a schedule with a finite log-SNR at t_min and t_max, such as vp"
        )
    log_snr = high + (low - high) * u.to(high)
    t = schedule.time_at(log_snr)
    x0_hat = denoiser(diffuse(schedule, x0, t, eps, cond), t, cond)
    # |eps - eps_hat|^2 = SNR |x0 - x0_hat|^2
    root = broadcast(((high - low) / 2 * log_snr.exp()).sqrt(), x0)
    path = (root * (x0_hat - x0)).square().flatten(1).mean(1)
    start = _prior_kl(schedule, x0).flatten(1).mean(1)
    entropy = (math.log(2 * math.pi) + 1) / 2 + schedule.log_sigma(schedule.t_min).item()
    return Denoised(path + start + entropy, x0_hat, t, log_snr)


def _prior_kl(schedule: Schedule, x0: Tensor) -> Tensor:
    """KL(N(alpha x0, sigma^2) || N(0, prior_std^2)) at t_max, nats per dimension, like ``x0``."""
    t = schedule.t_max
    prior = schedule.prior_std(t)
    alpha, sigma = (schedule.alpha(t) / prior).item(), (schedule.sigma(t) / prior).item()
    return ((alpha * x0).square() + sigma**2 - 1) / 2 - math.log(sigma)


def noised_entropy(schedule: Schedule, log_variance: Tensor) -> Tensor:
    """Entropy of N(., exp(log_variance)) after noising to ``t_min``, in nats, per dimension."""
    alpha, sigma = (f(schedule.t_min).item() for f in (schedule.alpha, schedule.sigma))
    variance = alpha**2 * log_variance.exp() + sigma**2
    return (math.log(2 * math.pi) + 1 + torch.log(variance)) / 2
