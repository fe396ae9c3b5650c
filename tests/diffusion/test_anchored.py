"""Paths with an anchor against their papers' formulae, written here as published."""

import itertools
import math
from decimal import Decimal

import pytest
import torch

from wavediff.diffusion import preconditioning, reverse, times
from wavediff.diffusion.anchored import OUVE, AnchoredFlow, Bridge, CDiffuSE, cdiffuse
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.ddim import DDIM, Ancestral
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.exponential import DPMpp2M
from wavediff.diffusion.forward import diffuse, sde, transition

SCHEDULES = {
    "bridge": Bridge(),
    "ouve": OUVE(),
    "flow": AnchoredFlow(),
    "flow of constant width": AnchoredFlow(0.1, 0.1),
    "cdiffuse": cdiffuse(),
}
FAST = [1e-4, 1e-3, 0.01, 0.05, 0.2, 0.35]  # CDiffuSE's fast sampling


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def signals(batch=2, frames=5):
    torch.manual_seed(0)
    return torch.randn(4, batch, 1, frames, dtype=torch.float64)


def equal(a, b):
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


# ---- coefficients


def bridge_sigmas(t, k=2.6, c=0.4):
    """(sigma_t, sigma_bar_t, sigma_T) of Jukic et al. 2024, table 1."""

    def variance(t):
        return c * (k ** (2 * t) - 1) / (2 * math.log(k))

    return variance(t) ** 0.5, (variance(1) - variance(t)) ** 0.5, variance(1) ** 0.5  # fmt: skip


def published_bridge(t):
    sigma, sigma_bar, sigma_T = bridge_sigmas(t)
    return sigma_bar**2 / sigma_T**2, sigma**2 / sigma_T**2, sigma * sigma_bar / sigma_T


def published_ouve(t, theta=1.5, sigma_min=0.05, sigma_max=0.5):
    """The mean and std of SGMSE+'s code."""
    logsig = math.log(sigma_max / sigma_min)
    decay = math.exp(-theta * t)
    growth = math.exp(2 * (theta + logsig) * t) - 1
    variance = sigma_min**2 * math.exp(-2 * theta * t) * growth * logsig / (theta + logsig)
    return decay, 1 - decay, variance**0.5


def published_flow(t):
    return 1 - t, t, 0.487 * t


