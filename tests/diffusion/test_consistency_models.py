"""Closed form 9: consistency models of Gaussian data, with a network of one gain per time."""

import math
from functools import partial

import pytest
import torch
from orders import slope
from torch import Tensor, nn

from wavediff.diffusion import preconditioning, times
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.consistency_models import (
    ConsistencyDistillation,
    ConsistencyTraining,
    OnSchedule,
)
from wavediff.diffusion.ddim import DDIM, ddim_step
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.exact import Gaussian
from wavediff.diffusion.exploding import EDM
from wavediff.diffusion.heun import Heun, heun_step
from wavediff.diffusion.schedule import VP, RectifiedFlow

C = 0.3  # variance of x_0
# first and second moments of x_0 and eps are exact over these four frames
X0 = math.sqrt(C) * torch.tensor([1, 1, -1, -1], dtype=torch.float64)
EPS = torch.tensor([1, -1, 1, -1], dtype=torch.float64)

EDM_SMALL = EDM(sigma_min=0.05, sigma_max=8.0)
SCHEDULES = [
    pytest.param(EDM_SMALL, partial(times.karras, rho=3.0), id="edm"),
    pytest.param(VP(t_min=1e-2), partial(times.log_snr_uniform), id="vp"),
    pytest.param(RectifiedFlow(t_min=1e-2), times.uniform, id="flow"),
]


class Gains(nn.Module):
    """F(x, t) = w(t) x with a weight for each time of a grid; c_noise names the time."""

    def __init__(self, schedule, grid: Tensor) -> None:
        super().__init__()
        self.codes = schedule.c_noise(grid)
        self.weights = nn.Parameter(torch.zeros(len(grid), dtype=torch.float64))

    def forward(self, x: Tensor, c_noise: Tensor, cond) -> Tensor:
        i = (self.codes[None] - c_noise[:, None].double()).abs().argmin(1)
        return self.weights[i][:, None, None] * x


def student(schedule, objective) -> tuple[Denoiser, Tensor]:
    grid = objective.grid(schedule)
    return Denoiser(Gains(schedule, grid), schedule, preconditioning.consistency), grid


def every_pair(objective, schedule, grid: Tensor) -> Tensor:
    """Quantiles that draw each pair once."""
    u = torch.linspace(0, 1, 200_001, dtype=torch.float64)[:-1]
    t, _ = objective.pairs(schedule, u)
    return torch.stack([u[(t == time).nonzero().flatten()].median() for time in grid[1:]])


def train(objective, schedule) -> tuple[Denoiser, Tensor]:
    """Newton steps, which solve each time for its neighbour's target; one for each time."""
    denoiser, grid = student(schedule, objective)
    u = every_pair(objective, schedule, grid)
    n = len(u)
    x0, eps = X0.expand(n, 1, 4), EPS.expand(n, 1, 4)
    weights = denoiser.network.weights
    for _ in range(n):
        loss = objective(denoiser, x0, Condition(), u=u, eps=eps).loss.sum()
        (slope_,) = torch.autograd.grad(loss, weights, create_graph=True)
        (curve,) = torch.autograd.grad(slope_.sum(), weights)
        with torch.no_grad():
            weights[1:] -= slope_[1:] / curve[1:]
    return denoiser, grid


def gains(denoiser: Denoiser, grid: Tensor) -> Tensor:
    """f(x, t) / x at each time."""
    one = torch.ones(len(grid), 1, 1, dtype=torch.float64)
    return denoiser(one, grid, Condition()).flatten().detach()


class Exact(nn.Module):
    """The exact denoiser, with times per item."""

    def __init__(self, schedule) -> None:
        super().__init__()
        self.schedule = schedule
        self.gaussian = Gaussian(schedule, torch.zeros(1), torch.full((1,), C, dtype=torch.float64))

    def forward(self, x: Tensor, t: Tensor, cond) -> Tensor:
        return self.gaussian(x, t[:, None, None])


def solver_steps(solver, teacher, grid: Tensor) -> Tensor:
    """x_s / x_t of one step from each time to the one below."""
    one = torch.ones(len(grid) - 1, 1, 1, dtype=torch.float64)
    return solver(teacher, one, grid[1:], grid[:-1], Condition())[0].flatten()


