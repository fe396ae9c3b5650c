"""The probability flow with steps that adapt to a tolerance."""

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
    """The probability flow by Dormand and Prince's adaptive method (Song et al. 2021, section 4.3).

    Each step of the grid is integrated to the tolerance, in the coordinate of ``flow``; the grid
    has no part in the precision, and two times besides the clean end will do. A last step to
    sigma = 0 is the denoiser's estimate. Needs torchdiffeq, the extra ``ode``.

    Args:
        rtol, atol: of the state scaled to alpha^2 + sigma^2 = 1, for each step.

    Raises:
        ValueError: where the tolerance is not reached.
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
