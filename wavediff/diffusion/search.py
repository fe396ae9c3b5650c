"""Grids of times found by search: given a denoiser and a number of steps, those that lose least.

Both searches watch one fine run of the denoiser, the teacher, and choose from its times.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wavediff.diffusion import times
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.reverse import dpmpp_2m, noise_estimate, start
from wavediff.diffusion.schedule import Schedule, as_float64

FINE = 32  # the teacher's steps, equal in time, and as many again in log-SNR


@dataclass(frozen=True)
class Teacher:
    """A fine run of a denoiser over a batch.

    Attributes:
        schedule: of the denoiser.
        times: ``[n + 1]``, float64, descending from ``t_max`` to 0.
        x: ``[n + 1, batch, channels, time]``, the state at each.
        x0_hat, eps_hat: ``[n, batch, channels, time]``, the estimates at each but the last.
        anchor: ``[batch, channels, time]``, the known signal y, where there is one.
    """

    schedule: Schedule
    times: Tensor
    x: Tensor
    x0_hat: Tensor
    eps_hat: Tensor
    anchor: Tensor | None


@torch.no_grad()
def teach(denoiser: Denoiser, z: Tensor, cond: Condition, *grids: Tensor) -> Teacher:
    """Run DPM-Solver++(2M) from noise ``z [batch, channels, time]`` over many times.

    They are dense in t and in log-SNR; those of ``grids`` are among them.
    """
    schedule = denoiser.schedule
    equal = times.uniform(schedule, FINE)
    # a network knows nothing below t_min
    fine = [equal[(equal >= schedule.t_min) | (equal == 0)], *grids]
    ends = schedule.log_snr(as_float64([schedule.t_max, schedule.t_min]))
    if torch.isfinite(ends).all():
        fine.append(times.log_snr_uniform(schedule, FINE))
    grid = torch.cat(fine).unique().flip(0)
    states, x0_hats = [start(schedule, grid[0], z, cond)], []

    def keep(i: int, x: Tensor, x0_hat: Tensor) -> None:
        states.append(x)
        x0_hats.append(x0_hat)

    dpmpp_2m(denoiser, states[0], grid, cond, callback=keep)
    eps_hats = [
        noise_estimate(schedule, x, x0_hat, t, cond)
        for x, x0_hat, t in zip(states, x0_hats, grid, strict=False)
    ]
    x, x0_hat, eps_hat = (torch.stack(parts) for parts in (states, x0_hats, eps_hats))
    return Teacher(schedule, grid, x, x0_hat, eps_hat, cond.anchor)


def equal_straightness(teacher: Teacher, steps: int) -> Tensor:
    """The grid whose steps carry equal changes of direction, ``[steps + 1]``.

    A step of first order walks straight towards x0_hat as it was; what it misses is how far x0_hat
    moves meanwhile along the teacher's run, in root mean square over the batch. (The other end of
    the line, eps_hat, is left out: near the clean end it turns much and matters little.)
    """
    moved = _rms(teacher.x0_hat.diff(dim=0)).cumsum(0)
    moved = torch.cat([moved.new_zeros(1), moved])
    target = torch.linspace(0, float(moved[-1]), steps + 1, dtype=torch.float64)[1:-1]
    after = torch.searchsorted(moved, target).clamp(1, len(moved) - 1)
    share = (target - moved[after - 1]) / (moved[after] - moved[after - 1])
    t = teacher.times
    inner = torch.lerp(t[after - 1], t[after], share)
    return torch.cat([t[:1], inner, t[-1:]])


def jump_costs(teacher: Teacher) -> Tensor:
    """What one DDIM step from time i to j of the teacher's loses, ``[n + 1, n + 1]``.

    The root mean square of its distance to the teacher's state at j, over that state's own: errors
    at different levels count alike. Infinite where j does not come after i.
    """
    schedule, grid = teacher.schedule, teacher.times
    alpha, sigma, b = (
        f(grid).to(teacher.x) for f in (schedule.alpha, schedule.sigma, schedule.anchor)
    )
    scale = _rms(teacher.x)
    costs = torch.full((len(grid), len(grid)), torch.inf, dtype=torch.float64)
    for i in range(len(grid) - 1):
        rest = slice(i + 1, None)
        a, c, y = (weight[rest, None, None, None] for weight in (alpha, sigma, b))
        x = a * teacher.x0_hat[i] + c * teacher.eps_hat[i]
        if teacher.anchor is not None:
            x = x + y * teacher.anchor
        costs[i, rest] = _rms(x - teacher.x[rest]) / scale[rest]
    return costs


def dynamic_programming(teacher: Teacher, steps: int) -> Tensor:
    """The grid of ``steps`` jumps whose costs have the smallest sum, ``[steps + 1]``.

    After GITS (Chen et al. 2024, "On the trajectory regularity of ODE-based diffusion sampling",
    algorithm 1). Samplers of higher order profit too, although the costs are DDIM's.
    """
    costs = jump_costs(teacher)
    total = torch.full((len(costs),), torch.inf, dtype=torch.float64)
    total[0] = 0
    origins = []
    for _ in range(steps):
        total, origin = (total[:, None] + costs).min(0)
        origins.append(origin)
    path = [len(costs) - 1]
    for origin in reversed(origins):
        path.append(int(origin[path[-1]]))
    return teacher.times[path[::-1]]


def path_cost(teacher: Teacher, grid: Tensor) -> float:
    """The sum of the costs of the jumps of a grid whose times are the teacher's."""
    nodes = torch.searchsorted(-teacher.times, -as_float64(grid))
    return float(jump_costs(teacher)[nodes[:-1], nodes[1:]].sum())


def _rms(x: Tensor) -> Tensor:
    """Root mean square over all but the first dimension, float64 on the CPU."""
    return x.flatten(1).square().mean(1).sqrt().double().cpu()
