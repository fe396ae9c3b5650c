"""Samplers with noise, without Monte Carlo: on Gaussian data each step is affine in the noise.

Item k of a batch gets draw k as its only noise, so the batch holds the responses to each.
"""

import itertools
import math

import pytest
import torch
from orders import slope

from wavediff.diffusion import times
from wavediff.diffusion.anchored import OUVE
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.corrector import EulerMaruyama
from wavediff.diffusion.ddim import Ancestral, Renoise
from wavediff.diffusion.exact import Gaussian
from wavediff.diffusion.exploding import EDM, VE
from wavediff.diffusion.exponential import DPMpp2M
from wavediff.diffusion.langevin import AnnealedLangevin
from wavediff.diffusion.schedule import VP, RectifiedFlow, SubVP

C = 0.3
PATHS = {"vp": VP(), "subvp": SubVP(), "ve": VE(), "edm": EDM()}


def centred(schedule, c=C):
    return Gaussian(schedule, torch.zeros(1), torch.tensor([c], dtype=torch.float64))


def responses(sampler, denoiser, grid, draws, **options):
    """``[1 + draws]``: to a start of 1, then to each of the draws."""
    unit = torch.eye(1 + draws, dtype=torch.float64)[:, :, None, None]
    x = unit[:, 0]
    x = sampler(grid, **options)(denoiser, x, noise=lambda x, i: unit[:, i + 1], started=True)
    return x.flatten()


def karras(schedule, n):
    start = schedule.time_at(2 * math.log(0.1)) if schedule.t_max <= 1 else schedule.t_max
    return times.karras(n, t_start=float(start), t_last=float(schedule.time_at(8.0)))(schedule)


def gain(schedule, t, c=C):
    """Of the denoiser: x0_hat = gain x."""
    a, s = float(schedule.alpha(t)), float(schedule.sigma(t))
    return a * c / (a**2 * c + s**2)


@pytest.mark.parametrize("path", PATHS)
def test_sde_dpm_solver_is_the_published_recursion(path):
    # Lu et al. 2022, section 5: SDE-DPM-Solver++(2M)
    schedule, n = PATHS[path], 6
    grid = karras(schedule, n)
    x, previous, h_previous = torch.eye(1 + n, dtype=torch.float64)[0], None, None
    for i, (t, s) in enumerate(itertools.pairwise(grid[:-1])):
        h = float(schedule.log_snr(s) - schedule.log_snr(t)) / 2
        ratio = float(schedule.sigma(s) / schedule.sigma(t))
        weight = float(schedule.alpha(s)) * -math.expm1(-2 * h)
        d = gain(schedule, t) * x
        x_s = ratio * math.exp(-h) * x + weight * d
        if previous is not None:
            x_s = x_s + weight / 2 * (h / h_previous) * (d - previous)
        x_s[i + 1] += float(schedule.sigma(s)) * math.sqrt(-math.expm1(-2 * h))
        x, previous, h_previous = x_s, d, h
    x = gain(schedule, grid[-2]) * x
    ours = responses(DPMpp2M, centred(schedule), grid, n, eta=1.0)
    torch.testing.assert_close(ours, x, rtol=1e-9, atol=1e-12)


def test_sde_dpm_solver_beats_the_ancestral_steps_order():
    schedule = EDM()
    t0, exact = 20.0, centred(EDM())

    def missed(sampler, n, **options):
        grid = times.log_snr_uniform(n + 1, t0, 0.05)(schedule)[:-1]
        found = responses(sampler, exact, grid, n, **options)
        found[0] *= float(exact.variance(t0).sqrt())
        return abs(float(found.square().sum() - exact.variance(grid[-1])))

    steps = [16, 32, 64]
    assert slope(steps, [missed(Ancestral, n) for n in steps]) == pytest.approx(1, abs=0.15)
    assert slope(steps, [missed(DPMpp2M, n, eta=1.0) for n in steps]) == pytest.approx(2, abs=0.3)


def test_renoising_is_the_consistency_models_recursion():
    # only the estimate survives a step: v_s = alpha_s^2 gain^2 v_t + sigma_s^2
    for schedule in (*PATHS.values(), RectifiedFlow()):
        grid = times.uniform(4)(schedule)
        v = float(schedule.prior_std(grid[0])) ** 2
        for t, s in itertools.pairwise(grid):
            v = float(schedule.alpha(s)) ** 2 * gain(schedule, t) ** 2 * v
            v += float(schedule.sigma(s)) ** 2
        found = responses(Renoise, centred(schedule), grid, 4)
        found[0] *= float(schedule.prior_std(grid[0]))
        assert float(found.square().sum()) == pytest.approx(v, rel=1e-10)
        # nothing is left of a draw but through the estimates after it
        kept = math.prod(float(schedule.alpha(t)) * gain(schedule, t) for t in grid[1:-1])
        start = gain(schedule, grid[0])
        assert float(found[0]) == pytest.approx(
            start * kept * float(schedule.prior_std(grid[0])), rel=1e-9, abs=1e-15
        )