def published_cdiffuse(n):
    alpha_bar = float((1 - torch.linspace(1e-4, 0.035, 50, dtype=torch.float64))[: int(n)].prod())
    m = ((1 - alpha_bar) / alpha_bar**0.5) ** 0.5
    delta = 1 - (1 + m**2) * alpha_bar
    return (1 - m) * alpha_bar**0.5, m * alpha_bar**0.5, delta**0.5


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("bridge", published_bridge),
        ("ouve", published_ouve),
        ("flow", published_flow),
        ("cdiffuse", published_cdiffuse),
    ],
)
def test_coefficients_are_the_published_ones(name, published):
    schedule = SCHEDULES[name]
    for t in (0.1, 0.3, 0.5, 0.9):
        t *= schedule.t_max
        ours = torch.stack([schedule.alpha(t), schedule.anchor(t), schedule.sigma(t)])
        torch.testing.assert_close(ours, f64(*published(t)), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_clean_end_is_x0(name):
    schedule = SCHEDULES[name]
    assert schedule.alpha(0.0) == 1
    assert schedule.anchor(0.0) == 0
    assert schedule.sigma(0.0) == (0.1 if "constant" in name else 0)


@pytest.mark.parametrize("schedule", [Bridge(), Bridge(k=1.1), Bridge(k=5.3, c=0.02)])
def test_the_bridge_starts_from_y_itself(schedule):
    assert schedule.alpha(1.0) == 0
    assert schedule.anchor(1.0) == 1
    assert schedule.sigma(1.0) == 0
    assert schedule.prior_std(1.0) == 0
    assert schedule.log_snr(1.0) == -torch.inf
    _, _, y, z = signals()
    assert torch.equal(reverse.start(schedule, 1.0, z, Condition(anchor=y)), y)


def test_the_bridge_keeps_its_digits_at_both_ends():
    # alpha is about (1 - t) sb'(1) at the far end, sigma^2 about c t at the clean one
    schedule, far = Bridge(), 2.0**-40
    growth = 2 * math.log(2.6)
    expected = math.log(far * growth / (1 - 2.6**-2)) - math.log(bridge_sigmas(1)[2] ** 2)
    assert float(schedule.log_snr(1 - far)) == pytest.approx(expected, abs=1e-11)
    assert float(schedule.sigma(far) ** 2) == pytest.approx(0.4 * far, rel=1e-11)
    assert float(schedule.log_snr(1e-300)) == pytest.approx(-math.log(0.4e-300), rel=1e-12)


def test_starts_of_the_others_are_the_published_priors():
    _, _, y, z = signals()
    cond = Condition(anchor=y)
    std = published_ouve(1.0)[2]
    equal(reverse.start(OUVE(), 1.0, z, cond), y + std * z)
    equal(reverse.start(AnchoredFlow(), 1.0, z, cond), y + 0.487 * z)
    _, _, std = published_cdiffuse(50)
    root = sum(published_cdiffuse(50)[:2])
    equal(reverse.start(cdiffuse(), 50.0, z, cond), root * y + std * z)


@pytest.mark.parametrize("name", SCHEDULES)
def test_log_snr_is_decreasing_and_inverted_by_time_at(name):
    schedule = SCHEDULES[name]
    t = torch.linspace(0, schedule.t_max, 57, dtype=torch.float64)
    assert (schedule.log_snr(t).diff() < 0).all()
    t = t[1:-1]
    log_snr = schedule.log_snr(t)
    equal(log_snr, 2 * (schedule.alpha(t) / schedule.sigma(t)).log())
    torch.testing.assert_close(schedule.time_at(log_snr), t, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "first"),
    [("bridge", 1e-4), ("ouve", 0.03), ("flow", 0.03), ("cdiffuse", 1.0)],
)
def test_training_times_are_the_published_range(name, first):
    schedule = SCHEDULES[name]
    t = schedule.quantile(torch.linspace(0, 1 - 1e-9, 200, dtype=torch.float64))
    assert float(t[0]) == first
    assert float(t[-1]) == pytest.approx(schedule.t_max, abs=1e-8)
    assert (t.diff() >= 0).all()
    assert set(t.tolist()) == set(range(1, 51)) or name != "cdiffuse"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Bridge(k=1.0),
        lambda: Bridge(c=0.0),
        lambda: Bridge(t_min=1.0),
        lambda: OUVE(theta=0.0),
        lambda: OUVE(sigma_min=0.5, sigma_max=0.5),
        lambda: OUVE(t_min=0.0),
        lambda: AnchoredFlow(sigma_1=0.0),
        lambda: AnchoredFlow(sigma_0=-0.1),
        lambda: cdiffuse(beta_max=0.05),
        lambda: CDiffuSE([0.1, 1.0]),
    ],
)
def test_numbers_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match=r"needs|betas"):
        make()


# ---- the forward process


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("r", "s", "t"), [(0.02, 0.04, 0.06), (0.2, 0.5, 0.7), (0.1, 0.9, 1.0)])
def test_marginals_composed_over_any_times_equal_the_direct_ones(name, r, s, t):
    schedule = SCHEDULES[name]
    r, s, t = r * schedule.t_max, s * schedule.t_max, t * schedule.t_max
    a1, b1, c1 = transition(schedule, r, s)
    a2, b2, c2 = transition(schedule, s, t)
    a, b, c = transition(schedule, r, t)
    # two short kernels are one long one
    equal(a1 * a2, a)
    equal(a2 * b1 + b2, b)
    equal((a2 * c1) ** 2 + c2**2, c**2)
    # and on top of the marginal at r they give the marginal at t
    equal(a * schedule.alpha(r), schedule.alpha(t))
    equal(a * schedule.anchor(r) + b, schedule.anchor(t))
    equal((a * schedule.sigma(r)) ** 2 + c**2, schedule.sigma(t) ** 2)
    assert c > 0 or (name == "bridge" and t == 1)


