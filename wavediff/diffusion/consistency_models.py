"""Objectives of consistency models (Song et al. 2023).

A consistency model f(x_t, t) maps x_t to the clean end of the probability flow through it. So
f(x_t, t) = f(x_s, s) for adjacent times t > s on the flow, and f(x, t_min) = x; the prediction
``consistency`` satisfies the latter by construction. The objectives compare the two sides and
differ in how they obtain x_s. They are called like ``DenoisingObjective``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser, DenoiserLike
from wavediff.diffusion.forward import broadcast, diffuse
from wavediff.diffusion.objective import Denoised, Objective, given_or_drawn, item_mean
from wavediff.diffusion.schedule import Schedule
from wavediff.diffusion.times import Grid
from wavediff.diffusion.transfer import like

# (denoiser, x, t, s, cond) -> (x_s, x0_hat)
Solver = Callable[[DenoiserLike, Tensor, Tensor, Tensor, Condition], tuple[Tensor, Tensor]]


class ConsistencyTraining(Objective):
    """Improved consistency training (iCT; Song & Dhariwal 2024), without a teacher.

    x_t and x_s share x_0 and eps, which is an unbiased Euler step of the flow in the limit of many
    steps. The target f(x_s, s) is the network itself, with the same dropout and without gradients.
    The number of steps doubles during training.

    Args:
        times: ``steps -> grid``, such as ``karras``; times below ``t_min`` are replaced by it.
        first, last: steps of the grid at the start and the end of training (s_0, s_1),
            1 <= first <= last.
        mean, std: of the normal distribution of log(sigma / alpha) that pairs of times are drawn
            from; std positive. The paper's mean, -1.1, is for data of standard deviation 0.5; for
            1 it is log 2 larger.
        huber: c of the pseudo-Huber loss, divided by the root of the dimension; positive, or None
            for the squared error.

    Raises:
        ValueError: if a parameter is out of range.
    """

    def __init__(
        self,
        times: Callable[[int], Grid],
        first: int = 10,
        last: int = 1280,
        mean: float = -0.4,
        std: float = 2.0,
        huber: float | None = 0.00054,
    ) -> None:
        if not (1 <= first <= last and std > 0 and (huber is None or huber > 0)):
            raise ValueError(
                "consistency training needs 1 <= first <= last, std > 0 and huber > 0 or None, "
                f"not {first}, {last}, {std}, {huber}"
            )
        self.times, self.first, self.last = times, first, last
        self.mean, self.std, self.huber = mean, std, huber
        self._grid: tuple[Schedule, int, Tensor] | None = None  # cache of ``grid``

    def steps(self) -> int:
        """Steps of the grid at the current ``progress``, doubled at regular intervals (eq. 17)."""
        doublings = math.floor(self.progress * (math.log2(self.last / self.first) + 1))
        return min(self.first * 2**doublings, self.last)

    def grid(self, schedule: Schedule) -> Tensor:
        """The current grid ``[steps + 1]``, ascending from ``t_min``."""
        steps = self.steps()
        if self._grid is None or self._grid[:2] != (schedule, steps):
            grid = self.times(steps)(schedule)
            first = grid.new_tensor([schedule.t_min])
            # a grid may contain t_min up to rounding
            self._grid = (
                schedule,
                steps,
                torch.cat([first, grid[grid > first * (1 + 1e-6)].flip(0)]),
            )
        return self._grid[2]

    def pairs(self, schedule: Schedule, u: Tensor) -> tuple[Tensor, Tensor]:
        """Adjacent times (t, s) of the grid, t > s, at the quantiles ``u [batch]`` in [0, 1).

        The probability of a pair is that of log(sigma / alpha) between its times (eq. 19).
        """
        grid = self.grid(schedule)
        log_ratio = -schedule.log_snr(grid) / 2
        cdf = torch.special.ndtr((log_ratio - self.mean) / self.std)
        # far out in the tails the differences vanish: keep every pair possible
        probability = cdf.diff() + 1e-12
        edges = (probability.cumsum(0) / probability.sum()).to(u.device)
        i = torch.searchsorted(edges, u.to(edges), right=True).clamp(max=len(probability) - 1)
        grid = grid.to(u.device)
        return grid[i + 1], grid[i]

    def neighbour(
        self, schedule: Schedule, x: Tensor, x0: Tensor, eps: Tensor, t: Tensor, s: Tensor,
        cond: Condition,
    ) -> Tensor:  # fmt: skip
        """x_s with the x_0 and eps of ``x``, which is x_t."""
        return diffuse(schedule, x0, s, eps, cond)

    def __call__(
        self,
        denoiser: Denoiser,
        x0: Tensor,
        cond: Condition | None = None,
        *,
        u: Tensor | None = None,
        eps: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> Denoised:
        """Noise ``x0`` to a pair of adjacent times and compare the two estimates.

        The loss is d(f(x_t, t), f(x_s, s)) divided by the distance of the pair in the plane of
        (alpha, sigma), which is the paper's sigma_t - sigma_s if alpha is constant. d is the
        pseudo-Huber loss sqrt(m + c^2) - c of the mean squared difference m.

        Args:
            denoiser: the model to train.
            x0: data, ``[batch, ...]``.
            cond: conditions of the denoiser.
            u: quantiles of the pairs, ``[batch]`` in [0, 1); drawn by default.
            eps: standard normal noise, like ``x0``; drawn by default.
            weight: weights of the squared differences, like ``x0``; 1 by default.
        """
        schedule = denoiser.schedule
        cond, u, eps = given_or_drawn(x0, cond, u, eps)
        t, s = self.pairs(schedule, u)
        x = diffuse(schedule, x0, t, eps, cond)
        with torch.no_grad():
            x_s = self.neighbour(schedule, x, x0, eps, t, s, cond)
            # the target uses the same dropout as the prediction below
            with torch.random.fork_rng([x.device] if x.device.type == "cuda" else []):
                target = denoiser(x_s, s, cond)
        x0_hat = denoiser(x, t, cond)
        error = item_mean((x0_hat - target).to(x0.dtype).square(), weight)
        if self.huber is not None:
            error = (error + self.huber**2).sqrt() - self.huber
        step = torch.hypot(
            schedule.alpha(t) - schedule.alpha(s), schedule.sigma(t) - schedule.sigma(s)
        )
        return Denoised(error / like(step, error), x0_hat, t, schedule.log_snr(t))


class ConsistencyDistillation(ConsistencyTraining):
    """Consistency distillation (Song et al. 2023, algorithm 2), target without a moving average.

    x_s is one step of ``solver`` from x_t along the teacher's probability flow. The schedule of the
    teacher may differ, provided that it was trained on the same signal-to-noise ratios.

    Args:
        times: ``steps -> grid``, such as ``karras``; times below ``t_min`` are replaced by it.
        solver: ``wavediff.diffusion.heun.heun_step`` or ``wavediff.diffusion.ddim.ddim_step``.
        first, last, mean, std, huber: see ``ConsistencyTraining``.

    Attributes:
        teacher: the trained denoiser, which is not trained further; set by the training loop.

    Raises:
        ValueError: if a parameter is out of range; when called, without a teacher.
    """

    takes_teacher = True

    def __init__(
        self,
        times: Callable[[int], Grid],
        solver: Solver,
        first: int = 18,
        last: int = 18,
        mean: float = -0.4,
        std: float = 2.0,
        huber: float | None = 0.00054,
    ) -> None:
        super().__init__(times, first, last, mean, std, huber)
        self.solver = solver

    def neighbour(
        self, schedule: Schedule, x: Tensor, x0: Tensor, eps: Tensor, t: Tensor, s: Tensor,
        cond: Condition,
    ) -> Tensor:  # fmt: skip
        """One step of the solver along the teacher's flow from ``x``, which is x_t.

        Raises:
            ValueError: without a teacher.
        """
        if self.teacher is None:
            raise ValueError("consistency distillation needs a teacher")
        return self.solver(OnSchedule(self.teacher, schedule), x, t, s, cond)[0]


class OnSchedule:
    """A denoiser on the path of another schedule, evaluated at its own time of equal SNR.

    x_t of the two paths differ by the factor nu' / nu, with nu^2 = alpha^2 + sigma^2.

    Args:
        denoiser: to evaluate.
        schedule: of the states that it is called with.
    """

    def __init__(self, denoiser: Denoiser, schedule: Schedule) -> None:
        self.denoiser, self.schedule = denoiser, schedule

    def __call__(self, x: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """The estimate of x_0 for ``x [batch, ...]`` at the times ``t [batch]`` of ``schedule``.

        Raises:
            ValueError: for different schedules with an anchor.
        """
        own, path = self.denoiser.schedule, self.schedule
        if torch.equal(own.alpha(t), path.alpha(t)) and torch.equal(own.sigma(t), path.sigma(t)):
            return self.denoiser(x, t, cond)
        if cond.anchor is not None:
            raise ValueError("a path with an anchor needs a teacher with the same schedule")
        there = own.time_at(path.log_snr(t))
        nu = torch.hypot(own.alpha(there), own.sigma(there)) / torch.hypot(
            path.alpha(t), path.sigma(t)
        )
        return self.denoiser(broadcast(nu, x) * x, there, cond)
