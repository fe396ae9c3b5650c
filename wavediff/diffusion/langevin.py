"""Annealed Langevin dynamics (Song & Ermon 2019; 2020)."""

from __future__ import annotations

import math

from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.corrector import check, correct
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.reverse import Callback, Noise, gaussian, steps_of


def annealed_langevin(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    cond: Condition,
    *,
    noise: Noise = gaussian,
    callback: Callback | None = None,
    langevin_steps: int = 5,
    step_size: float = 0.2,
    denoise: bool = True,
) -> Tensor:
    """NCSN's sampler (Song & Ermon 2019, algorithm 1): Langevin steps at one level after the other.

        x <- x + a/2 score + sqrt(a) z        with a = step_size sigma_t^2

    at every time of the grid but the last. From t to s the state keeps its place on the path,
    (x - anchor_t y) alpha_s/alpha_t + anchor_s y, which on NCSN's own path is to leave it. Step i
    uses the draws from i langevin_steps on.

    Args:
        langevin_steps: at each level, at least 1; NCSN has 100, NCSNv2 5 or fewer.
        step_size: relative to sigma^2, in (0, 4); NCSN has 0.2 (2e-5 at sigma = 0.01).
        denoise: end with the denoiser's estimate where the grid ends at sigma = 0, one more call
            (Jolicoeur-Martineau et al. 2021); without it the last level's noise stays.

    Raises:
        ValueError: for options out of range, or a time without signal or without noise.
    """
    if langevin_steps < 1:
        raise ValueError(f"langevin_steps must be at least 1, not {langevin_steps}")
    if not 0 < step_size < 4:  # beyond, the noise grows from step to step
        raise ValueError(f"step_size must lie between 0 and 4, not {step_size}")
    schedule = denoiser.schedule
    check(schedule, times)
    for i, t, s in steps_of(times):
        for j in range(langevin_steps):
            x0_hat = denoiser(x, t, cond)
            z = noise(x, i * langevin_steps + j)
            x = correct(schedule, x, x0_hat, t, cond, math.sqrt(step_size) / 2, z)
        scale = float(schedule.alpha(s) / schedule.alpha(t))
        if denoise and schedule.sigma(s) == 0:
            x0_hat = denoiser(x, t, cond)
            x = float(schedule.alpha(s)) * x0_hat
            if cond.anchor is not None:
                x = x + float(schedule.anchor(s)) * cond.anchor
        else:
            x = scale * x
            if cond.anchor is not None:
                x = x + float(schedule.anchor(s) - scale * schedule.anchor(t)) * cond.anchor
        if callback is not None:
            callback(i, x, x0_hat)
    return x


def _calls_per_step(langevin_steps: int = 5, **options: object) -> int:
    return langevin_steps + 1


annealed_langevin.calls_per_step = _calls_per_step
annealed_langevin.check = check