def test_the_sde_is_the_published_one():
    t = f64(0.1, 0.5, 0.9)
    f, b, g2 = sde(OUVE(), t)
    equal(f, torch.full_like(t, -1.5))
    equal(b, torch.full_like(t, 1.5))
    equal(g2, (0.05 * (0.5 / 0.05) ** t) ** 2 * 2 * math.log(0.5 / 0.05))
    # the bridge is dx = g dw on its way to y: drift g^2 (y - x) / sigma_bar^2 (Doob's transform)
    f, b, g2 = sde(Bridge(), t)
    published = 0.4 * 2.6 ** (2 * t)
    torch.testing.assert_close(g2, published, rtol=1e-12, atol=0)
    sigma_bar = f64(*[bridge_sigmas(float(u))[1] for u in t])
    torch.testing.assert_close(f, -published / sigma_bar**2, rtol=1e-12, atol=0)
    torch.testing.assert_close(b, published / sigma_bar**2, rtol=1e-12, atol=0)


# ---- what networks predict


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "score", "velocity", "combined_noise"])
def test_a_perfect_network_gives_back_x0(name, prediction):
    schedule = SCHEDULES[name]
    x0, eps, y, _ = signals()
    t = f64(0.31, 0.81) * schedule.t_max
    alpha, anchor, sigma = (
        f(t)[:, None, None] for f in (schedule.alpha, schedule.anchor, schedule.sigma)
    )
    if prediction == "combined_noise" and name != "cdiffuse":
        with pytest.raises(ValueError, match="combined-noise prediction needs"):
            preconditioning.combined_noise(schedule, t)
        return
    x = diffuse(schedule, x0, t, eps, Condition(anchor=y))
    h = 1e-6
    ahead, behind = (diffuse(schedule, x0, t + d, eps, Condition(anchor=y)) for d in (h, -h))
    root = alpha + anchor
    target = {
        "eps": eps,
        "x0": x0,
        "v": (alpha * eps - sigma * x0) / (alpha**2 + sigma**2).sqrt(),
        "score": -eps / sigma,
        "velocity": (ahead - behind) / (2 * h),
        # as in CDiffuSE's training code
        "combined_noise": (anchor * (y - x0) + sigma * eps) / (1 - root**2).sqrt(),
    }[prediction]
    denoiser = Denoiser(
        lambda x, c_noise, cond: target, schedule, getattr(preconditioning, prediction)
    )
    tolerance = 1e-8 if prediction == "velocity" else 1e-12
    x0_hat = denoiser(x, t, Condition(anchor=y))
    torch.testing.assert_close(x0_hat, x0, rtol=0, atol=tolerance)


# ---- the published updates


def step(schedule, x, x0_hat, t, s, y, eta=0.0, z=None):
    return reverse.step(schedule, x, x0_hat, f64(t)[0], f64(s)[0], Condition(anchor=y), eta, z)


@pytest.mark.parametrize(("t", "s"), [(0.999, 0.9), (0.7, 0.4), (0.3, 1e-4), (1e-3, 1e-4)])
def test_bridge_updates_are_the_published_ones(t, s):
    """Jukic et al. 2024: the first-order discretizations of the bridge's SDE and ODE."""
    schedule = Bridge()
    x, x0_hat, y, z = signals()
    sigma_t, bar_t, sigma_T = bridge_sigmas(t)
    sigma_s, bar_s, _ = bridge_sigmas(s)
    share = 1 - sigma_s**2 / sigma_t**2
    by_sde = sigma_s**2 / sigma_t**2 * x + share * x0_hat + sigma_s * share**0.5 * z
    eta = reverse.posterior_std(schedule, f64(t)[0], f64(s)[0])
    equal(step(schedule, x, x0_hat, t, s, y, eta, z), by_sde)
    by_ode = (
        sigma_s * bar_s / (sigma_t * bar_t) * x
        + (bar_s**2 - bar_t * sigma_s * bar_s / sigma_t) / sigma_T**2 * x0_hat
        + (sigma_s**2 - sigma_t * sigma_s * bar_s / bar_t) / sigma_T**2 * y
    )
    equal(step(schedule, x, x0_hat, t, s, y), by_ode)


