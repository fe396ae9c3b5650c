"""Grids of times found by search: given a denoiser and a number of steps, those that lose least.

Both searches watch one fine run of the denoiser, the reference, and choose from its times.
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

FINE = 32  # the reference's steps, equal in time, and as many again in log-SNR


@dataclass(frozen=True)
class ReferenceRun:
    """A fine run of a denoiser over a batch.

    Attributes:
        schedule: of the denoiser.
        times: ``[n + 1]``, float64, descending from ``t_max`` to 0.
        x: ``[n + 1, batch, ...]``, the state at each.
        x0_hat, eps_hat: ``[n, batch, ...]``, the estimates at each but the last.
        cond: with the known signal y, where there is one.
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
    """Run DPM-Solver++(2M) from noise ``z [batch, ...]`` over many times.

    They are dense in t and in log-SNR; those of ``grids`` are among them.
    """
    cond = Condition() if cond is None else cond
    schedule = denoiser.schedule
    equal = uniform(FINE)(schedule)
    # a network knows nothing below t_min
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
    """The grid whose steps carry equal changes of direction, ``[steps + 1]``.

    A step of first order walks straight towards x0_hat as it was; what it misses is how far x0_hat
    moves meanwhile along the reference's run, in root mean square over the batch. (The other end of
    the line, eps_hat, is left out: near the clean end it turns much and matters little.)
    """
    moved = _rms(run.x0_hat.diff(dim=0)).cumsum(0)
    moved = torch.cat([moved.new_zeros(1), moved])
    target = torch.linspace(0, float(moved[-1]), steps + 1, dtype=torch.float64)[1:-1]
    after = torch.searchsorted(moved, target).clamp(1, len(moved) - 1)
    share = (target - moved[after - 1]) / (moved[after] - moved[after - 1])
    t = run.times
    inner = torch.lerp(t[after - 1], t[after], share)
    return torch.cat([t[:1], inner, t[-1:]])


def jump_costs(run: ReferenceRun) -> Tensor:
    """What one DDIM step from time i to j of the reference's loses, ``[n + 1, n + 1]``.

    The root mean square of its distance to the reference's state at j, over that state's own:
    errors at different levels count alike. Infinite where j does not come after i.
    """
    grid, scale = run.times, _rms(run.x)
    costs = torch.full((len(grid), len(grid)), torch.inf, dtype=torch.float64)
    for i in range(len(grid) - 1):
        rest = slice(i + 1, None)
        ends = run.x0_hat[i][None], grid[rest], run.eps_hat[i][None]
        x = diffuse(run.schedule, *ends, run.cond)
        costs[i, rest] = _rms(x - run.x[rest]) / scale[rest]
    return costs


def dynamic_programming(run: ReferenceRun, steps: int) -> Tensor:
    """The grid of ``steps`` jumps whose costs have the smallest sum, ``[steps + 1]``.

    After GITS (Chen et al. 2024, "On the trajectory regularity of ODE-based diffusion sampling",
    algorithm 1). Samplers of higher order profit too, although the costs are DDIM's.
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
    """The sum of the costs of the jumps of a grid whose times are the reference's."""
    nodes = torch.searchsorted(-run.times, -as_float64(grid))
    return float(jump_costs(run)[nodes[:-1], nodes[1:]].sum())


def _rms(x: Tensor) -> Tensor:
    """Root mean square over all but the first dimension, float64 on the CPU."""
    return x.flatten(1).square().mean(1).sqrt().double().cpu()
