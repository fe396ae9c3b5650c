import itertools
import math

import numpy as np
import pytest
import torch
from orders import slope

from wavediff.diffusion import reverse, times
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.ddim import DDIM, Ancestral
from wavediff.diffusion.exact import Gaussian, Mixture
from wavediff.diffusion.exponential import DPMpp2M
from wavediff.diffusion.heun import Heun
from wavediff.diffusion.schedule import VP, RectifiedFlow, linear, zero_terminal_snr

MU = torch.tensor([0.3, -1.0, 2.0])
C = torch.tensor([0.5, 1.0, 0.01])
STEPS = [64, 256, 1024]
ODE = {"ddim": (DDIM, 1), "heun": (Heun, 2), "dpmpp_2m": (DPMpp2M, 2)}
T_END = {"vp": 0.05, "flow": 0.05}


def schedules():
    return {"vp": VP(), "flow": RectifiedFlow()}


def start(n=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("path", ["vp", "flow"])
@pytest.mark.parametrize("name", ODE)
def test_order_of_convergence_on_a_gaussian(name, path):
    sampler, order = ODE[name]
    schedule = schedules()[path]
    exact = Gaussian(schedule, MU, C)
    t0, x = 0.9, start()
    expected = exact.flow(x, t0, T_END[path])
    errors = []
    for n in STEPS:
        grid = torch.linspace(t0, T_END[path], n + 1, dtype=torch.float64)
        errors.append(float((sampler(grid)(exact, x, started=True) - expected).abs().max()))
    assert slope(STEPS, errors) == pytest.approx(order, abs=0.15)
    assert errors[-1] < {1: 2e-2, 2: 2e-4}[order]


@pytest.mark.parametrize("name", ODE)
def test_every_ode_sampler_converges_to_a_mixtures_exact_flow(name):
    sampler, order = ODE[name]
    mixture = Mixture(
        VP(), torch.tensor([0.3, 0.7]), torch.tensor([-1.0, 1.5]), torch.tensor([0.4, 0.3])
    )
    x = torch.linspace(-2.5, 2.5, 21, dtype=torch.float64).reshape(1, 1, -1)
    expected = mixture.flow(x, 0.9, 0.02)
    errors = []
    for n in STEPS:
        grid = torch.linspace(0.9, 0.02, n + 1, dtype=torch.float64)
        errors.append(float((sampler(grid)(mixture, x, started=True) - expected).abs().max()))
    assert slope(STEPS, errors) == pytest.approx(order, abs=0.15)
    assert errors[-1] < {1: 2e-2, 2: 2e-4}[order]


@pytest.mark.parametrize("n", [1, 2, 10, 100])
def test_ddim_on_standard_normal_data_uniform_in_angle(n):
    # x cos(pi / 2N)^N: each step multiplies by the cosine of the angle that it turns
    class Angle(VP):
        def log_alpha(self, t):
            return torch.cos(torch.as_tensor(t, dtype=torch.float64) * math.pi / 2).log()

        def alpha(self, t):
            t = torch.as_tensor(t, dtype=torch.float64)
            return torch.where(t == 1, torch.zeros_like(t), torch.cos(t * math.pi / 2))

    schedule = Angle()
    schedule.log_snr = lambda t: 2 * (schedule.alpha(t).log() - schedule.log_sigma(t))
    exact = Gaussian(schedule, torch.zeros(3), torch.ones(3))
    x = start()
    sample = DDIM(times.uniform(n)(schedule))(exact, x, started=True)
    torch.testing.assert_close(sample, x * math.cos(math.pi / (2 * n)) ** n, rtol=0, atol=1e-12)


def variance_of(sampler, exact, grid, **options):
    """The exact variance of a sampler's output: each step is affine in the noise."""
    n = len(grid) - 1
    zero = torch.zeros(1, 1, 3, dtype=torch.float64)

    def run(hot):
        def noise(x, i):
            return torch.full_like(x, float(i == hot))

        x = zero + float(hot == -1)
        return sampler(grid, **options)(exact, x, noise=noise, started=True)

    rest = run(None)
    return sum((run(i) - rest) ** 2 for i in range(-1, n))[0, 0]


@pytest.mark.parametrize("n", [1, 3, 20])
def test_ancestral_reaches_the_variance_that_theory_gives(n):
    # the posterior variance is exact for a point mass on any grid; for N(0, c) data the chain's
    # variance follows the recursion v_s = gain^2 v_t + std^2
    schedule = linear(50, 1e-4, 0.05)
    grid = times.uniform(n)(schedule)
    point = Gaussian(schedule, MU, torch.zeros(3))
    assert variance_of(Ancestral, point, grid).abs().max() < 1e-20

    exact = Gaussian(schedule, torch.zeros(3), C)
    v = torch.ones(3, dtype=torch.float64)
    for t, s in itertools.pairwise(grid):
        std = reverse.posterior_std(schedule, t, s)
        shrink = schedule.alpha(t) * exact.c / exact.variance(t)
        kept = (schedule.sigma(s) ** 2 - std**2).clamp(min=0).sqrt()
        gain = schedule.alpha(s) * shrink + kept * (1 - schedule.alpha(t) * shrink) / (
            schedule.sigma(t)
        )
        v = gain**2 * v + std**2
    measured = variance_of(Ancestral, exact, grid)
    torch.testing.assert_close(measured, v, rtol=1e-10, atol=1e-14)


def test_ancestral_with_the_posterior_variance_keeps_a_point_mass_marginal_at_every_step():
    # from x_t ~ N(alpha_t mu, sigma_t^2) one step reaches exactly N(alpha_s mu, sigma_s^2)
    schedule = VP()
    for t, s in ((0.9, 0.5), (0.5, 0.49), (0.2, 0.01)):
        t, s = torch.tensor(t, dtype=torch.float64), torch.tensor(s, dtype=torch.float64)
        std = reverse.posterior_std(schedule, t, s)
        kept = (schedule.sigma(s) ** 2 - std**2).sqrt()
        torch.testing.assert_close(kept**2 + std**2, schedule.sigma(s) ** 2, rtol=1e-12, atol=0)
        # the textbook form of the posterior's mean: sqrt(abar_s) beta / (1 - abar_t) x0 + ...
        a_ts = schedule.alpha(t) / schedule.alpha(s)
        textbook = a_ts * schedule.sigma(s) ** 2 / schedule.sigma(t) ** 2
        torch.testing.assert_close(kept / schedule.sigma(t), textbook, rtol=1e-9, atol=0)


def test_ancestral_with_beta_keeps_standard_normal_data_exactly():
    # sqrt(beta_t) is the other choice of Ho et al. (section 3.2): exact for N(0, I) data
    betas = torch.linspace(1e-4, 0.05, 50, dtype=torch.float64)
    schedule = linear(50, 1e-4, 0.05)
    exact = Gaussian(schedule, torch.zeros(3), torch.ones(3))
    one = torch.ones(1, 1, 3, dtype=torch.float64)
    for n in (50, 25, 2):
        t, s = (torch.tensor(float(k), dtype=torch.float64) for k in (n, n - 1))
        posterior = reverse.posterior_std(schedule, t, s)
        mean = reverse.step(schedule, one, exact(one, t), t, s, Condition(), posterior)
        torch.testing.assert_close(
            mean**2 + betas[n - 1], torch.ones_like(mean), rtol=1e-12, atol=0
        )


def test_eta_scales_between_ddim_and_ancestral():
    schedule = VP()
    exact = Gaussian(schedule, MU, C)
    grid = times.uniform(5)(schedule)
    full = variance_of(Ancestral, exact, grid)
    torch.testing.assert_close(variance_of(DDIM, exact, grid, eta=1.0), full)
    zeros = variance_of(DDIM, exact, grid, eta=0.0)
    gains = DDIM(grid)(exact, torch.ones(1, 1, 3).double(), started=True) - DDIM(grid)(
        exact, torch.zeros(1, 1, 3).double(), started=True
    )
    torch.testing.assert_close(zeros, gains[0, 0] ** 2)


def lmnt_loop(eps_model, x, betas, trained, noises):
    """The update of lmnt-com/diffwave's inference, with its clamp off."""
    alpha, alpha_cum = 1 - betas, np.cumprod(1 - betas)
    trained_cum = np.cumprod(1 - trained)
    steps = []
    for level in alpha_cum:
        for t in range(len(trained) - 1):
            if trained_cum[t + 1] <= level <= trained_cum[t]:
                a, b = trained_cum[t] ** 0.5, trained_cum[t + 1] ** 0.5
                steps.append(t + (a - level**0.5) / (a - b))
                break
    for n in range(len(betas) - 1, -1, -1):
        c1 = 1 / alpha[n] ** 0.5
        c2 = betas[n] / (1 - alpha_cum[n]) ** 0.5
        x = c1 * (x - c2 * eps_model(x, steps[n]))
        if n > 0:
            sigma = ((1 - alpha_cum[n - 1]) / (1 - alpha_cum[n]) * betas[n]) ** 0.5
            x = x + sigma * noises[n]
    return x


@pytest.mark.parametrize("fast", [True, False])
def test_the_public_diffwave_loop_is_the_generic_ancestral_step(fast):
    trained = np.linspace(1e-4, 0.05, 50)
    betas = np.array([1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5]) if fast else trained
    schedule = linear(50, 1e-4, 0.05)
    noises = {n: start(seed=n) for n in range(len(betas))}

    def eps_model(x, index):
        return torch.tanh(x + index / 50)

    def denoiser(x, t, cond):
        eps = eps_model(x, float(schedule.c_noise(t)))
        return (x - schedule.sigma(t) * eps) / schedule.alpha(t)

    denoiser.schedule = schedule
    grid = times.from_betas(betas)(schedule) if fast else times.nodes()(schedule)
    x = start(seed=99)
    ours = Ancestral(grid)(denoiser, x, noise=lambda x, i: noises[len(betas) - 1 - i], started=True)
    theirs = lmnt_loop(eps_model, x, betas, trained, noises)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_clamp_bounds_the_state_after_each_step():
    schedule = VP()
    exact = Gaussian(schedule, 10 * torch.ones(3), torch.zeros(3))
    walk = Ancestral(times.uniform(4), clamp=1.0).walk(exact, start(), started=True)
    largest = [float(state.x.abs().max()) for state in walk]
    assert len(largest) == 4
    assert max(largest) == 1.0


@pytest.mark.parametrize("name", ODE)
def test_grids_of_one_step_and_paths_without_signal_at_the_start(name):
    sampler, _ = ODE[name]
    for schedule in (RectifiedFlow(), zero_terminal_snr(linear(20)), VP()):
        exact = Gaussian(schedule, MU, C)
        one = sampler(times.uniform(1)(schedule))(exact, start(), started=True)
        torch.testing.assert_close(one, exact(start(), schedule.t_max))
        many = sampler(times.uniform(20)(schedule))(exact, start(), started=True)
        assert torch.isfinite(many).all()


@pytest.mark.parametrize("grid", [[1.0], [0.0, 1.0], [1.0, 1.0, 0.0]])
def test_a_grid_that_does_not_descend_is_refused(grid):
    exact = Gaussian(VP(), MU, C)
    with pytest.raises(ValueError, match="descending"):
        DDIM(torch.tensor(grid))(exact, start(), started=True)
