"""The discriminators of HiFi-GAN (Kong et al. 2020): of several periods, and of several scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

SLOPE = 0.1  # of the leaky ReLUs

# kernel, stride and groups of the layers of a scale, which are MelGAN's (Kumar et al. 2019)
SCALE = (
    (15, 1, 1), (41, 2, 4), (41, 2, 16), (41, 4, 16), (41, 4, 16), (41, 1, 16), (5, 1, 1)
)  # fmt: skip


class HiFiGANDiscriminator(nn.Module):
    """The parts of a multi-period and of a multi-scale discriminator; the defaults are published.

    Args:
        periods: in samples, of one part each.
        period_widths: channels of its layers.
        scales: number of further parts, each at half the rate of the one before.
        scale_widths: channels of their seven layers.

    Raises:
        ValueError: for a number out of range, or nothing to discriminate by.
    """

    def __init__(
        self,
        periods: Sequence[int] = (2, 3, 5, 7, 11),
        period_widths: Sequence[int] = (32, 128, 512, 1024, 1024),
        scales: int = 3,
        scale_widths: Sequence[int] = (128, 128, 256, 512, 1024, 1024, 1024),
    ) -> None:
        super().__init__()
        numbers = [*periods, *period_widths, *scale_widths]
        if any(type(n) is not int or n < 1 for n in numbers) or scales < 0:
            raise ValueError(
                "periods and widths must be 1 or more, and scales 0 or more, not "
                f"{list(periods)}, {list(period_widths)}, {list(scale_widths)} and {scales}"
            )
        if not periods and not scales:
            raise ValueError("a discriminator needs at least one period or scale")
        if not period_widths or len(scale_widths) != len(SCALE):
            raise ValueError(
                f"a period needs one layer or more and a scale {len(SCALE)}, not "
                f"{len(period_widths)} and {len(scale_widths)}"
            )
        self.periods = nn.ModuleList(Period(period, period_widths) for period in periods)
        self.scales = nn.ModuleList(Scale(scale_widths, spectral=i == 0) for i in range(scales))

    def forward(self, audio: Tensor, label: Tensor | None = None) -> list[list[Tensor]]:
        """The layers' outputs of each part, the score last, for ``audio [batch, 1, time]``.

        The score does not depend on the ``label``.
        """
        outputs = [part(audio) for part in self.periods]
        for i, part in enumerate(self.scales):
            audio = F.avg_pool1d(audio, 4, 2, padding=2) if i else audio
            outputs.append(part(audio))
        return outputs


class Period(nn.Module):
    """2-D convolutions over every ``period``-th sample, each phase for itself.

    Args:
        period: in samples, 1 or more.
        widths: channels of the layers, which have a stride of 3, the last one of 1.
    """

    def __init__(self, period: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.period = period
        strides = [3] * (len(widths) - 1) + [1]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(before, after, (5, 1), (stride, 1), (2, 0)))
            for (before, after), stride in zip(pairwise([1, *widths]), strides, strict=True)
        )
        self.score = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), 1, (1, 0)))

    def forward(self, audio: Tensor) -> list[Tensor]:
        """Features ``[batch, width, steps, period]`` of each layer, then the one-channel score."""
        missing = -audio.shape[-1] % self.period
        x, outputs = F.pad(audio, (0, missing), mode="reflect"), []
        x = x.unflatten(-1, (-1, self.period))
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            outputs.append(x)
        return [*outputs, self.score(x)]


class Scale(nn.Module):
    """Grouped 1-D convolutions over the waveform.

    Args:
        widths: channels of the seven layers; those that the published number of groups does not
            divide have as many groups as divide them.
        spectral: whether the weights are normalised by their largest singular value (Miyato et al.
            2018), as in the part at the full rate, instead of by their norm.
    """

    def __init__(self, widths: Sequence[int], spectral: bool = False) -> None:
        super().__init__()
        norm = spectral_norm if spectral else weight_norm
        self.layers = nn.ModuleList(
            norm(
                nn.Conv1d(
                    before, after, kernel, stride, kernel // 2,
                    groups=math.gcd(groups, before, after),
                )
            )
            for (before, after), (kernel, stride, groups) in zip(
                pairwise([1, *widths]), SCALE, strict=True
            )
        )  # fmt: skip
        self.score = norm(nn.Conv1d(widths[-1], 1, 3, 1, 1))

    def forward(self, audio: Tensor) -> list[Tensor]:
        """Features ``[batch, width, steps]`` of each layer, then the one-channel score."""
        x, outputs = audio, []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            outputs.append(x)
        return [*outputs, self.score(x)]
