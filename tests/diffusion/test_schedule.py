import pytest
import torch

from wavediff.diffusion import times
from wavediff.diffusion.curve import log_snr_curve
from wavediff.diffusion.exploding import EDM, VE
from wavediff.diffusion.schedule import (
    VP,
    DiscreteBetas,
    RectifiedFlow,
    SubVP,
    cosine,
    linear,
    log1mexp,
    zero_terminal_snr,
)

SCHEDULES = {
    "linear": linear(1000),
    "diffwave": linear(50, 1e-4, 0.05),
    "cosine": cosine(100),
    "vp": VP(),
    "flow": RectifiedFlow(),
    "subvp": SubVP(),
    "ve": VE(),
    "edm": EDM(),
    "curve": log_snr_curve([1e-3, 0.25, 0.5, 0.75, 1.0], [13.0, 1.8, 0.0, -1.8, -9.0]),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_log_snr_is_decreasing_and_inverted_by_time_at(name):
    schedule = SCHEDULES[name]
    t = torch.linspace(schedule.t_min, schedule.t_max, 57, dtype=torch.float64)[1:-1]
    log_snr = schedule.log_snr(t)
    assert (log_snr.diff() < 0).all()
    torch.testing.assert_close(schedule.time_at(log_snr), t, rtol=1e-9, atol=1e-9)
    assert schedule.alpha(0.0) == 1
    assert schedule.sigma(0.0) == 0


@pytest.mark.parametrize("name", ["linear", "diffwave", "cosine", "vp", "curve"])
def test_variance_preserving(name):
    schedule = SCHEDULES[name]
    t = torch.linspace(0, schedule.t_max, 101, dtype=torch.float64)
    torch.testing.assert_close(
        schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2,
        torch.ones_like(t),
        rtol=0,
        atol=1e-14,
    )


def test_sigma_keeps_its_digits_near_the_clean_end():
    # sigma^2 = 1 - exp(-b) with b = beta_min t + (beta_max - beta_min) t^2 / 2 = b - b^2/2 + b^3/6
    t = 1e-5
    b = 0.1 * t + 19.9 * t**2 / 2
    exact = (b - b**2 / 2 + b**3 / 6) ** 0.5
    assert float(VP().sigma(t)) == pytest.approx(exact, rel=1e-13)


def test_log1mexp_at_both_ends():
    # log(1 - e^x): log(-x) + x/2 near 0, -e^x far from it
    x = torch.tensor([-1e-12, -1e-9, -30.0, -40.0], dtype=torch.float64)
    expected = torch.cat([(-x[:2]).log() + x[:2] / 2, -x[2:].exp()])
    torch.testing.assert_close(log1mexp(x), expected, rtol=1e-12, atol=0)
    middle = torch.tensor([-0.5, -0.7, -2.0], dtype=torch.float64)
    torch.testing.assert_close(log1mexp(middle), (1 - middle.exp()).log(), rtol=1e-14, atol=0)
    assert log1mexp(torch.zeros((), dtype=torch.float64)) == -torch.inf


@pytest.mark.parametrize("schedule", [VP(), RectifiedFlow(), SubVP()])
def test_derivatives_agree_with_finite_differences(schedule):
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    h = 1e-5
    d_alpha, _, d_sigma = schedule.derivatives(t)
    for exact, f in ((d_alpha, schedule.alpha), (d_sigma, schedule.sigma)):
        torch.testing.assert_close(exact, (f(t + h) - f(t - h)) / (2 * h), rtol=1e-7, atol=1e-8)


def test_discrete_nodes_are_the_cumulative_products():
    betas = torch.linspace(1e-4, 0.05, 50, dtype=torch.float64)
    alpha_bar = torch.cumprod(1 - betas, 0)
    t = torch.arange(1, 51, dtype=torch.float64)
    torch.testing.assert_close(linear(50, 1e-4, 0.05).alpha(t) ** 2, alpha_bar, rtol=1e-14, atol=0)
    assert float(alpha_bar[-1]) == pytest.approx(0.2797, abs=1e-4)


def test_between_nodes_alpha_is_linear():
    schedule = linear(50, 1e-4, 0.05)
    a, b = schedule.alpha(torch.tensor([7.0, 8.0], dtype=torch.float64))
    assert float(schedule.alpha(7.25)) == pytest.approx(float(0.75 * a + 0.25 * b), rel=1e-14)


def test_training_times_are_the_nodes_of_a_discrete_schedule():
    u = torch.tensor([0.0, 0.0199, 0.02, 0.999], dtype=torch.float64)
    assert linear(50).quantile(u).tolist() == [1.0, 1.0, 2.0, 50.0]
    assert VP(t_min=0.1).quantile(torch.tensor([0.5])).tolist() == pytest.approx([0.55])


def test_diffwave_fast_steps_of_the_public_code_bases():
    base = times.from_betas([1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5])(linear(50, 1e-4, 0.05))
    index = linear(50, 1e-4, 0.05).c_noise(base).flip(0)[1:]
    expected = [0, 0.8941, 4.0867, 10.4518, 22.9925, 42.9186]
    assert index.tolist() == pytest.approx(expected, abs=5e-5)
    large = linear(200, 1e-4, 0.02)
    index = large.c_noise(times.from_betas([1e-4, 1e-3, 0.01, 0.05, 0.2, 0.7])(large)).flip(0)[1:]
    expected = [0, 3.2007, 13.4303, 33.8203, 73.9825, 170.6051]
    assert index.tolist() == pytest.approx(expected, abs=5e-5)


def test_a_fast_level_noisier_than_training_is_refused():
    with pytest.raises(ValueError, match="noisiest level"):
        times.from_betas([1e-4, 0.5, 0.9])(linear(50, 1e-4, 0.05))


def test_zero_terminal_snr_moves_only_the_scale():
    before, after = linear(1000), zero_terminal_snr(linear(1000))
    t = torch.tensor([1.0, 400.0, 1000.0], dtype=torch.float64)
    first, _, last = before.alpha(t)
    assert after.alpha(1000.0) == 0
    expected = (before.alpha(t) - last) * first / (first - last)
    torch.testing.assert_close(after.alpha(t), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("betas", [[], [0.0, 0.1], [0.5, 1.0, 0.5], [-0.1], [1.5]])
def test_betas_out_of_range_are_refused(betas):
    with pytest.raises(ValueError, match="betas"):
        DiscreteBetas(betas)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: VP(t_min=65_536.0), "0 < t_min < 1"),
        (lambda: VP(t_min=0.0), "0 < t_min < 1"),
        (lambda: SubVP(20.0, 0.1), "beta_min < beta_max"),
        (lambda: VP(-1.0, 20.0), "0 <= beta_min"),
        (lambda: RectifiedFlow(t_min=1.0), "0 < t_min < 1"),
    ],
)
def test_continuous_schedules_out_of_range_are_refused(make, reason):
    with pytest.raises(ValueError, match=reason):
        make()


def test_grids_descend_to_the_clean_end():
    for schedule in SCHEDULES.values():
        grid = times.uniform(7)(schedule)
        assert len(grid) == 8
        assert (grid.diff() < 0).all()
        assert grid[-1] == 0
    grid = times.log_snr_uniform(9)(VP())
    steps = VP().log_snr(grid[:-1]).diff()
    torch.testing.assert_close(steps, steps[:1].expand(8), rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match="finite"):
        times.log_snr_uniform(4)(RectifiedFlow())
    with pytest.raises(ValueError, match="at least 1 step"):
        times.uniform(0)(VP())
    with pytest.raises(ValueError, match="no levels"):
        times.nodes()(VP())
