"""Log-densities by the probability flow against those that are known."""

import math

import pytest
import torch

from wavediff.diffusion.anchored import OUVE
from wavediff.diffusion.exact import Gaussian, Mixture
from wavediff.diffusion.exploding import EDM, VE
from wavediff.diffusion.likelihood import log_density
from wavediff.diffusion.schedule import VP, RectifiedFlow, SubVP, linear

MU = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
C = torch.tensor([0.5, 1.0, 0.04], dtype=torch.float64)
PATHS = {"vp": VP(), "subvp": SubVP(), "ve": VE(), "edm": EDM(), "flow": RectifiedFlow()}


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seeded(x, k):
    return draws(*x.shape, seed=k + 1)


def data(n=4):
    return MU + C.sqrt() * draws(n, 1, 3)


def expected(x, schedule, c=C, mu=MU):
    """The Gaussian's log-density at x, with the noise of t_min, which is stated."""
    t = torch.tensor(schedule.t_min, dtype=torch.float64)
    v = c + (schedule.sigma(t) / schedule.alpha(t)) ** 2
    return (-((x - mu) ** 2) / (2 * v) - (2 * math.pi * v).log() / 2).flatten(1).sum(1)


def prior_bias(x, schedule, exact):
    """What N(0, prior_std^2) misses of the true density at t_max where the flow ends."""
    t_min, t_max = schedule.t_min, schedule.t_max
    end = exact.flow(schedule.alpha(t_min) * x, t_min, t_max)
    v, centre = exact.variance(t_max), schedule.alpha(t_max) * exact.mu
    prior = schedule.prior_std(t_max) ** 2
    true = -((end - centre) ** 2) / (2 * v) - v.log() / 2
    taken = -(end**2) / (2 * prior) - prior.log() / 2
    return (taken - true).flatten(1).sum(1)


@pytest.mark.parametrize("path", PATHS)
def test_a_gaussians_log_density(path):
    schedule, x = PATHS[path], data()
    exact = Gaussian(schedule, MU, C)
    found = log_density(exact, x, steps=60)
    bias = prior_bias(x, schedule, exact)
    assert found.dimension == 3
    # sub-VP's way is longer: it starts at sigma = 1e-6
    atol = 3e-4 if path == "subvp" else 2e-5
    torch.testing.assert_close(found.nats, expected(x, schedule) + bias, rtol=0, atol=atol)
    assert (found.error == 0).all()
    # where N(0, I) ends a path with some signal left, by its KL: sum of (r - 1 - log r) / 2
    limit = {"vp": 0.03, "subvp": 0.03, "ve": 0.1, "edm": 0.1, "flow": 1e-9}[path]
    assert bias.abs().max() < limit


def test_the_fixed_method_has_order_four():
    schedule, x = VP(), data()
    exact = Gaussian(schedule, MU, C)
    target = expected(x, schedule) + prior_bias(x, schedule, exact)
    coarse, fine = ((log_density(exact, x, steps=n).nats - target).abs().max() for n in (20, 40))
    assert math.log2(coarse / fine) == pytest.approx(4, abs=0.4)


def test_the_mean_is_too_small_by_the_kl_of_the_prior():
    # over the data the bias is -KL(p_T | prior), of N(alpha mu, v) to N(0, 1)
    schedule = VP(beta_max=6.0)  # leaves plenty of signal
    exact = Gaussian(schedule, MU, C)
    z = torch.tensor([-1.0, 1.0], dtype=torch.float64).reshape(2, 1, 1)  # exact second moments
    x = MU + expected_std(schedule) * z
    bias = (log_density(exact, x, steps=60).nats - expected(x, schedule)).mean()
    r = exact.variance(1.0) + schedule.alpha(1.0) ** 2 * MU**2
    kl = ((r - 1 - exact.variance(1.0).log()) / 2).sum()
    assert kl > 0.01
    assert float(bias) == pytest.approx(-float(kl), rel=1e-3)


def expected_std(schedule):
    ratio = schedule.sigma(schedule.t_min) / schedule.alpha(schedule.t_min)
    return (C + ratio**2).sqrt()


def test_rademacher_probes_have_no_variance_on_a_diagonal_jacobian():
    x = data()
    exact = Gaussian(VP(), MU, C)
    whole = log_density(exact, x, steps=20).nats
    for k in (1, 3):
        found = log_density(exact, x, probes=k, steps=20, noise=seeded)
        torch.testing.assert_close(found.nats, whole, rtol=0, atol=1e-10)
    assert found.error.max() < 1e-10
    normal = log_density(exact, x, probes=3, kind="gaussian", steps=20, noise=seeded)
    assert normal.error.mean() > 0.1


class Correlated:
    """N(0, A A^T) over the frames: a Jacobian that is not diagonal."""

    def __init__(self, schedule, a):
        self.schedule, self.c = schedule, a @ a.T

    def __call__(self, x, t, cond):
        a, s = self.schedule.alpha(t), self.schedule.sigma(t)
        eye = torch.eye(len(self.c), dtype=torch.float64)
        return x @ torch.linalg.solve(a**2 * self.c + s**2 * eye, a * self.c)


