import sys

import pytest
import torch
from orders import mixture

from wavediff.diffusion import times
from wavediff.diffusion.adaptive import Adaptive
from wavediff.diffusion.anchored import Bridge
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.exact import Gaussian
from wavediff.diffusion.exploding import EDM, VE
from wavediff.diffusion.flow import MAX_STEPS, coordinate, norm
from wavediff.diffusion.schedule import VP, RectifiedFlow, SubVP, linear

MU, C = torch.tensor([0.3, -1.0, 2.0]), torch.tensor([0.5, 1.0, 0.01])


@pytest.fixture(autouse=True)
def _torchdiffeq():
    pytest.importorskip("torchdiffeq")


def start():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(5, 1, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("schedule", [VP(), SubVP(), VE(), EDM(), RectifiedFlow(), linear(50)])
def test_the_flow_of_a_gaussian_to_the_tolerance(schedule):
    exact, calls = Gaussian(schedule, MU, C), []

    def counting(x, t, cond):
        assert grid[1] <= t <= grid[0]
        calls.append(t)
        return exact(x, t, cond)

    counting.schedule = schedule
    # from pure noise where there is any
    grid = times.uniform_to_t_min(2)(schedule)[:2]
    x = start() * float(norm(schedule, grid[0]))
    found = Adaptive(grid)(counting, x, started=True)
    torch.testing.assert_close(found, exact.flow(x, *grid), rtol=0, atol=5e-4)
    assert len(calls) < 100


def test_the_flow_of_a_mixture_and_a_finer_tolerance():
    exact, z = mixture(EDM())
    grid = torch.tensor([10.0, 0.05], dtype=torch.float64)
    x = 10 * z
    # the flow drives apart what lies between the modes, so errors grow on the way
    for tolerance, limit in ((1e-4, 2e-2), (1e-6, 5e-4)):
        missed = Adaptive(grid, rtol=tolerance, atol=tolerance)(exact, x, started=True)
        missed = float((missed - exact.flow(x, *grid)).abs().max())
        assert missed < limit
    assert missed > 1e-10


def test_the_grid_is_kept_and_ends_in_the_estimate():
    schedule = RectifiedFlow()
    exact = Gaussian(schedule, MU, C)
    grid = torch.tensor([1.0, 0.5, 0.1, 0.0], dtype=torch.float64)
    states = list(Adaptive(grid, rtol=1e-6, atol=1e-6).walk(exact, start(), started=True))
    assert [state.t for state in states] == grid[1:].tolist()
    for _, t, x, x0_hat in states[:2]:
        torch.testing.assert_close(x, exact.flow(start(), 1.0, t), rtol=0, atol=1e-4)
        torch.testing.assert_close(x0_hat, exact(x, t), rtol=0, atol=1e-3)
    torch.testing.assert_close(states[2].x, exact(states[1].x, 0.1), rtol=0, atol=1e-12)


def test_a_bridge_starts_from_its_known_signal():
    schedule, y = Bridge(), start()

    class Estimate:
        def __init__(self):
            self.schedule = schedule

        def __call__(self, x, t, cond):
            return MU.double().expand_as(x)  # a point mass: the path is known

    grid = torch.tensor([1.0, 0.4], dtype=torch.float64)
    found = Adaptive(grid)(Estimate(), y, Condition(anchor=y), started=True)
    expected = schedule.alpha(0.4) * MU + schedule.anchor(0.4) * y
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_single_precision_is_kept():
    exact = Gaussian(VP(), MU, C)

    def single(x, t, cond):
        assert x.dtype == torch.float32
        return exact(x, t, cond).float()

    single.schedule = exact.schedule
    found = Adaptive(torch.tensor([1.0, 0.01, 0.0]))(single, start().float(), started=True)
    assert found.dtype == torch.float32


def test_a_tolerance_out_of_reach_is_one_sentence():
    denoiser = Gaussian(VP(), MU, C)
    with pytest.raises(ValueError, match="use larger tolerances"):
        Adaptive(torch.tensor([0.9, 0.1]), rtol=0, atol=1e-30)(
            denoiser, start().float(), started=True
        )
    assert Adaptive([0.9, 0.1]).calls(VP()) == MAX_STEPS * 6 + 2


def test_without_torchdiffeq_the_check_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    with pytest.raises(ImportError, match=r"wavediff\[ode\]"):
        Adaptive([1.0, 0.0]).walk(Gaussian(VP(), MU, C), start())


def test_the_coordinate_is_that_of_the_ratio():
    for schedule in (VP(), EDM(), RectifiedFlow()):
        w = coordinate(schedule, 0.6)
        ratio = schedule.alpha(0.6) / norm(schedule, 0.6)
        torch.testing.assert_close(torch.tanh(w), ratio, rtol=1e-12, atol=0)
