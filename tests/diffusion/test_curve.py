import pytest
import torch
from orders import slope

from wavediff.diffusion.curve import LogSNR, MonotoneCubic, log_snr_curve
from wavediff.diffusion.ddim import DDIM
from wavediff.diffusion.exact import Gaussian
from wavediff.diffusion.forward import sde
from wavediff.diffusion.schedule import VP

NODES, VALUES = [1e-3, 0.1, 0.6, 1.0], [12.0, 6.0, 5.9, -8.0]


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_the_curve_passes_through_its_points_and_never_turns():
    schedule = log_snr_curve(NODES, VALUES)
    assert (schedule.t_min, schedule.t_max) == (1e-3, 1.0)
    torch.testing.assert_close(schedule.log_snr(f64(*NODES)), f64(*VALUES), rtol=1e-14, atol=1e-14)
    fine = torch.linspace(1e-3, 1, 5001, dtype=torch.float64)
    assert (schedule.log_snr(fine).diff() < 0).all()


def test_the_slopes_inside_are_pchip_s_and_those_at_the_ends_the_chords():
    # Fritsch & Butland 1984: a weighted harmonic mean of the chords on either side
    x, y = f64(0, 1, 3, 4), f64(0, -1, -7, -8)
    first, second = -1.0, -3.0
    expected = 9 / ((2 * 2 + 1) / first + (2 + 2 * 1) / second)
    curve = MonotoneCubic(x, y)
    assert curve.slope[1] == pytest.approx(expected, rel=1e-14)
    assert (curve.slope[0], curve.slope[-1]) == (-1, -1)
    at = f64(0.3, 1.0, 2.2, 3.9).requires_grad_()
    (slopes,) = torch.autograd.grad(curve(at).sum(), at)
    h = 1e-6
    differences = (curve(at.detach() + h) - curve(at.detach() - h)) / (2 * h)
    torch.testing.assert_close(slopes, differences, rtol=1e-6, atol=1e-6)
    assert float(slopes[1]) == pytest.approx(expected, rel=1e-12)


def test_a_straight_line_stays_one():
    curve = MonotoneCubic(f64(0, 0.1, 0.7, 1), 3 - 8 * f64(0, 0.1, 0.7, 1))
    x = torch.linspace(0, 1, 101, dtype=torch.float64)
    torch.testing.assert_close(curve(x), 3 - 8 * x, rtol=0, atol=1e-14)


def test_a_function_of_the_users_own_gives_the_schedule_that_it_is_the_log_snr_of():
    vp = VP()
    ours = LogSNR(vp.log_snr, t_min=1e-3)
    t = torch.linspace(1e-3, 1, 50, dtype=torch.float64)
    torch.testing.assert_close(ours.alpha(t), vp.alpha(t), rtol=1e-12, atol=0)
    torch.testing.assert_close(ours.sigma(t), vp.sigma(t), rtol=1e-12, atol=0)
    for a, b in zip(sde(ours, t), sde(vp, t), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_below_the_first_point_the_noise_falls_in_proportion_to_time():
    schedule = log_snr_curve(NODES, VALUES)
    ratio = schedule.sigma(f64(1e-3, 5e-4, 1e-9)) / schedule.alpha(f64(1e-3, 5e-4, 1e-9))
    torch.testing.assert_close(ratio / ratio[0], f64(1, 0.5, 1e-6), rtol=1e-12, atol=0)
    assert schedule.sigma(0.0) == 0
    assert schedule.alpha(0.0) == 1
    d_alpha, _, d_sigma = schedule.derivatives(f64(1e-4, 1e-3, 0.5))
    assert torch.isfinite(torch.stack([d_alpha, d_sigma])).all()
    # at the first point the slope is the curve's alone
    slope_of_curve = -6 / 0.099
    assert float(sde(schedule, 1e-3)[2]) == pytest.approx(
        -float(schedule.sigma(1e-3) ** 2) * slope_of_curve, rel=1e-9
    )


def test_samplers_converge_to_the_exact_flow():
    schedule = log_snr_curve([1e-3, 0.3, 0.7, 1.0], [13.0, 3.0, -1.0, -9.0])
    exact = Gaussian(schedule, f64(0.3, -1.0), f64(0.5, 0.05))
    x = torch.linspace(-2, 2, 10, dtype=torch.float64).reshape(5, 1, 2)
    steps, errors = [32, 64, 128], []
    for n in steps:
        grid = torch.linspace(0.9, 0.05, n + 1, dtype=torch.float64)
        sample = DDIM(grid)(exact, x, started=True)
        errors.append(float((sample - exact.flow(x, 0.9, 0.05)).abs().max()))
    assert slope(steps, errors) == pytest.approx(1, abs=0.15)
    assert errors[-1] < 2e-2


@pytest.mark.parametrize(
    ("times", "values", "message"),
    [
        ([0.0, 1.0], [1.0, 0.0], "t_min"),
        ([0.1], [1.0], "at least two"),
        ([0.1, 1.0], [1.0], "as many"),
        ([0.1, 1.0], [0.0, 1.0], "decreasing"),
        ([0.1, 0.1], [1.0, 0.0], "increasing"),
        ([0.1, 1.0], [float("inf"), 0.0], "finite"),
    ],
)
def test_points_that_make_no_curve_are_refused(times, values, message):
    with pytest.raises(ValueError, match=message):
        log_snr_curve(times, values)


def test_a_function_that_rises_or_is_infinite_is_refused():
    with pytest.raises(ValueError, match="decrease"):
        LogSNR(torch.sin)
    with pytest.raises(ValueError, match="finite"):
        LogSNR(lambda t: torch.log1p(-t))
