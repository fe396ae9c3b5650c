"""The probability flow with adaptive steps."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import DenoiserLike
from wavediff.diffusion.flow import (
    CALLS_PER_STEP,
    MAX_STEPS,
    Flow,
    dormand_prince,
    import_torchdiffeq,
)
from wavediff.diffusion.reverse import step
from wavediff.diffusion.sampler import Noise, Steps, method
from wavediff.diffusion.schedule import Schedule


def _refuse(schedule: Schedule, times: Tensor, **options: object) -> None:
    import_torchdiffeq()


@method(calls=CALLS_PER_STEP * MAX_STEPS + 2, refuse=_refuse)
def Adaptive(
    denoiser: DenoiserLike, x: Tensor, times: Tensor, cond: Condition, noise: Noise, *,
    rtol: float = 1e-4, atol: float = 1e-4,
) -> Steps:  # fmt: skip
    """The probability-flow ODE by the adaptive Dormand-Prince method (Song et al. 2021, sec. 4.3).

    Each step of the grid is integrated to the tolerance, so the grid does not affect the precision:
    two times before the clean end suffice. A last step to sigma = 0 returns the denoiser's
    estimate. Needs torchdiffeq (the extra ``ode``).

    Args:
        times: a grid such as ``karras(18)``, ``schedule -> times``, or the times themselves,
            ``[steps + 1]``, descending.
        rtol, atol: relative and absolute tolerance of each integration step, for the state scaled
            to alpha^2 + sigma^2 = 1; positive.

    Raises:
        ValueError: if the tolerance is not reached within ``MAX_STEPS`` steps.
        ImportError: without torchdiffeq.
    """
    schedule = denoiser.schedule
    for t, s in pairwise(times):
        if schedule.sigma(s) > 0:
            flow = Flow(denoiser, cond, t, s)

            def field(w: Tensor, state: tuple[Tensor, ...], flow: Flow = flow) -> tuple[Tensor]:
                return (flow(w, *state),)

            (z,) = dormand_prince(field, (flow.enter(x, t),), flow.start, flow.end, rtol, atol)
            x, x0_hat = flow.leave(z, s), flow.x0_hat
        else:
            x0_hat = denoiser(x, t, cond)
            x = step(schedule, x, x0_hat, t, s, cond)
        yield x, x0_hat
