"""The cross-entropy of LSGM against that of Gaussians."""

import math

import pytest
import torch
from torch import nn

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.cross_entropy import cross_entropy, noised_entropy
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.preconditioning import v
from wavediff.diffusion.schedule import VP, RectifiedFlow

SCHEDULE = VP(t_min=1e-3)


class GaussianPrior(nn.Module):
    """The posterior mean of x_0 ~ N(mean, std^2)."""

    def __init__(self, schedule, mean, std):
        super().__init__()
        self.schedule, self.mean, self.std = schedule, mean, std

    def forward(self, x, t, cond):
        alpha, sigma = (f(t).reshape(-1, 1, 1) for f in (self.schedule.alpha, self.schedule.sigma))
        gain = alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2)
        return self.mean + gain * (x - alpha * self.mean)


def gaussian_cross_entropy(mean, variance, other_mean, other_variance):
    """E_q[-log p] of two Gaussians: log(2 pi v_p) / 2 + (v_q + (m_q - m_p)^2) / (2 v_p)."""
    error = variance + (mean - other_mean) ** 2
    return (math.log(2 * math.pi * other_variance) + error / other_variance) / 2


def estimate(denoiser, mean, log_variance, n=5000):
    """Over a grid of the log-SNR, with eps and the latent's noise integrated by symmetry pairs."""
    generator = torch.Generator().manual_seed(0)
    z, eps = torch.randn(2, n, 1, 64, generator=generator, dtype=torch.float64)
    # moments of the noise are exact up to the second order, so that Gaussians' integrals are
    z = (z - z.mean(-1, keepdim=True)) / z.std(-1, correction=0, keepdim=True)
    eps = eps - eps.mean(-1, keepdim=True)
    eps = eps - (eps * z).mean(-1, keepdim=True) * z
    eps = eps / eps.std(-1, correction=0, keepdim=True)
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    x0 = mean + math.exp(log_variance / 2) * z
    return cross_entropy(denoiser, x0, u, eps, Condition()).loss.mean().item()


@pytest.mark.parametrize("prior", [(0.0, 1.0), (0.7, 0.4), (-1.0, 2.0)])
@pytest.mark.parametrize("posterior", [(0.0, 0.0), (0.5, -3.0)])
def test_it_is_the_cross_entropy_of_gaussians(prior, posterior):
    """Of the noised distributions at t_min; the prior's own ends in N(0, 1) only nearly."""
    (prior_mean, prior_std), (mean, log_variance) = prior, posterior
    alpha, sigma = (f(SCHEDULE.t_min).item() for f in (SCHEDULE.alpha, SCHEDULE.sigma))
    expected = gaussian_cross_entropy(
        alpha * mean,
        alpha**2 * math.exp(log_variance) + sigma**2,
        alpha * prior_mean,
        alpha**2 * prior_std**2 + sigma**2,
    )
    found = estimate(GaussianPrior(SCHEDULE, prior_mean, prior_std), mean, log_variance)
    assert abs(found - expected) < 1e-3  # log-SNR from 9.2 to -10: alpha^2 is 4e-5 at t_max


def test_less_entropy_it_is_the_kl_of_gaussians():
    mean, log_variance = 0.5, -3.0
    q = torch.tensor([log_variance], dtype=torch.float64)
    crossed = estimate(GaussianPrior(SCHEDULE, 0.0, 1.0), mean, log_variance)
    kl = crossed - noised_entropy(SCHEDULE, q).item()
    alpha, sigma = (f(SCHEDULE.t_min).item() for f in (SCHEDULE.alpha, SCHEDULE.sigma))
    variance = alpha**2 * math.exp(log_variance) + sigma**2
    expected = (alpha**2 * mean**2 + variance - 1 - math.log(variance)) / 2
    assert abs(kl - expected) < 1e-3


def test_a_v_prediction_of_zero_is_the_standard_normal_prior():
    """So that joint training begins as that of a VAE."""

    class Zero(nn.Module):
        def forward(self, x, c_noise, cond):
            return torch.zeros_like(x)

    found = estimate(Denoiser(Zero(), SCHEDULE, v), 0.5, -3.0, n=2000)
    expected = estimate(GaussianPrior(SCHEDULE, 0.0, 1.0), 0.5, -3.0, n=2000)
    assert abs(found - expected) < 1e-9


def test_another_prior_costs_more():
    own = estimate(GaussianPrior(SCHEDULE, 0.5, math.exp(-1.5)), 0.5, -3.0, n=2000)
    for mean, std in ((0.0, 1.0), (0.5, 0.3), (0.6, math.exp(-1.5))):
        assert estimate(GaussianPrior(SCHEDULE, mean, std), 0.5, -3.0, n=2000) > own + 1e-3


def test_the_gradient_of_the_sample_is_that_of_the_closed_form():
    """d CE / d mean = (m_q - m_p) alpha^2 / v_p: what the encoder learns from."""
    prior_mean, prior_std, n = 0.2, 0.5, 4000
    mean = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    generator = torch.Generator().manual_seed(0)
    z, eps = torch.randn(2, n, 1, 64, generator=generator, dtype=torch.float64)
    z, eps = (x - x.mean(-1, keepdim=True) for x in (z, eps))
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    denoiser = GaussianPrior(SCHEDULE, prior_mean, prior_std)
    cross_entropy(denoiser, mean + 0.1 * z, u, eps, Condition()).loss.mean().backward()
    alpha, sigma = (f(SCHEDULE.t_min).item() for f in (SCHEDULE.alpha, SCHEDULE.sigma))
    expected = alpha**2 * (0.9 - prior_mean) / (alpha**2 * prior_std**2 + sigma**2)
    assert abs(mean.grad.item() - expected) < 1e-3 * expected


def test_a_schedule_without_an_end_is_refused():
    x = torch.zeros(1, 1, 4)
    denoiser = GaussianPrior(RectifiedFlow(), 0.0, 1.0)
    with pytest.raises(ValueError, match="finite"):
        cross_entropy(denoiser, x, torch.zeros(1), x, Condition())