def test_the_bridges_first_steps_from_y():
    """At T the published SDE update is exact; the ODE's 0/0 there is no noise at all."""
    schedule = Bridge()
    _, x0_hat, y, z = signals()
    sigma_s, bar_s, sigma_T = bridge_sigmas(0.75)
    eta = reverse.posterior_std(schedule, f64(1.0)[0], f64(0.75)[0])
    share = sigma_s**2 / sigma_T**2
    by_sde = share * y + (1 - share) * x0_hat + sigma_s * (1 - share) ** 0.5 * z
    equal(step(schedule, y, x0_hat, 1.0, 0.75, y, eta, z), by_sde)
    by_ode = bar_s**2 / sigma_T**2 * x0_hat + share * y
    equal(step(schedule, y, x0_hat, 1.0, 0.75, y), by_ode)


@pytest.mark.parametrize("sampler", [DDIM, Ancestral, DPMpp2M])
@pytest.mark.parametrize("steps", [1, 4])
def test_the_bridge_is_sampled_from_its_end(sampler, steps):
    schedule = Bridge()
    x0, z, y, _ = signals().float()
    cond = Condition(anchor=y)
    seen = []

    def network(x, c_noise, cond):
        seen.append((x, c_noise))
        return x0

    denoiser = Denoiser(network, schedule, preconditioning.x0)
    start = reverse.start(schedule, schedule.t_max, z, cond)
    x = sampler(times.uniform(steps)(schedule))(denoiser, start, cond, started=True)
    assert x.dtype == torch.float32
    assert torch.equal(x, x0)
    assert len(seen) == steps
    assert torch.equal(seen[0][0], y)
    assert (seen[0][1] == 1000).all()


def cdiffuse_inference(betas):
    """c1, c2, c3, sqrt(delta_bar) of CDiffuSE's inference code, levels 0 to T - 1.

    In 28 digits, as delta near the clean end is a difference of ones. With m as trained: the code
    sets the last one to 1, which the network never saw.
    """
    T = len(betas)
    alpha = [1 - Decimal(beta) for beta in betas]
    alpha_cum = list(itertools.accumulate(alpha, lambda a, b: a * b))
    m = [min((1 - a) / a.sqrt(), Decimal(1)).sqrt() for a in alpha_cum]
    delta = [max(1 - (1 + m[n] ** 2) * alpha_cum[n], Decimal(0)) for n in range(T)]
    c1, c2, c3, delta_bar = ([Decimal(0)] * T for _ in range(4))
    for n in range(1, T):
        ratio = (1 - m[n]) / (1 - m[n - 1])
        delta_cond = delta[n] - ratio**2 * alpha[n] * delta[n - 1]
        delta_bar[n] = delta_cond * delta[n - 1] / delta[n]
        kept = (1 - m[n - 1]) * (delta_cond / delta[n])
        c1[n] = ratio * (delta[n - 1] / delta[n]) * alpha[n].sqrt() + kept / alpha[n].sqrt()
        c2[n] = (
            m[n - 1] * delta[n] - (m[n] * (1 - m[n])) / (1 - m[n - 1]) * alpha[n] * delta[n - 1]
        ) * (alpha_cum[n - 1].sqrt() / delta[n])
        c3[n] = kept * (1 - alpha_cum[n]).sqrt() / alpha[n].sqrt()
    c1[0] = 1 / alpha[0].sqrt()
    c3[0] = c1[0] * Decimal(betas[0]) / (1 - alpha_cum[0]).sqrt()
    std = [variance.sqrt() for variance in delta_bar]
    return [[float(value) for value in values] for values in (c1, c2, c3, std)]


