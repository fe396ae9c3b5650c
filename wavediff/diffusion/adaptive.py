"""The probability flow with steps that adapt to a tolerance."""

from __future__ import annotations

from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.flow import (
    CALLS_PER_STEP,
    MAX_STEPS,
    Flow,
    dormand_prince,
    import_torchdiffeq,
)
from wavediff.diffusion.reverse import Callback, Noise, gaussian, step, steps_of
from wavediff.diffusion.schedule import Schedule


def adaptive(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    cond: Condition,
    *,
    noise: Noise = gaussian,
    callback: Callback | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-4,
) -> Tensor:
    """The probability flow by Dormand and Prince's adaptive method (Song et al. 2021, section 4.3).

    Each step of the grid is integrated to the tolerance, in the coordinate of ``flow``; the grid
    has no part in the precision, and two times besides the clean end will do. A last step to
    sigma = 0 is the denoiser's estimate. Needs torchdiffeq, the extra ``ode``.

    Args:
        rtol, atol: of the state scaled to alpha^2 + sigma^2 = 1, for each step.

    Raises:
        ImportError: without torchdiffeq.
        ValueError: where the tolerance is not reached.
    """
    schedule = denoiser.schedule
    for i, t, s in steps_of(times):
        if schedule.sigma(s) > 0:
            flow = Flow(denoiser, cond, t, s)

            def field(w: Tensor, state: tuple[Tensor, ...], flow: Flow = flow) -> tuple[Tensor]:
                return (flow(w, *state),)

            (z,) = dormand_prince(field, (flow.enter(x, t),), flow.start, flow.end, rtol, atol)
            x, x0_hat = flow.leave(z, s), flow.x0_hat
        else:
            x0_hat = denoiser(x, t, cond)
            x = step(schedule, x, x0_hat, t, s, cond)
        if callback is not None:
            callback(i, x, x0_hat)
    return x


def check(schedule: Schedule, times: Tensor) -> None:
    """Raises ImportError without torchdiffeq."""
    import_torchdiffeq()


adaptive.calls_per_step = CALLS_PER_STEP * MAX_STEPS + 2
adaptive.check = check
