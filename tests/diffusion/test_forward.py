import pytest
import torch

from wavediff.diffusion.curve import log_snr_curve
from wavediff.diffusion.exploding import EDM, VE
from wavediff.diffusion.forward import diffuse, transition
from wavediff.diffusion.schedule import VP, RectifiedFlow, SubVP, linear

SCHEDULES = [
    VP(),
    RectifiedFlow(),
    linear(50, 1e-4, 0.05),
    SubVP(),
    VE(),
    EDM(),
    log_snr_curve([1e-3, 0.5, 1.0], [13.0, 0.0, -9.0]),
]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_marginals_composed_over_any_two_times_equal_the_direct_one(schedule):
    s, t = 0.2 * schedule.t_max, 0.7 * schedule.t_max
    a, b, c = transition(schedule, s, t)
    torch.testing.assert_close(a * schedule.alpha(s), schedule.alpha(t), rtol=1e-12, atol=0)
    variance = a**2 * schedule.sigma(s) ** 2 + c**2
    torch.testing.assert_close(variance, schedule.sigma(t) ** 2, rtol=1e-12, atol=0)
    assert b == 0


def test_one_step_of_the_discrete_chain_has_its_beta():
    betas = torch.linspace(1e-4, 0.05, 50, dtype=torch.float64)
    schedule = linear(50, 1e-4, 0.05)
    for n in (1, 25, 50):
        a, _, c = transition(schedule, float(n - 1), float(n))
        assert float(c**2) == pytest.approx(float(betas[n - 1]), rel=1e-9)
        assert float(a**2) == pytest.approx(float(1 - betas[n - 1]), rel=1e-12)


def test_diffuse_takes_one_time_per_item():
    schedule = RectifiedFlow()
    x0, eps = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    x = diffuse(schedule, x0, torch.tensor([0.25, 1.0]), eps)
    torch.testing.assert_close(x[0], 0.75 * x0[0] + 0.25 * eps[0])
    torch.testing.assert_close(x[1], eps[1])
