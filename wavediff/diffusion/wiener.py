"""A denoiser for signals whose level varies by orders of magnitude from place to place."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn
from torch.nn import functional as F

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser, Prediction
from wavediff.diffusion.forward import broadcast
from wavediff.diffusion.schedule import Schedule, as_float64


class WienerDenoiser(Denoiser):
    """EDM's preconditioning (Karras et al. 2022, section 5) with sigma_data from around each place.

    With s^2 the variance of the clean signal around a place, as x_t itself tells it,

        x0_hat = alpha s^2 / v x + sigma s / sqrt(v) network(x / sqrt(v), c_noise, log s),
        v = alpha^2 s^2 + sigma^2

    so that before training the denoiser is a local Wiener filter, and the network sees and predicts
    numbers of unit scale, in pauses as in vowels. The minimiser of a squared error does not change
    by weights that are a function of x_t, so the loss may be that of the network's output: the
    weighting ``target``.

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
        super().__init__(network, schedule, prediction)
        self.groups, self.frames, self.trust, self.floor = groups, frames, trust, floor

    def variance(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """s^2 of each group, ``[batch, groups, time]``, for ``x [batch, channels, time]``."""
        power = x.square().unflatten(1, (self.groups, -1)).mean(2)
        pad = self.frames // 2
        power = F.avg_pool1d(power, self.frames, 1, pad, count_include_pad=False)
        signal = (power - sigma**2).clamp_min(0)
        prior = self.trust * sigma**2  # also a floor, lest what noise covers be taken for nothing
        return ((signal + prior) / (alpha**2 + prior)).clamp_min(self.floor**2)

    def forward(self, x: Tensor, t: Tensor | float, cond: Condition | None = None) -> Tensor:
        """The estimate of x_0, like ``x [batch, channels, time]``, at one time or one per item."""
        cond = Condition() if cond is None else cond
        t = as_float64(t)
        alpha, sigma, s2 = self._level(x, t)
        cond = replace(cond, local=s2.log() / 2, prepared=None)
        s2 = self._per_channel(s2, x)
        v = alpha**2 * s2 + sigma**2
        c_noise = self.schedule.c_noise(t).to(x).expand(len(x))
        output = self.network(x * v.rsqrt(), c_noise, cond)
        return alpha * s2 / v * x + sigma * (s2 / v).sqrt() * output

    def c_out(self, x: Tensor, t: Tensor) -> Tensor:
        """The factor on the network's output, like ``x``."""
        alpha, sigma, s2 = self._level(x, t)
        s2 = self._per_channel(s2, x)
        return sigma * (s2 / (alpha**2 * s2 + sigma**2)).sqrt()

    def _level(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        alpha, sigma = broadcast(self.schedule.alpha(t), x), broadcast(self.schedule.sigma(t), x)
        # for what differentiates the estimate (guidance) a Wiener filter is linear
        return alpha, sigma, self.variance(x.detach(), alpha, sigma)

    def _per_channel(self, s2: Tensor, x: Tensor) -> Tensor:
        return s2.repeat_interleave(x.shape[1] // self.groups, dim=1)

    def prepare(self, cond: Condition) -> Condition:
        """Nothing: what the network sees changes from step to step."""
        return cond
