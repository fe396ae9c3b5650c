import pytest
import torch

from wavediff.diffusion import search, times
from wavediff.diffusion.anchored import Bridge
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.ddim import DDIM
from wavediff.diffusion.exact import Gaussian, Mixture
from wavediff.diffusion.exploding import EDM
from wavediff.diffusion.schedule import VP

F64 = torch.float64
MIXTURES = {
    "wide": ([0.3, 0.7], [-1.0, 1.5], [0.4, 0.3]),
    "three": ([0.2, 0.5, 0.3], [-2.0, 0.1, 1.5], [0.3, 0.1, 0.6]),
    "narrow": ([0.5, 0.5], [-1.0, 1.0], [0.05, 0.05]),
}
# equally likely noise, so that a mean over it is a mean over samples
Z = torch.special.ndtri((torch.arange(64, dtype=F64) + 0.5) / 64).reshape(1, 1, -1)
STEPS = [4, 5, 6, 7, 8]


@pytest.fixture(scope="module", params=MIXTURES)
def problem(request):
    """(error of a grid against the exact flow, the run, the schedule, the mixture's name)."""
    schedule = VP()
    mixture = Mixture(schedule, *map(torch.tensor, MIXTURES[request.param]))
    exact = mixture.flow(Z, schedule.t_max, 0.0)
    uniform = [times.uniform(n)(schedule) for n in STEPS]
    run = search.reference_run(mixture, Z, Condition(), *uniform)

    def error(grid):
        sample = DDIM(grid)(mixture, Z, started=True)
        return float((sample - exact).square().mean().sqrt())

    return error, run, schedule, request.param


@pytest.mark.parametrize("steps", STEPS)
def test_the_programmed_grid_is_better_than_those_by_formula(problem, steps):
    error, run, schedule, name = problem
    grid, uniform = search.dynamic_programming(run, steps), times.uniform(steps)(schedule)
    assert len(grid) == steps + 1
    assert search.path_cost(run, grid) <= search.path_cost(run, uniform)
    assert error(grid) < error(uniform)
    if name != "narrow":  # nearly point masses, whose last steps are exact
        assert error(grid) < error(times.log_snr_uniform(steps)(schedule))


@pytest.mark.parametrize("steps", STEPS)
def test_equal_straightness_is_better_than_equal_steps(problem, steps):
    error, run, schedule, _ = problem
    grid = search.equal_straightness(run, steps)
    assert len(grid) == steps + 1
    assert error(grid) < error(times.uniform(steps)(schedule))


def test_programming_finds_the_cheapest_of_all_paths(problem):
    _, run, _, _ = problem
    costs = search.jump_costs(run)
    through = costs[0, :] + costs[:, -1]
    assert search.path_cost(run, search.dynamic_programming(run, 2)) == pytest.approx(
        float(through.min()), rel=1e-12
    )
    assert search.dynamic_programming(run, 1).tolist() == [1.0, 0.0]
    assert search.equal_straightness(run, 1).tolist() == [1.0, 0.0]


def test_a_jump_costs_the_ddim_step_s_distance_from_the_teacher():
    schedule = EDM(sigma_max=5.0)
    exact = Gaussian(schedule, torch.zeros(3), torch.tensor([0.5, 1.0, 0.01]))
    run = search.reference_run(exact, torch.randn(4, 1, 3, dtype=F64), Condition())
    i, j = 10, 40
    t, s = run.times[i], run.times[j]
    x = DDIM(torch.stack([t, s]))(exact, run.x[i], started=True)
    expected = (x - run.x[j]).square().mean().sqrt() / run.x[j].square().mean().sqrt()
    costs = search.jump_costs(run)
    assert float(costs[i, j]) == pytest.approx(float(expected), rel=1e-12)
    assert costs[j, i] == torch.inf


def test_a_path_towards_a_known_signal_is_searched_too():
    bridge, y = Bridge(), torch.randn(2, 1, 3, dtype=F64)

    def denoiser(x, t, cond):
        return x * (1 - 0.3 * t**2)

    denoiser.schedule = bridge
    cond = Condition(anchor=y)
    run = search.reference_run(denoiser, torch.randn(2, 1, 3, dtype=F64), cond)
    assert torch.equal(run.x[0], y)
    t, s = run.times[5], run.times[9]
    x = DDIM(torch.stack([t, s]))(denoiser, run.x[5], cond, started=True)
    expected = (x - run.x[9]).square().mean().sqrt() / run.x[9].square().mean().sqrt()
    assert float(search.jump_costs(run)[5, 9]) == pytest.approx(float(expected), rel=1e-12)
    for method in (search.dynamic_programming, search.equal_straightness):
        grid = method(run, 4)
        assert len(grid) == 5
        assert (grid.diff() < 0).all()
