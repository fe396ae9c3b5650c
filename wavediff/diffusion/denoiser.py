"""The denoiser E[x_0 | x_t, cond]: a network with a schedule and a preconditioning."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from torch import Tensor, nn

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.forward import add_anchor, broadcast
from wavediff.diffusion.preconditioning import Coefficients
from wavediff.diffusion.schedule import Schedule, as_float64
from wavediff.diffusion.transfer import per_item

Prediction = Callable[[Schedule, Tensor], Coefficients]


class DenoiserLike(Protocol):
    """What samplers and guidance require of a denoiser: its schedule, and a call.

    ``denoiser(x, t, cond)`` estimates x_0, like ``x [batch, ...]``, at times ``[]`` or ``[batch]``.
    """

    schedule: Schedule

    def __call__(self, x: Tensor, t: Tensor, cond: Condition) -> Tensor: ...


class Denoiser(nn.Module):
    """A network F as an estimator of E[x_0 | x_t, cond] (Karras et al. 2022, section 5).

        x0_hat = c_skip x_t + c_out F(c_in x_t, c_noise, cond) + c_anchor y

    Args:
        network: F, called as ``network(x [batch, ...], c_noise [batch], cond)``, or without
            ``cond`` if it takes two arguments. Its output is like ``x``.
        schedule: alpha, sigma and anchor as functions of time; also defines c_noise.
        prediction: ``(schedule, t) -> (c_skip, c_out, c_in, c_anchor)``, such as ``edm``, ``v`` or
            ``eps``: what the output of the network means.
    """

    def __init__(
        self, network: Callable[..., Tensor], schedule: Schedule, prediction: Prediction
    ) -> None:
        super().__init__()
        self.network = network
        self.schedule = schedule
        self.prediction = prediction
        self._takes_condition = _takes_condition(network)

    def forward(self, x: Tensor, t: Tensor | float, cond: Condition | None = None) -> Tensor:
        """Estimate x_0.

        Args:
            x: the noisy state x_t, ``[batch, ...]``.
            t: one time, or one per item, ``[batch]``.
            cond: conditions of the network; none by default.

        Returns:
            The estimate, like ``x``.

        Raises:
            ValueError: for an output of another shape, or a condition that the network ignores.
        """
        cond = Condition() if cond is None else cond
        t = as_float64(t)
        c_skip, c_out, c_in, c_anchor = self.prediction(self.schedule, t)
        c_noise = per_item(self.schedule.c_noise(t), x)
        conditions = (cond,) if self._takes_condition else ()
        if not conditions and (cond.local is not None or cond.label is not None):
            raise ValueError(
                "this network takes (x, c_noise) and would ignore the condition: let it take "
                "(x, c_noise, cond)"
            )
        output = self.network(broadcast(c_in, x) * x, c_noise, *conditions)
        if output.shape != x.shape:
            raise ValueError(
                f"the network returned {list(output.shape)} for an input of {list(x.shape)}: the "
                "output must be like the input"
            )
        x0_hat = broadcast(c_skip, x) * x + broadcast(c_out, x) * output
        return add_anchor(x0_hat, c_anchor, cond)

    def c_out(self, x: Tensor, t: Tensor) -> Tensor:
        """The factor on the output of the network, float64, like ``t`` (``[]`` or ``[batch]``)."""
        return self.prediction(self.schedule, t).c_out

    def prepare(self, cond: Condition) -> Condition:
        """``cond`` with the features that the network computes once for all steps, if any."""
        prepare = getattr(self.network, "prepare", None)
        return cond if prepare is None else replace(cond, prepared=prepare(cond))


def _takes_condition(network: Callable[..., Any]) -> bool:
    function = network.forward if isinstance(network, nn.Module) else network
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return True
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters) >= 3
