"""The denoiser: a network with a schedule and a preconditioning, giving E[x_0 | x_t, cond]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.forward import broadcast
from wavediff.diffusion.preconditioning import Coefficients
from wavediff.diffusion.schedule import Schedule

Prediction = Callable[[Schedule, Tensor], Coefficients]


class Denoiser(nn.Module):
    """x0_hat = c_skip x + c_out F(c_in x, c_noise, cond) + c_anchor y.

    Args:
        network: called as ``network(x [batch, channels, time], c_noise [batch], cond)``.
        schedule: of the noise.
        prediction: what the network's output means, a function of ``preconditioning``.
    """

    def __init__(self, network: nn.Module, schedule: Schedule, prediction: Prediction) -> None:
        super().__init__()
        self.network = network
        self.schedule = schedule
        self.prediction = prediction

    def forward(self, x: Tensor, t: Tensor | float, cond: Condition) -> Tensor:
        """The estimate of x_0, like ``x [batch, channels, time]``, at one time or one per item."""
        t = torch.as_tensor(t, dtype=torch.float64)
        c_skip, c_out, c_in, c_anchor = (broadcast(c, x) for c in self.prediction(self.schedule, t))
        c_noise = self.schedule.c_noise(t).to(x).expand(x.shape[0])
        x0_hat = c_skip * x + c_out * self.network(c_in * x, c_noise, cond)
        return x0_hat if cond.anchor is None else x0_hat + c_anchor * cond.anchor

    def prepare(self, cond: Condition) -> Condition:
        """Let the network compute once what does not change from step to step."""
        prepare = getattr(self.network, "prepare", None)
        return cond if prepare is None else replace(cond, prepared=prepare(cond))
