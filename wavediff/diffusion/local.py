"""A denoiser for signals whose level varies by orders of magnitude from place to place."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Prediction
from wavediff.diffusion.forward import broadcast
from wavediff.diffusion.schedule import Schedule


class LocalDenoiser(nn.Module):
    """EDM's preconditioning (Karras et al. 2022, section 5) with sigma_data from around each place.

    With s^2 the variance of the clean signal around a place, as x_t itself tells it,

        x0_hat = alpha s^2 / v x + sigma s / sqrt(v) network(x / sqrt(v), c_noise, log s),
        v = alpha^2 s^2 + sigma^2

    so that before training the denoiser is a local Wiener filter, and the network sees and predicts
    numbers of unit scale, in pauses as in vowels. The minimiser of a squared error does not change
    by weights that are a function of x_t, so the loss may be that of the network's output.

    Args:
        network: called with ``cond.local [batch, groups, time]``, log s of so many groups of
            neighbouring channels.
        schedule: of the noise.
        prediction: not used, the network's output is as above; kept for what asks about it.
        groups: of channels; must divide their number.
        frames: odd, over which s is taken.
        trust: how far s is drawn to 1 where noise covers the signal, positive.
        floor: the smallest s.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        prediction: Prediction,
        groups: int = 16,
        frames: int = 5,
        trust: float = 0.3,
        floor: float = 0.01,
    ) -> None:
        super().__init__()
        self.network, self.schedule, self.prediction = network, schedule, prediction
        self.groups, self.frames, self.trust, self.floor = groups, frames, trust, floor

    def variance(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """s^2 of each group, ``[batch, groups, time]``, for ``x [batch, channels, time]``."""
        power = x.square().unflatten(1, (self.groups, -1)).mean(2)
        pad = self.frames // 2
        power = F.avg_pool1d(power, self.frames, 1, pad, count_include_pad=False)
        signal = (power - sigma**2).clamp_min(0)
        prior = self.trust * sigma**2  # also a floor, lest what noise covers be taken for nothing
        return ((signal + prior) / (alpha**2 + prior)).clamp_min(self.floor**2)

    def parts(self, x: Tensor, t: Tensor | float, cond: Condition) -> tuple[Tensor, Tensor, Tensor]:
        """(c_skip x, c_out, F): the estimate is the first plus the product of the others."""
        t = torch.as_tensor(t, dtype=torch.float64)
        alpha, sigma = broadcast(self.schedule.alpha(t), x), broadcast(self.schedule.sigma(t), x)
        # for what differentiates the estimate (guidance) a Wiener filter is linear
        s2 = self.variance(x.detach(), alpha, sigma)
        cond = replace(cond, local=s2.log() / 2, prepared=None)
        s2 = s2.repeat_interleave(x.shape[1] // self.groups, dim=1)
        v = alpha**2 * s2 + sigma**2
        c_noise = self.schedule.c_noise(t).to(x).expand(len(x))
        output = self.network(x * v.rsqrt(), c_noise, cond)
        return alpha * s2 / v * x, sigma * (s2 / v).sqrt(), output

    def forward(self, x: Tensor, t: Tensor | float, cond: Condition) -> Tensor:
        """The estimate of x_0, like ``x [batch, channels, time]``, at one time or one per item."""
        skip, c_out, output = self.parts(x, t, cond)
        return skip + c_out * output

    def prepare(self, cond: Condition) -> Condition:
        """Nothing: what the network is told changes from step to step."""
        return cond
