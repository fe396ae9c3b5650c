import pytest
import torch
from torch import nn

from wavediff.diffusion import preconditioning, reverse, times
from wavediff.diffusion.anchored import Bridge
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.ddim import Ancestral
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.exact import Gaussian, Mixture
from wavediff.diffusion.exploding import EDM, VE
from wavediff.diffusion.forward import diffuse
from wavediff.diffusion.schedule import VP, RectifiedFlow, SubVP, linear, zero_terminal_snr

MU = torch.tensor([0.3, -1.0, 2.0])
C = torch.tensor([0.5, 1.0, 0.01])


def target(prediction, schedule, x0, eps, t):
    """What a perfect network would put out, from the definition of each prediction."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    d_alpha, _, d_sigma = schedule.derivatives(t)
    nu = (alpha**2 + sigma**2).sqrt()
    # the path of x / alpha, which is that of EDM, Song et al. 2023 and data of variance 1
    noise, first = sigma / alpha, schedule.sigma(schedule.t_min) / schedule.alpha(schedule.t_min)
    x, total = x0 + noise * eps, (1 + noise**2).sqrt()
    return {
        "eps": eps,
        "x0": x0,
        "v": (alpha * eps - sigma * x0) / nu,
        "velocity": d_alpha * x0 + d_sigma * eps,
        "score": -eps / sigma,
        "ncsn": -eps,
        "edm": (x0 - x / total**2) * total / noise,
        # a consistency model gives x at t_min
        "consistency": (x0 / schedule.alpha(schedule.t_min) - x / ((noise - first) ** 2 + 1))
        * total
        / (noise - first),
    }[prediction]


class Perfect(nn.Module):
    """The network that makes a denoiser of this prediction equal to an exact one."""

    def __init__(self, prediction, exact):
        super().__init__()
        self.prediction, self.exact, self.t = prediction, exact, None

    def forward(self, x, c_noise, cond):
        schedule = self.exact.schedule
        *_, c_in, _ = getattr(preconditioning, self.prediction)(schedule, self.t)
        x = x / c_in
        x0 = self.exact(x, self.t)
        eps = (x - schedule.alpha(self.t) * x0) / schedule.sigma(self.t)
        return target(self.prediction, schedule, x0, eps, self.t)


class AtTime(Denoiser):
    def forward(self, x, t, cond):
        self.network.t = torch.as_tensor(t, dtype=torch.float64)
        return super().forward(x, t, cond)


PREDICTIONS = ["eps", "x0", "v", "velocity", "score", "ncsn", "edm", "consistency"]
PATHS = [VP(), RectifiedFlow(), linear(50, 1e-4, 0.05), SubVP(), VE(), EDM(sigma_max=4.0)]


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("schedule", PATHS)
def test_a_perfect_network_gives_back_x0(prediction, schedule):
    torch.manual_seed(0)
    x0, eps = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(2, 3, 4, dtype=torch.float64)
    t = torch.tensor([0.3, 0.8], dtype=torch.float64) * schedule.t_max
    x = diffuse(schedule, x0, t, eps)

    def network(x_in, c_noise, cond):
        torch.testing.assert_close(c_noise, schedule.c_noise(t).to(x_in))
        parts = [target(prediction, schedule, x0[b], eps[b], t[b]) for b in range(2)]
        return torch.stack(parts)

    denoiser = Denoiser(network, schedule, getattr(preconditioning, prediction))
    torch.testing.assert_close(denoiser(x, t, Condition()), x0, rtol=0, atol=1e-11)
    c_skip, c_out, *_ = getattr(preconditioning, prediction)(schedule, t)
    assert c_skip.shape == c_out.shape == (2,)


@pytest.mark.parametrize("schedule", [VP(), SubVP(), VE(), EDM(sigma_max=4.0)])
def test_every_prediction_gives_the_same_sample_from_the_same_noise(schedule):
    exact = Gaussian(schedule, MU, C)
    torch.manual_seed(0)
    x = schedule.prior_std(schedule.t_max) * torch.randn(4, 1, 3, dtype=torch.float64)
    draws = torch.randn(8, 4, 1, 3, dtype=torch.float64)
    grid = times.uniform(8)(schedule)
    expected = Ancestral(grid)(exact, x, noise=lambda x, i: draws[i], started=True)
    for prediction in PREDICTIONS:
        denoiser = AtTime(
            Perfect(prediction, exact), schedule, getattr(preconditioning, prediction)
        )
        sample = Ancestral(grid)(denoiser, x, noise=lambda x, i: draws[i], started=True)
        torch.testing.assert_close(sample, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("schedule", PATHS)
@pytest.mark.parametrize("std", [0.5, 2.0])
def test_edm_s_inputs_and_targets_have_variance_one_and_its_output_weighs_least(schedule, std):
    # what table 1 of Karras et al. 2022 is derived from, their appendix B.6
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64) * schedule.t_max
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    c_skip, c_out, c_in, _ = preconditioning.edm(schedule, t, data_std=std)
    one = torch.ones_like(t)
    torch.testing.assert_close(c_in**2 * (alpha**2 * std**2 + sigma**2), one)

    def target_power(c_skip):
        return (1 - c_skip * alpha) ** 2 * std**2 + c_skip**2 * sigma**2

    torch.testing.assert_close(target_power(c_skip) / c_out**2, one)
    for change in (-1e-3, 1e-3):
        assert (target_power(c_skip + change) > target_power(c_skip)).all()


def test_edm_is_the_published_one_on_its_own_path():
    t, std = torch.tensor([0.01, 0.7, 60.0], dtype=torch.float64), 0.5
    c_skip, c_out, c_in, _ = preconditioning.edm(EDM(), t, data_std=std)
    n = (t**2 + std**2).sqrt()
    published = torch.stack([std**2 / n**2, t * std / n, 1 / n])
    torch.testing.assert_close(torch.stack([c_skip, c_out, c_in]), published, rtol=1e-12, atol=0)


@pytest.mark.parametrize("schedule", [*PATHS, zero_terminal_snr(linear(20))])
def test_a_consistency_prediction_is_the_identity_at_the_smallest_noise(schedule):
    t = torch.tensor([1.0, 0.3], dtype=torch.float64) * schedule.t_min
    c_skip, c_out, _, _ = preconditioning.consistency(schedule, t, data_std=0.7)
    torch.testing.assert_close(c_skip, torch.ones(2, dtype=torch.float64), rtol=1e-14, atol=0)
    assert (c_out == 0).all()
    t = torch.tensor([0.5, 1.0], dtype=torch.float64) * schedule.t_max
    _, c_out, _, _ = preconditioning.consistency(schedule, t)
    assert (c_out.abs() > 0.5).all()


def test_a_consistency_prediction_is_the_published_one_where_sigma_is_time():
    # Song et al. 2023, appendix C
    t, std, first = torch.tensor([0.01, 0.7, 60.0], dtype=torch.float64), 0.5, 0.002
    c_skip, c_out, c_in, _ = preconditioning.consistency(EDM(), t, data_std=std)
    published = torch.stack(
        [
            std**2 / ((t - first) ** 2 + std**2),
            std * (t - first) / (std**2 + t**2).sqrt(),
            1 / (std**2 + t**2).sqrt(),
        ]
    )
    torch.testing.assert_close(torch.stack([c_skip, c_out, c_in]), published, rtol=1e-12, atol=0)


def test_edm_and_consistency_need_signal_or_noise_and_a_positive_std():
    bridge, end = Bridge(), torch.ones((), dtype=torch.float64)
    for prediction in (preconditioning.edm, preconditioning.consistency):
        with pytest.raises(ValueError, match="there is neither"):
            prediction(bridge, end)
        with pytest.raises(ValueError, match="data_std"):
            prediction(VP(), end, data_std=0.0)


def test_eps_and_the_score_do_not_exist_without_signal():
    schedule = zero_terminal_snr(linear(10))
    t = torch.tensor([10.0], dtype=torch.float64)
    for prediction in (preconditioning.eps, preconditioning.score, preconditioning.ncsn):
        with pytest.raises(ValueError, match="alpha = 0"):
            prediction(schedule, t)
    for prediction in (
        preconditioning.x0,
        preconditioning.v,
        preconditioning.edm,
        preconditioning.consistency,
    ):
        assert all(torch.isfinite(c).all() for c in prediction(schedule, t))
    # on the straight path the velocity says all there is to say
    assert all(torch.isfinite(c).all() for c in preconditioning.velocity(RectifiedFlow(), t / 10))


def test_mixture_score_is_the_gradient_of_the_log_density():
    mixture = Mixture(
        VP(), torch.tensor([0.2, 0.5, 0.3]), torch.tensor([-2.0, 0.1, 1.5]),
        torch.tensor([0.3, 0.1, 0.6]),
    )  # fmt: skip
    x = torch.linspace(-3, 3, 31, dtype=torch.float64).requires_grad_()
    for t in (0.05, 0.3, 0.9):
        (gradient,) = torch.autograd.grad(mixture.log_density(x, t).sum(), x)
        x0_hat = mixture(x, t)
        eps = reverse.noise_estimate(
            mixture.schedule, x, x0_hat, torch.tensor(t, dtype=torch.float64), Condition()
        )
        score = -eps / mixture.schedule.sigma(t)
        torch.testing.assert_close(score, gradient, rtol=1e-9, atol=1e-9)


def test_gaussian_denoiser_is_the_posterior_mean_by_matrices():
    schedule = RectifiedFlow()
    torch.manual_seed(0)
    x = torch.randn(2, 1, 3, dtype=torch.float64)
    a, s = schedule.alpha(0.4), schedule.sigma(0.4)
    cov = torch.diag(C.double())
    gain = a * cov @ torch.linalg.inv(a**2 * cov + s**2 * torch.eye(3).double())
    expected = MU.double() + (x - a * MU.double()) @ gain.T
    torch.testing.assert_close(Gaussian(schedule, MU, C)(x, 0.4), expected, rtol=1e-9, atol=1e-12)
