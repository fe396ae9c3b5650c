"""Search for the grid of times with the smallest error, for a denoiser and a number of steps.

Both methods use one run of the denoiser with many steps as the reference.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import DenoiserLike
from wavediff.diffusion.exponential import DPMpp2M
from wavediff.diffusion.forward import diffuse
from wavediff.diffusion.reverse import noise_estimate, start
from wavediff.diffusion.schedule import Schedule, as_float64
from wavediff.diffusion.times import log_snr_uniform, uniform

FINE = 32  # steps of the reference that are equal in time, and as many equal in log-SNR


@dataclass(frozen=True)
class ReferenceRun:
    """A run of a denoiser over a batch with many steps.

    Attributes:
        schedule: of the denoiser.
        times: float64 ``[n + 1]``, descending from ``t_max`` to 0.
        x: the states at these times, ``[n + 1, batch, ...]``.
        x0_hat, eps_hat: the estimates at all times but the last, ``[n, batch, ...]``.
        cond: conditions of the denoiser.
    """

    schedule: Schedule
    times: Tensor
    x: Tensor
    x0_hat: Tensor
    eps_hat: Tensor
    cond: Condition


@torch.no_grad()
def reference_run(
    denoiser: DenoiserLike, z: Tensor, cond: Condition | None = None, *grids: Tensor
) -> ReferenceRun:
    """Run DPM-Solver++(2M) on a grid that is dense in time and in log-SNR.

    Args:
        denoiser: to run.
        z: standard normal noise, ``[batch, ...]``.
        cond: conditions of the denoiser; none by default.
        grids: times to include, each ``[times]``.
    """
    cond = Condition() if cond is None else cond
    schedule = denoiser.schedule
    equal = uniform(FINE)(schedule)
    # the network was not trained below t_min
    fine = [equal[(equal >= schedule.t_min) | (equal == 0)], *grids]
    ends = schedule.log_snr(as_float64([schedule.t_max, schedule.t_min]))
    if torch.isfinite(ends).all():
        fine.append(log_snr_uniform(FINE)(schedule))
    grid = torch.cat(fine).unique().flip(0)
    walk = list(DPMpp2M(grid).walk(denoiser, z, cond))
    states = [start(schedule, grid[0], z, cond), *(state.x for state in walk)]
    x0_hats = [state.x0_hat for state in walk]
    eps_hats = [
        noise_estimate(schedule, x, x0_hat, t, cond)
        for x, x0_hat, t in zip(states, x0_hats, grid, strict=False)
    ]
    x, x0_hat, eps_hat = (torch.stack(parts) for parts in (states, x0_hats, eps_hats))
    return ReferenceRun(schedule, grid, x, x0_hat, eps_hat, cond)


def equal_straightness(run: ReferenceRun, steps: int) -> Tensor:
    """The grid with equal changes of x0_hat in each step, ``[steps + 1]``.

    A first-order step assumes that x0_hat is constant; its error is the change of x0_hat along the
    reference, as a root mean square over the batch. (Changes of eps_hat are neglected: they are
    large only near the clean end, where they have little weight.)
    """
    length = _rms(run.x0_hat.diff(dim=0)).cumsum(0)
    length = torch.cat([length.new_zeros(1), length])
    target = torch.linspace(0, float(length[-1]), steps + 1, dtype=torch.float64)[1:-1]
    after = torch.searchsorted(length, target).clamp(1, len(length) - 1)
    fraction = (target - length[after - 1]) / (length[after] - length[after - 1])
    t = run.times
    inner = torch.lerp(t[after - 1], t[after], fraction)
    return torch.cat([t[:1], inner, t[-1:]])


def jump_costs(run: ReferenceRun) -> Tensor:
    """The relative error of one DDIM step from time i to time j, ``[n + 1, n + 1]``.

    The root mean square of the difference to the state of the reference at j, divided by that of
    the state, so that errors at different noise levels are comparable. Infinite for j <= i.
    """
    grid, scale = run.times, _rms(run.x)
    costs = torch.full((len(grid), len(grid)), torch.inf, dtype=torch.float64)
    for i in range(len(grid) - 1):
        later = slice(i + 1, None)
        ends = run.x0_hat[i][None], grid[later], run.eps_hat[i][None]
        x = diffuse(run.schedule, *ends, run.cond)
        costs[i, later] = _rms(x - run.x[later]) / scale[later]
    return costs


def dynamic_programming(run: ReferenceRun, steps: int) -> Tensor:
    """The grid with the smallest sum of ``jump_costs``, ``[steps + 1]``.

    After GITS (Chen et al. 2024, "On the trajectory regularity of ODE-based diffusion sampling",
    algorithm 1). The costs are those of DDIM; samplers of higher order improve as well.
    """
    costs = jump_costs(run)
    total = torch.full((len(costs),), torch.inf, dtype=torch.float64)
    total[0] = 0
    origins = []
    for _ in range(steps):
        total, origin = (total[:, None] + costs).min(0)
        origins.append(origin)
    path = [len(costs) - 1]
    for origin in reversed(origins):
        path.append(int(origin[path[-1]]))
    return run.times[path[::-1]]


def path_cost(run: ReferenceRun, grid: Tensor) -> float:
    """The sum of ``jump_costs`` over the steps of a grid of times of the reference."""
    nodes = torch.searchsorted(-run.times, -as_float64(grid))
    return float(jump_costs(run)[nodes[:-1], nodes[1:]].sum())


def _rms(x: Tensor) -> Tensor:
    """Root mean square over all dimensions but the first, float64 on the CPU."""
    return x.flatten(1).square().mean(1).sqrt().double().cpu()
