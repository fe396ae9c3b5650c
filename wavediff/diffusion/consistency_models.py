"""Consistency models: a denoiser that agrees with itself all along the probability flow.

f(x_t, t) is the clean end of the flow through x_t, so f(x_t, t) = f(x_s, s) for neighbouring times
t > s on it, and f(x, t_min) = x, which the ``consistency`` prediction holds by construction. The
objectives compare the two sides; they differ in how x_s is found. Both are called like
``DenoisingObjective``.
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

# (denoiser, x, t, s, cond) -> (x_s, x0_hat)
Solver = Callable[[DenoiserLike, Tensor, Tensor, Tensor, Condition], tuple[Tensor, Tensor]]


class ConsistencyTraining(Objective):
    """Improved consistency training (iCT; Song & Dhariwal 2024), without a teacher.

    x_t and x_s are the same x_0 with the same eps: an unbiased Euler step of the flow as the number
    of levels grows. The target f(x_s, s) is the network itself, with the same dropout and without a
    gradient. The levels double in number as training goes on.

    Args:
        times: ``steps -> grid``, as ``karras``; what lies below ``t_min`` is taken to be ``t_min``.
        first, last: steps of the grid at the beginning and from the last doubling on (s_0, s_1).
        mean, std: of the normal distribution of log(sigma / alpha) from which pairs are drawn. The
            paper's -1.1 is for data of standard deviation 0.5; it is log(2) more for 1.
        huber: c of the pseudo-Huber loss per root of the number of values; None for squared error.

    Raises:
        ValueError: for numbers out of range.
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
                "consistency training needs 1 <= first <= last, std > 0 and huber > 0 or none, "
                f"not {first}, {last}, {std}, {huber}"
            )
        self.times, self.first, self.last = times, first, last
        self.mean, self.std, self.huber = mean, std, huber
        self._grid: tuple[Schedule, int, Tensor] | None = None  # kept from call to call

    def steps(self) -> int:
        """Steps of the grid at this ``progress``: s_0 doubled at equal distances (iCT, eq. 17)."""
        doublings = math.floor(self.progress * (math.log2(self.last / self.first) + 1))
        return min(self.first * 2**doublings, self.last)

    def grid(self, schedule: Schedule) -> Tensor:
        """The times of now, ``t_min`` first."""
        steps = self.steps()
        if self._grid is None or self._grid[:2] != (schedule, steps):
            grid = self.times(steps)(schedule)
            first = grid.new_tensor([schedule.t_min])
            # a last level at t_min may be off by rounding
            self._grid = (
                schedule,
                steps,
                torch.cat([first, grid[grid > first * (1 + 1e-6)].flip(0)]),
            )
        return self._grid[2]

    def pairs(self, schedule: Schedule, u: Tensor) -> tuple[Tensor, Tensor]:
        """Neighbouring times (t, s), t > s, for ``u [batch]`` in [0, 1).

        A pair is as likely as log(sigma / alpha) is to fall between its two (iCT, eq. 19).
        """
        grid = self.grid(schedule)
        level = -schedule.log_snr(grid) / 2
        below = torch.special.ndtr((level - self.mean) / self.std)
        # beyond the normal distribution's reach every pair keeps a little
        share = below.diff() + 1e-12
        edges = (share.cumsum(0) / share.sum()).to(u.device)
        i = torch.searchsorted(edges, u.to(edges), right=True).clamp(max=len(share) - 1)
        grid = grid.to(u.device)
        return grid[i + 1], grid[i]

    def neighbour(
        self, schedule: Schedule, x: Tensor, x0: Tensor, eps: Tensor, t: Tensor, s: Tensor,
        cond: Condition,
    ) -> Tensor:  # fmt: skip
        """x_s on the same path as x = x_t."""
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
        """The disagreement of f at the pair of quantile ``u [batch]``, weighted by ``weight``.

        The loss is d(f(x_t, t), f(x_s, s)) over the pair's distance in the plane of (alpha, sigma),
        which is the paper's sigma_t - sigma_s where alpha is constant. d is the pseudo-Huber
        sqrt(m + c^2) - c of the mean squared difference m, the paper's per root of the dimension.
        """
        schedule = denoiser.schedule
        cond, u, eps = given_or_drawn(x0, cond, u, eps)
        t, s = self.pairs(schedule, u)
        x = diffuse(schedule, x0, t, eps, cond)
        with torch.no_grad():
            x_s = self.neighbour(schedule, x, x0, eps, t, s, cond)
            # the target draws the dropout that the prediction below will draw
            with torch.random.fork_rng([x.device] if x.device.type == "cuda" else []):
                target = denoiser(x_s, s, cond)
        x0_hat = denoiser(x, t, cond)
        error = item_mean((x0_hat - target).to(x0.dtype).square(), weight)
        if self.huber is not None:
            error = (error + self.huber**2).sqrt() - self.huber
        step = torch.hypot(
            schedule.alpha(t) - schedule.alpha(s), schedule.sigma(t) - schedule.sigma(s)
        )
        return Denoised(error / step.to(error), x0_hat, t, schedule.log_snr(t))


class ConsistencyDistillation(ConsistencyTraining):
    """Consistency distillation (Song et al. 2023, algorithm 2), target without a moving average.

    x_s is one step of ``solver`` along the teacher's flow from x_t. The teacher may have another
    schedule, as long as it was trained on the noise levels in question.

    Args:
        solver: ``heun_step`` or ``ddim_step`` of ``wavediff.diffusion``.

    Attributes:
        teacher: the trained denoiser; set by the trainer, and not part of what is learnt.
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
        """One step of the teacher's solver from x = x_t.

        Raises:
            ValueError: without a teacher.
        """
        if self.teacher is None:
            raise ValueError("consistency distillation needs a teacher")
        return self.solver(AtLevel(self.teacher, schedule), x, t, s, cond)[0]


class AtLevel:
    """A denoiser on the path of another schedule: asked at the time of its own with the same SNR.

    x_t of the one path is x_t of the other but for the factor nu' / nu, nu^2 = alpha^2 + sigma^2.
    """

    def __init__(self, denoiser: Denoiser, schedule: Schedule) -> None:
        self.denoiser, self.schedule = denoiser, schedule

    def __call__(self, x: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """The estimate of x_0 for ``x [batch, channels, time]`` at ``t [batch]``."""
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