def test_euler_maruyama_on_vp_is_the_published_step():
    # Song et al. 2021, eq. 6 with beta(t) = 0.1 + 19.9 t
    schedule, n = VP(), 5
    exact, grid = centred(schedule), torch.linspace(1.0, 0.5, n + 1, dtype=torch.float64)
    x = torch.eye(1 + n, dtype=torch.float64)[0]
    for i, (t, s) in enumerate(itertools.pairwise(grid.tolist())):
        h, beta = t - s, 0.1 + 19.9 * t
        score = -x / float(exact.variance(t))
        x = x - h * (-beta / 2 * x - beta * score)
        x[i + 1] += math.sqrt(beta * h)
    ours = responses(EulerMaruyama, exact, grid, n)
    torch.testing.assert_close(ours, x, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("path", PATHS)
def test_euler_maruyama_reaches_the_variance_at_order_one(path):
    schedule = PATHS[path]
    exact = centred(schedule)
    ends = schedule.time_at(torch.tensor([-3.0, 4.0], dtype=torch.float64)).tolist()
    missed = []
    for n in (64, 256):
        grid = torch.linspace(*ends, n + 1, dtype=torch.float64)
        found = responses(EulerMaruyama, exact, grid, n)
        found[0] *= float(exact.variance(grid[0]).sqrt())
        missed.append(abs(float(found.square().sum() / exact.variance(grid[-1])) - 1))
    assert slope([64, 256], missed) == pytest.approx(1, abs=0.35)


def test_euler_maruyama_ends_in_the_estimate_without_noise():
    schedule = EDM()
    last = responses(EulerMaruyama, centred(schedule), torch.tensor([0.5, 0.0]), 1)
    torch.testing.assert_close(last, torch.tensor([gain(schedule, 0.5), 0.0], dtype=torch.float64))


@pytest.mark.parametrize("step_size", [0.05, 0.5])
def test_langevins_stationary_variance(step_size):
    # x + e score + sqrt(2 e) z has v / (1 - e / (2 v)), with 2 e = step_size sigma^2
    schedule, n = EDM(), 600
    exact, t = centred(schedule), 0.7
    grid = torch.tensor([t, 0.6], dtype=torch.float64)
    options = {"langevin_steps": n, "step_size": step_size}
    found = responses(AnnealedLangevin, exact, grid, n, **options)
    v, e = C + t**2, step_size * t**2 / 2
    assert float(found.square().sum()) == pytest.approx(v / (1 - e / (2 * v)), rel=1e-8)


@pytest.mark.parametrize("denoise", [True, False])
@pytest.mark.parametrize("path", PATHS)
def test_annealed_langevin_is_its_recursion_per_level(path, denoise):
    # v <- (1 - a / (2 (v_data + sigma^2)))^2 v + a, here with the signal's scale alpha
    schedule, levels, inner, size = PATHS[path], 4, 3, 0.3
    grid = karras(schedule, levels)
    v = 1.0
    for t, s in itertools.pairwise(grid):
        sigma2 = float(schedule.sigma(t)) ** 2
        total, a = float(schedule.alpha(t)) ** 2 * C + sigma2, size * sigma2
        for _ in range(inner):
            v = (1 - a / (2 * total)) ** 2 * v + a
        if denoise and float(schedule.sigma(s)) == 0:
            v *= gain(schedule, t) ** 2
        else:
            v *= float(schedule.alpha(s) / schedule.alpha(t)) ** 2
    options = {"langevin_steps": inner, "step_size": size, "denoise": denoise}
    found = responses(AnnealedLangevin, centred(schedule), grid, levels * inner, **options)
    assert float(found.square().sum()) == pytest.approx(v, rel=1e-10)


def test_annealed_langevin_stays_around_a_known_signal():
    schedule, y = OUVE(), torch.tensor([[[2.0]]], dtype=torch.float64)
    mu = 0.7

    class Exact:
        def __init__(self):
            self.schedule = schedule

        def __call__(self, x, t, cond):
            rest = x - schedule.alpha(t) * mu - schedule.anchor(t) * cond.anchor
            return mu + gain(schedule, t) * rest

    grid = torch.tensor([1.0, 0.5, 0.25, 0.0], dtype=torch.float64)
    a, b = schedule.alpha(1.0), schedule.anchor(1.0)
    for denoise in (True, False):
        # from the mean the mean stays
        sampler = AnnealedLangevin(grid, denoise=denoise)
        found = sampler(
            Exact(), a * mu + b * y, Condition(anchor=y),
            noise=lambda x, i: torch.zeros_like(x), started=True,
        )  # fmt: skip
        torch.testing.assert_close(found, torch.full_like(y, mu), rtol=1e-12, atol=0)


def test_a_walk_yields_each_step():
    for sampler in (AnnealedLangevin, EulerMaruyama, Renoise):
        x, grid = torch.ones(1, 1, 1).double(), torch.tensor([0.9, 0.4, 0.0])
        states = list(sampler(grid).walk(centred(VP()), x, started=True))
        assert [state.i for state in states] == [0, 1]
        assert [float(state.t) for state in states] == pytest.approx([0.4, 0.0])


@pytest.mark.parametrize("sampler", [AnnealedLangevin, EulerMaruyama])
def test_a_start_without_signal_is_refused(sampler):
    schedule = RectifiedFlow()
    grid = times.uniform(3)(schedule)
    with pytest.raises(ValueError, match="t = 1 lacks one"):
        sampler(grid)(centred(schedule), torch.ones(1, 1, 1), started=True)
    with pytest.raises(ValueError, match="t = 1 lacks one"):
        sampler(grid).method.refuse(schedule, grid)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"langevin_steps": 0}, "at least 1"),
        ({"step_size": 0.0}, "between 0 and 4"),
        ({"step_size": 4.0}, "between 0 and 4"),
    ],
)
def test_langevin_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        AnnealedLangevin(torch.tensor([0.5, 0.0]), **options)(
            centred(VE()), torch.ones(1, 1, 1), started=True
        )
