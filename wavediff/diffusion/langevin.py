"""Annealed Langevin dynamics (Song & Ermon 2019; 2020)."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.corrector import correct, needs_signal_and_noise
from wavediff.diffusion.denoiser import DenoiserLike
from wavediff.diffusion.forward import add_anchor, broadcast
from wavediff.diffusion.reverse import step
from wavediff.diffusion.sampler import Noise, Steps, method
from wavediff.diffusion.schedule import Schedule


def _refuse(
    schedule: Schedule, times: Tensor, langevin_steps: int, step_size: float, **options: object
) -> None:
    if langevin_steps < 1:
        raise ValueError(f"langevin_steps must be at least 1, not {langevin_steps}")
    if not 0 < step_size < 4:  # beyond, the iteration diverges
        raise ValueError(f"step_size must lie between 0 and 4, not {step_size}")
    needs_signal_and_noise(schedule, times)


@method(calls=lambda langevin_steps, **_: langevin_steps + 1, stochastic=True, refuse=_refuse)
def AnnealedLangevin(
    denoiser: DenoiserLike, x: Tensor, times: Tensor, cond: Condition, noise: Noise, *,
    langevin_steps: int = 5, step_size: float = 0.2, denoise: bool = True,
) -> Steps:  # fmt: skip
    """Annealed Langevin dynamics (NCSN; Song & Ermon 2019, algorithm 1).

        x <- x + a/2 score + sqrt(a) z        with a = step_size sigma_t^2

    ``langevin_steps`` times at every time of the grid but the last. From t to s the signal is
    rescaled to (x - anchor_t y) alpha_s/alpha_t + anchor_s y, which leaves x unchanged for
    alpha = 1, as in NCSN. Step i uses the draws i langevin_steps to (i + 1) langevin_steps - 1.

    Args:
        times: a grid such as ``karras(18)``, ``schedule -> times``, or the times themselves,
            ``[steps + 1]``, descending.
        langevin_steps: Langevin steps, and network calls, at each time; at least 1. NCSN uses
            100, NCSNv2 5 or fewer.
        step_size: relative to sigma^2, in (0, 4); NCSN uses 0.2 (2e-5 at sigma = 0.01).
        denoise: whether to return the denoiser's estimate if the grid ends at sigma = 0, with one
            more call (Jolicoeur-Martineau et al. 2021); otherwise the last noise remains.

    Raises:
        ValueError: if an option is out of range, or a time lacks signal or noise.
    """
    schedule = denoiser.schedule
    for i, (t, s) in enumerate(pairwise(times)):
        for j in range(langevin_steps):
            x0_hat = denoiser(x, t, cond)
            z = noise(x, i * langevin_steps + j)
            x = correct(schedule, x, x0_hat, t, cond, math.sqrt(step_size) / 2, z)
        if denoise and schedule.sigma(s) == 0:
            x0_hat = denoiser(x, t, cond)
            x = step(schedule, x, x0_hat, t, s, cond)
        else:
            scale = schedule.alpha(s) / schedule.alpha(t)
            moved = schedule.anchor(s) - scale * schedule.anchor(t)
            x = add_anchor(broadcast(scale, x) * x, moved, cond)
        yield x, x0_hat