def product(steps: Tensor) -> Tensor:
    return torch.cat([torch.ones(1, dtype=torch.float64), steps.cumprod(0)])


def euler_steps(schedule, grid: Tensor) -> Tensor:
    """E[x_s x_t] / E[x_t^2] with the same x_0 and eps: what regression of x_s on x_t gives, and
    for sigma = t the Euler step 1 + (s - t) t / (c + t^2)."""
    alpha, sigma = schedule.alpha(grid), schedule.sigma(grid)
    joint = alpha[1:] * alpha[:-1] * C + sigma[1:] * sigma[:-1]
    return joint / (alpha[1:] ** 2 * C + sigma[1:] ** 2)


@pytest.mark.parametrize("solver", [ddim_step, heun_step])
@pytest.mark.parametrize(("schedule", "grid_of"), SCHEDULES)
def test_distillation_reaches_the_product_of_the_solvers_gains(schedule, grid_of, solver):
    objective = ConsistencyDistillation(grid_of, solver, first=12, last=12, huber=None)
    objective.teacher = Exact(schedule)
    denoiser, grid = train(objective, schedule)
    expected = product(solver_steps(solver, objective.teacher, grid))
    torch.testing.assert_close(gains(denoiser, grid), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("schedule", "grid_of"), SCHEDULES)
def test_training_reaches_the_euler_product(schedule, grid_of):
    objective = ConsistencyTraining(grid_of, first=12, last=12, huber=None)
    denoiser, grid = train(objective, schedule)
    expected = product(euler_steps(schedule, grid))
    torch.testing.assert_close(gains(denoiser, grid), expected, rtol=1e-12, atol=1e-14)


def test_the_euler_product_is_that_of_eulers_method():
    grid = torch.tensor([0.1, 0.4, 1.0, 3.0], dtype=torch.float64)
    steps = solver_steps(ddim_step, Exact(EDM_SMALL), grid)
    torch.testing.assert_close(euler_steps(EDM_SMALL, grid), steps, rtol=1e-14, atol=0)
    euler = 1 + (grid[:-1] - grid[1:]) * grid[1:] / (C + grid[1:] ** 2)
    torch.testing.assert_close(steps, euler, rtol=1e-14, atol=0)


@pytest.mark.parametrize(("solver", "order"), [(ddim_step, 1), (heun_step, 2)])
def test_more_levels_come_to_the_consistency_function(solver, order):
    """f(x, t) = sqrt((c + t_min^2) / (c + t^2)) x, at the order of the solver."""
    counts, errors = [32, 64, 128], []
    for n in counts:
        grid = times.karras(n, rho=3.0)(EDM_SMALL)[:-1].flip(0)
        found = product(solver_steps(solver, Exact(EDM_SMALL), grid))[-1]
        exact = math.sqrt((C + 0.05**2) / (C + 8.0**2))
        errors.append(abs(float(found) / exact - 1))
    assert slope(counts, errors) == pytest.approx(order, abs=0.15)
    assert errors[-1] < 0.05**order


