import itertools
import math

import pytest
import torch
from orders import ODE

from wavediff.diffusion import times
from wavediff.diffusion.anchored import AnchoredFlow, Bridge
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.ddim import DDIM
from wavediff.diffusion.exact import Gaussian
from wavediff.diffusion.exploding import EDM
from wavediff.diffusion.exponential import DPMpp3S, UniPC, mean_estimate, moments
from wavediff.diffusion.schedule import VP, RectifiedFlow, linear, zero_terminal_snr

MU, C = torch.tensor([0.3, -1.0, 2.0]), torch.tensor([0.5, 1.0, 0.01])
THIRD = [DPMpp3S, UniPC]


def start(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(5, 1, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("h", [1e-9, 1e-3, 0.3, 0.999, 1.001, 5.0, 60.0])
def test_moments_are_the_integrals(h):
    theta = (torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000
    weight = torch.exp(h * (theta - 1))
    expected = [float((weight * theta**k).sum() / weight.sum()) for k in range(4)]
    assert moments(h, 4) == pytest.approx(expected, rel=1e-7)


def test_an_estimate_that_is_a_polynomial_is_averaged_exactly():
    a, b, c = start(1), start(2), start(3)
    nodes, h = (-0.7, 0.0, 1.0), 0.4
    found = mean_estimate([a + r * b + r**2 * c for r in nodes], nodes, h)
    _, m1, m2 = moments(h, 3)
    torch.testing.assert_close(found, a + m1 * b + m2 * c, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sampler", THIRD)
def test_an_estimate_linear_in_lambda_is_integrated_exactly(sampler):
    # x / sigma gains the integral of e^lambda (a + b lambda), e^lambda (a + b (lambda - 1))
    schedule, a, b = VP(), 0.7, -1.3

    def level(t):
        return float(schedule.log_snr(t)) / 2

    def denoiser(x, t, cond):
        return torch.full_like(x, a + b * level(t))

    denoiser.schedule = schedule
    grid = torch.tensor([0.9, 0.7, 0.4, 0.2], dtype=torch.float64)
    x = start()
    first, last = (math.exp(level(t)) * (a + b * (level(t) - 1)) for t in (grid[0], grid[-1]))
    exact = float(schedule.sigma(grid[-1])) * (x / float(schedule.sigma(grid[0])) + last - first)
    torch.testing.assert_close(
        sampler(grid)(denoiser, x, started=True), exact, rtol=1e-10, atol=1e-10
    )


def test_the_singlestep_is_the_published_one():
    # Lu et al. 2022: D_1 = x0_hat(u_1) - x0_hat, D_2 = x0_hat(u_2) - x0_hat, r_1 = 1/3, r_2 = 2/3
    schedule = VP()

    def denoiser(x, t, cond):
        return torch.tanh(x + float(t))

    denoiser.schedule = schedule
    grid = torch.tensor([0.8, 0.6, 0.35], dtype=torch.float64)
    x = start()
    for t, s in itertools.pairwise(grid):
        l_t, l_s = (float(schedule.log_snr(time)) / 2 for time in (t, s))
        h = l_s - l_t
        s1, s2 = (schedule.time_at(2 * (l_t + r * h)) for r in (1 / 3, 2 / 3))
        d0 = denoiser(x, t, Condition())

        def to(time, r, x=x, t=t, d0=d0, h=h):
            ratio = float(schedule.sigma(time) / schedule.sigma(t))
            return ratio * x - float(schedule.alpha(time)) * math.expm1(-r * h) * d0

        d1 = denoiser(to(s1, 1 / 3), s1, Condition()) - d0
        second = 2 * float(schedule.alpha(s2)) * (math.expm1(-2 / 3 * h) / (2 / 3 * h) + 1)
        d2 = denoiser(to(s2, 2 / 3) + second * d1, s2, Condition()) - d0
        third = 1.5 * float(schedule.alpha(s)) * (math.expm1(-h) / h + 1)
        x = to(s, 1.0) + third * d2
    ours = DPMpp3S(grid)(denoiser, start(), started=True)
    torch.testing.assert_close(ours, x, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("sampler", THIRD)
def test_grids_of_one_step_and_paths_without_signal_at_the_start(sampler):
    for schedule in (RectifiedFlow(), zero_terminal_snr(linear(20)), VP(), EDM()):
        exact = Gaussian(schedule, MU, C)
        one = sampler(times.uniform(1)(schedule))(exact, start(), started=True)
        torch.testing.assert_close(one, exact(start(), schedule.t_max))
        grid = times.uniform(40)(schedule)
        x = start() * float(schedule.prior_std(grid[0]))
        found = sampler(grid)(exact, x, started=True)
        if schedule.t_max == 1:  # a uniform grid is no grid for the others
            torch.testing.assert_close(found, exact.flow(x, grid[0], 0.0), rtol=0, atol=0.1)
        assert torch.isfinite(found).all()


@pytest.mark.parametrize("sampler", THIRD)
@pytest.mark.parametrize("schedule", [Bridge(), AnchoredFlow(), AnchoredFlow(0.1, 0.487)])
def test_a_known_signal_is_carried_along(sampler, schedule):
    # x - anchor y moves as it would without y
    y = start(7)

    class Posterior:
        def __init__(self):
            self.schedule = schedule

        def __call__(self, x, t, cond):
            a, s = schedule.alpha(t), schedule.sigma(t)
            gain = torch.nan_to_num(a * C / (a**2 * C + s**2))  # 0 / 0 where a bridge starts
            return MU + gain * (x - schedule.anchor(t) * cond.anchor - a * MU)

    cond = Condition(anchor=y)
    t, s = 0.9, 0.1
    x = start()
    gain = ((schedule.alpha(s) ** 2 * C + schedule.sigma(s) ** 2)
            / (schedule.alpha(t) ** 2 * C + schedule.sigma(t) ** 2)).sqrt()  # fmt: skip
    rest = x - schedule.anchor(t) * y - schedule.alpha(t) * MU
    expected = schedule.anchor(s) * y + schedule.alpha(s) * MU + gain * rest
    found = sampler(torch.linspace(t, s, 33, dtype=torch.float64))(
        Posterior(), x, cond, started=True
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)
    # and from the path's own start to its end
    whole = sampler(times.uniform(8)(schedule))(Posterior(), y, cond, started=True)
    assert torch.isfinite(whole).all()
    one = sampler(times.uniform(1)(schedule))(Posterior(), y, cond, started=True)
    torch.testing.assert_close(
        one, DDIM(times.uniform(1)(schedule))(Posterior(), y, cond, started=True)
    )


@pytest.mark.parametrize("name", ODE)
def test_network_calls_are_those_stated(name):
    sampler = ODE[name][0]
    exact, calls = Gaussian(VP(), MU, C), []

    def counting(x, t, cond):
        calls.append(float(t))
        return exact(x, t, cond)

    counting.schedule = exact.schedule
    sampler = sampler([0.9, 0.5, 0.2])
    assert len(list(sampler.walk(counting, start(), started=True))) == 2
    assert len(calls) == sampler.calls(VP())