@pytest.mark.parametrize("fast", [False, True])
def test_cdiffuse_sampling_is_the_published_loop(fast):
    schedule = cdiffuse()
    betas = FAST if fast else torch.linspace(1e-4, 0.035, 50, dtype=torch.float64).tolist()
    _, _, y, z = signals()
    draws = torch.randn(len(betas), *y.shape, dtype=torch.float64)

    def network(x, c_noise, cond):
        return 0.3 * x + 0.1 * torch.sin(y) + c_noise[:, None, None] / 100

    denoiser = Denoiser(network, schedule, preconditioning.combined_noise)
    grid = times.from_betas(FAST)(schedule) if fast else times.nodes()(schedule)
    start = reverse.start(schedule, grid[0], z, Condition(anchor=y))
    ours = Ancestral(grid)(
        denoiser, start, Condition(anchor=y), noise=lambda x, i: draws[i], started=True
    )
    c1, c2, c3, std = cdiffuse_inference(betas)
    x = start
    for i, n in enumerate(range(len(betas) - 1, -1, -1)):
        index = schedule.c_noise(grid[i]).expand(len(x))
        x = c1[n] * x + c2[n] * y - c3[n] * network(x, index, None)
        x = x + std[n] * draws[i]
    equal(ours, x)


@pytest.mark.parametrize("n", [1, 2, 20, 49])
def test_one_cdiffuse_step_is_the_published_update(n):
    schedule = cdiffuse()
    x, F, y, z = signals()
    c1, c2, c3, std = cdiffuse_inference(
        torch.linspace(1e-4, 0.035, 50, dtype=torch.float64).tolist()
    )
    t, s = float(n + 1), float(n)
    root = sum(published_cdiffuse(n + 1)[:2])
    x0_hat = (x - (1 - root**2) ** 0.5 * F) / root
    eta = reverse.posterior_std(schedule, f64(t)[0], f64(s)[0])
    published = c1[n] * x + c2[n] * y - c3[n] * F + std[n] * z
    equal(step(schedule, x, x0_hat, t, s, y, eta, z), published)


def test_fast_cdiffuse_levels_are_between_the_published_indices():
    """The network is told the fractional index at which sqrt(alpha_bar) is the fast level's."""
    trained = torch.cumprod(1 - torch.linspace(1e-4, 0.035, 50, dtype=torch.float64), 0).sqrt()
    level = torch.cumprod(1 - f64(*FAST), 0).sqrt()
    index = []
    for value in level:
        low = int((trained >= value * (1 - 1e-12)).sum()) - 1
        index.append(low + float((trained[low] - value) / (trained[low] - trained[low + 1])))
    schedule = cdiffuse()
    ours = schedule.c_noise(times.from_betas(FAST)(schedule)).flip(0)[1:]
    assert ours.tolist() == pytest.approx(index, abs=1e-9)


@pytest.mark.parametrize("sigmas", [(0.0, 0.487), (0.1, 0.1)])
def test_flow_sampling_is_eulers_method(sigmas):
    """FlowSE's code: x <- x - stepsize F(x, t), from 1 to 0.03 and then to 0."""
    schedule = AnchoredFlow(*sigmas)
    _, _, y, z = signals()
    cond = Condition(anchor=y)

    def network(x, c_noise, cond):
        return 0.5 * x - y + c_noise[:, None, None] / 1000

    denoiser = Denoiser(network, schedule, preconditioning.velocity)
    x = start = y + sigmas[1] * z
    grid = [1.0, 0.7575, 0.515, 0.2725, 0.03, 0.0]
    for t, s in itertools.pairwise(grid):
        x = x - (t - s) * network(x, f64(1000 * t).expand(len(x)), cond)
    ours = DDIM(times.uniform_to_t_min(5)(schedule))(denoiser, start, cond, started=True)
    equal(ours, x)