@pytest.mark.parametrize("solver", [ddim_step, heun_step])
def test_a_step_of_each_item_is_that_of_the_sampler(solver):
    sampler = {ddim_step: DDIM, heun_step: Heun}[solver]
    schedule = VP()
    x = torch.randn(2, 1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pairs = torch.tensor([[0.9, 0.5], [0.4, 0.1]], dtype=torch.float64)
    found, _ = solver(Exact(schedule), x, pairs[:, 0], pairs[:, 1], Condition())
    single = Gaussian(schedule, torch.zeros(1), torch.full((1,), C, dtype=torch.float64))
    for i, pair in enumerate(pairs):
        torch.testing.assert_close(
            found[i : i + 1],
            sampler(pair)(single, x[i : i + 1], started=True),
            rtol=1e-13,
            atol=0,
        )


def test_a_teacher_of_another_schedule_leads_along_the_same_flow():
    objective = ConsistencyDistillation(partial(times.karras, rho=3.0), heun_step, huber=None)
    grid = objective.grid(EDM_SMALL)
    own = solver_steps(heun_step, Exact(EDM_SMALL), grid)
    other = OnSchedule(Exact(VP()), EDM_SMALL)
    torch.testing.assert_close(solver_steps(heun_step, other, grid), own, rtol=1e-9, atol=0)


def test_the_grid_doubles_with_progress():
    objective = ConsistencyTraining(times.karras, first=10, last=1280)
    found = []
    for progress in (0.0, 0.124, 0.126, 0.5, 0.874, 0.876, 1.0):
        objective.progress = progress
        found.append(objective.steps())
    assert found == [10, 10, 20, 160, 640, 1280, 1280]
    objective.progress = 0.3
    assert len(objective.grid(EDM())) == 40  # the clean end is left out
    assert objective.grid(EDM())[0] == 0.002


def test_pairs_are_as_likely_as_the_noise_between_them():
    objective = ConsistencyTraining(times.karras, first=20, last=20, mean=-0.4, std=2.0)
    grid = objective.grid(EDM())
    u = torch.linspace(0, 1, 100_001, dtype=torch.float64)[:-1]
    t, s = objective.pairs(EDM(), u)
    below = torch.special.ndtr((grid.log() + 0.4) / 2)
    for i in range(len(grid) - 1):
        drawn = t == grid[i + 1]
        share = (below[i + 1] - below[i]) / (below[-1] - below[0])
        assert drawn.double().mean().item() == pytest.approx(share.item(), abs=2e-5)
        assert (s[drawn] == grid[i]).all()


def test_the_loss_is_pseudo_huber_over_the_distance_of_the_levels():
    objective = ConsistencyTraining(times.karras, first=5, last=5, huber=0.1)
    denoiser, _ = student(EDM_SMALL, objective)
    denoiser.network.weights.data.fill_(0.7)
    u = torch.tensor([0.9], dtype=torch.float64)
    t, s = objective.pairs(EDM_SMALL, u)
    x0, eps = X0[None, None], EPS[None, None]
    found = objective(denoiser, x0, Condition(), u=u, eps=eps)
    error = denoiser(x0 + t * eps, t, Condition()) - denoiser(x0 + s * eps, s, Condition())
    d = 4  # the paper's c is 0.1 sqrt(d), on the norm
    expected = ((error.square().sum() + 0.01 * d).sqrt() - 0.1 * d**0.5) / d**0.5 / (t - s)
    torch.testing.assert_close(found.loss, expected.detach().requires_grad_(), rtol=1e-12, atol=0)
    assert found.t == t
    assert found.log_snr == -2 * t.log()


class Dropping(nn.Module):
    """Without a time, so that both sides of a pair differ by their dropout alone."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = EDM_SMALL
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.masks: list[Tensor] = []

    def forward(self, x: Tensor, t: Tensor, cond) -> Tensor:
        mask = torch.rand(x.shape)
        self.masks.append(mask)
        return self.scale * x * (mask > 0.5)


def test_both_sides_drop_the_same_and_one_has_a_gradient():
    denoiser = Dropping()
    objective = ConsistencyTraining(times.karras, huber=None)
    x0 = torch.zeros(2, 1, 50, dtype=torch.float64)
    u = torch.full((2,), 0.5, dtype=torch.float64)
    t, _ = objective.pairs(EDM_SMALL, u)
    eps = torch.randn_like(x0)
    loss = objective(denoiser, x0, Condition(), u=u, eps=eps).loss.sum()
    assert torch.equal(*denoiser.masks)
    loss.backward()
    kept = (eps * (denoiser.masks[0] > 0.5)).square().mean() * 2
    # d/da (a t - s)^2 at a = 1, over the distance t - s
    expected = 2 * t[0] * kept
    torch.testing.assert_close(denoiser.scale.grad, expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    "options", [{"first": 0}, {"first": 9, "last": 3}, {"std": 0.0}, {"huber": 0.0}]
)
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="needs 1 <= first"):
        ConsistencyTraining(times.karras, **options)


def test_distillation_without_a_teacher_is_refused():
    objective = ConsistencyDistillation(times.karras, ddim_step)
    with pytest.raises(ValueError, match="teacher"):
        objective(Exact(EDM()), X0[None, None])