def test_probes_average_to_the_exact_divergence_within_their_error():
    schedule = EDM()
    exact = Correlated(schedule, draws(6, 6, seed=3))
    x = draws(2, 1, 6)
    c = exact.c + schedule.t_min**2 * torch.eye(6, dtype=torch.float64)
    density = torch.distributions.MultivariateNormal(torch.zeros(6, dtype=torch.float64), c)
    found = log_density(exact, x, steps=60)
    torch.testing.assert_close(found.nats, density.log_prob(x[:, 0]), rtol=0, atol=2e-2)
    for kind in ("rademacher", "gaussian"):
        estimate = log_density(exact, x, probes=64, kind=kind, steps=25, noise=seeded)
        assert (estimate.error > 0.05).all()
        z = (estimate.nats - found.nats) / estimate.error
        assert z.abs().max() < 4
    # a quarter of the probes, twice the error
    fewer = log_density(exact, x, probes=16, kind="gaussian", steps=25, noise=seeded)
    assert 1.3 < float((fewer.error / estimate.error).mean()) < 3
    alone = log_density(exact, x, probes=1, steps=2)
    assert alone.error.isnan().all()


@pytest.mark.parametrize("path", PATHS)
def test_a_mixtures_log_density(path):
    schedule = PATHS[path]
    weights, means, stds = [0.3, 0.7], [-1.0, 1.5], [0.4, 0.3]
    exact = Mixture(schedule, torch.tensor(weights), torch.tensor(means), torch.tensor(stds))
    x = torch.linspace(-2.5, 2.5, 11, dtype=torch.float64).reshape(-1, 1, 1)
    t = torch.tensor(schedule.t_min, dtype=torch.float64)
    target = exact.log_density(schedule.alpha(t) * x, t) + schedule.log_alpha(t)
    found = log_density(exact, x, steps=80)
    end = torch.tensor(schedule.t_max, dtype=torch.float64)
    noise = exact.flow(schedule.alpha(t) * x, t, end)
    prior = torch.distributions.Normal(0.0, schedule.prior_std(end))
    bias = prior.log_prob(noise) - exact.log_density(noise, end)
    assert bias.abs().max() < {"vp": 0.03, "subvp": 0.03, "ve": 0.1, "edm": 0.1, "flow": 1e-9}[path]
    atol = 1e-3 if path == "subvp" else 1e-4
    torch.testing.assert_close(found.nats, (target + bias).flatten(), rtol=0, atol=atol)


def test_adaptive_steps_agree_with_fixed_ones():
    pytest.importorskip("torchdiffeq")
    x = data()
    exact = Gaussian(EDM(), MU, C)
    fixed = log_density(exact, x, steps=60).nats
    adaptive = log_density(exact, x, steps=None, rtol=1e-6, atol=1e-6).nats
    torch.testing.assert_close(adaptive, fixed, rtol=0, atol=1e-4)


def test_units_and_calls():
    x = draws(2, 2, 5)
    exact = Gaussian(VP(), torch.zeros(5), torch.ones(5))
    calls = []
    found = log_density(exact, x, steps=3, callback=lambda: calls.append(1))
    assert len(calls) == 12
    assert found.dimension == 10
    torch.testing.assert_close(found.nats_per_dimension, -found.nats / 10)
    torch.testing.assert_close(found.bits_per_dimension, -found.nats / 10 / math.log(2))


def test_discrete_levels_have_a_likelihood():
    schedule, x = linear(50, 1e-4, 0.35), data()
    exact = Gaussian(schedule, MU, C)
    target = expected(x, schedule) + prior_bias(x, schedule, exact)
    torch.testing.assert_close(log_density(exact, x, steps=60).nats, target, rtol=0, atol=1e-3)


def test_single_precision_is_kept():
    exact = Gaussian(VP(), MU, C)

    class Single:
        schedule = exact.schedule

        def __call__(self, x, t, cond):
            assert x.dtype == torch.float32
            return exact(x, t, cond).float()

    x = data()
    found = log_density(Single(), x.float(), steps=30)
    assert found.nats.dtype == torch.float64
    torch.testing.assert_close(found.nats, log_density(exact, x, steps=30).nats, rtol=0, atol=5e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probes": 0}, "at least 1 probe"),
        ({"kind": "uniform"}, "rademacher or gaussian"),
        ({"steps": 0}, "at least 1 step"),
        ({"t_min": 0.0}, "noise at t_min"),
        ({"t_min": 1.0}, "t_min < t_max"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        log_density(Gaussian(VP(), MU, C), data(), **options)


def test_a_path_to_a_known_signal_is_refused():
    with pytest.raises(ValueError, match="without an anchor"):
        log_density(Gaussian(OUVE(), MU, C), data())
