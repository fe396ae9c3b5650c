"""A denoiser for signals whose local variance spans orders of magnitude."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn
from torch.nn import functional as F

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser, Prediction
from wavediff.diffusion.forward import broadcast
from wavediff.diffusion.schedule import Schedule, as_float64
from wavediff.diffusion.transfer import per_item


class WienerDenoiser(Denoiser):
    """EDM preconditioning (Karras et al. 2022, section 5) with a local estimate of sigma_data.

    With s^2 the variance of the clean signal around a frame, estimated from x_t,

        x0_hat = alpha s^2 / v x_t + sigma s / sqrt(v) F(x_t / sqrt(v), c_noise, log s)
        v = alpha^2 s^2 + sigma^2

    For F = 0 this is a local Wiener filter. The input and the target of the network have unit
    variance at every signal level, in pauses of speech as in vowels. Weights that are functions of
    x_t do not change the minimiser of a squared error, so the loss may be that of the network's
    output: the weighting ``target``.

    Args:
        network: F, called with log s of each group as ``cond.local [batch, groups, time]``.
        schedule: alpha and sigma as functions of time, without an anchor.
        prediction: not used in the estimate; reported, and checked by samplers.
        groups: number of groups of adjacent channels that share s; must divide the channels.
        frames: length of the window of the estimate, odd.
        trust: weight of the prior s = 1 relative to the noise variance, positive: how far s is
            pulled to 1 where noise masks the signal.
        floor: lower bound of s.
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
        """Estimate s^2, ``[batch, groups, time]``, from ``x [batch, channels, time]``."""
        power = x.square().unflatten(1, (self.groups, -1)).mean(2)
        pad = self.frames // 2
        power = F.avg_pool1d(power, self.frames, 1, pad, count_include_pad=False)
        signal = (power - sigma**2).clamp_min(0)
        prior = self.trust * sigma**2  # keeps a signal below the noise from being taken for silence
        return ((signal + prior) / (alpha**2 + prior)).clamp_min(self.floor**2)

    def forward(self, x: Tensor, t: Tensor | float, cond: Condition | None = None) -> Tensor:
        """The estimate of x_0, like ``x [batch, channels, time]``, at one time or one per item."""
        cond = Condition() if cond is None else cond
        t = as_float64(t)
        alpha, sigma, s2 = self._signal_variance(x, t)
        cond = replace(cond, local=s2.log() / 2, prepared=None)
        s2 = self._per_channel(s2, x)
        v = alpha**2 * s2 + sigma**2
        c_noise = per_item(self.schedule.c_noise(t), x)
        output = self.network(x * v.rsqrt(), c_noise, cond)
        return alpha * s2 / v * x + sigma * (s2 / v).sqrt() * output

    def c_out(self, x: Tensor, t: Tensor) -> Tensor:
        """The factor on the output of the network, like ``x``."""
        alpha, sigma, s2 = self._signal_variance(x, t)
        s2 = self._per_channel(s2, x)
        return sigma * (s2 / (alpha**2 * s2 + sigma**2)).sqrt()

    def _signal_variance(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(alpha, sigma, s^2) for x_t = ``x``."""
        alpha, sigma = broadcast(self.schedule.alpha(t), x), broadcast(self.schedule.sigma(t), x)
        # detached: guidance differentiates the estimate as that of a linear filter
        return alpha, sigma, self.variance(x.detach(), alpha, sigma)

    def _per_channel(self, s2: Tensor, x: Tensor) -> Tensor:
        return s2.repeat_interleave(x.shape[1] // self.groups, dim=1)

    def prepare(self, cond: Condition) -> Condition:
        """``cond`` as it is: the local condition of the network changes at every step."""
        return cond
