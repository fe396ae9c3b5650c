import pytest
import torch
from closed_forms import NOTHING, Gaussian, Mixture

from wavediff.diffusion import reverse, search, times
from wavediff.diffusion.anchored import BridgeVE
from wavediff.diffusion.condition import Condition
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
    """(error of a grid against the exact flow, the teacher, the schedule, the mixture's name)."""
    schedule = VP()
    mixture = Mixture(schedule, *map(torch.tensor, MIXTURES[request.param]))
    exact = mixture.flow(Z, schedule.t_max, 0.0)
    uniform = [times.uniform(schedule, n) for n in STEPS]
    teacher = search.teach(mixture, Z, NOTHING, *uniform)

    def error(grid):
        sample = reverse.ddim(mixture, Z, grid, NOTHING)
        return float((sample - exact).square().mean().sqrt())

    return error, teacher, schedule, request.param


@pytest.mark.parametrize("steps", STEPS)
def test_the_programmed_grid_is_better_than_those_by_formula(problem, steps):
    error, teacher, schedule, name = problem
    grid, uniform = search.dynamic_programming(teacher, steps), times.uniform(schedule, steps)
    assert len(grid) == steps + 1
    assert search.path_cost(teacher, grid) <= search.path_cost(teacher, uniform)
    assert error(grid) < error(uniform)
    if name != "narrow":  # nearly point masses, whose last steps are exact
        assert error(grid) < error(times.log_snr_uniform(schedule, steps))


@pytest.mark.parametrize("steps", STEPS)
def test_equal_straightness_is_better_than_equal_steps(problem, steps):
    error, teacher, schedule, _ = problem
    grid = search.equal_straightness(teacher, steps)
    assert len(grid) == steps + 1
    assert error(grid) < error(times.uniform(schedule, steps))


def test_programming_finds_the_cheapest_of_all_paths(problem):
    _, teacher, _, _ = problem
    costs = search.jump_costs(teacher)
    through = costs[0, :] + costs[:, -1]
    assert search.path_cost(teacher, search.dynamic_programming(teacher, 2)) == pytest.approx(
        float(through.min()), rel=1e-12
    )
    assert search.dynamic_programming(teacher, 1).tolist() == [1.0, 0.0]
    assert search.equal_straightness(teacher, 1).tolist() == [1.0, 0.0]


def test_a_jump_costs_the_ddim_step_s_distance_from_the_teacher():
    schedule = EDM(sigma_max=5.0)
    exact = Gaussian(schedule, torch.zeros(3), torch.tensor([0.5, 1.0, 0.01]))
    teacher = search.teach(exact, torch.randn(4, 1, 3, dtype=F64), NOTHING)
    i, j = 10, 40
    t, s = teacher.times[i], teacher.times[j]
    x = reverse.ddim(exact, teacher.x[i], torch.stack([t, s]), NOTHING)
    expected = (x - teacher.x[j]).square().mean().sqrt() / teacher.x[j].square().mean().sqrt()
    costs = search.jump_costs(teacher)
    assert float(costs[i, j]) == pytest.approx(float(expected), rel=1e-12)
    assert costs[j, i] == torch.inf


def test_a_path_towards_a_known_signal_is_searched_too():
    bridge, y = BridgeVE(), torch.randn(2, 1, 3, dtype=F64)

    def denoiser(x, t, cond):
        return x * (1 - 0.3 * t**2)

    denoiser.schedule = bridge
    cond = Condition(anchor=y)
    teacher = search.teach(denoiser, torch.randn(2, 1, 3, dtype=F64), cond)
    assert torch.equal(teacher.x[0], y)
    t, s = teacher.times[5], teacher.times[9]
    x = reverse.ddim(denoiser, teacher.x[5], torch.stack([t, s]), cond)
    expected = (x - teacher.x[9]).square().mean().sqrt() / teacher.x[9].square().mean().sqrt()
    assert float(search.jump_costs(teacher)[5, 9]) == pytest.approx(float(expected), rel=1e-12)
    for method in (search.dynamic_programming, search.equal_straightness):
        grid = method(teacher, 4)
        assert len(grid) == 5
        assert (grid.diff() < 0).all()
