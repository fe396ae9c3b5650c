"""A linear representation divided by the spectrum that its sounds have on average."""

import math

import torch
from torch import Tensor

from wavediff.representations.mel import MelFrontEnd
from wavediff.representations.representation import Representation


class Tilted(Representation):
    """Each channel of another representation over its usual deviation, so that all are alike.

    Without it a loss hardly sees the upper half of speech, which lies 40 dB below the lower. The
    spectrum is flat up to a corner and falls by so many dB per octave above:

        z_k = encode(audio)_k / d(f_k),   d(f)^2 = floor^2 + (1 + (f / corner)^4)^(-tilt / 12.04)

    with 12.04 = 40 log10(2). It is fixed, not fitted to a signal, so a linear representation
    remains linear.

    Args:
        representation: to scale; has `centres`, the frequencies of its channels in cycles per
            sample.
        sample_rate: in Hz.
        corner: in Hz.
        tilt: dB per octave, 0 or more; speech has about 9.
        floor: smallest deviation, relative to the lowest channel's.
        scale: factor on the result.
        mel: accepted for uniform construction; not used.

    Raises:
        ValueError: for a representation whose channels have no frequencies, or numbers out of
            range.
    """

    deviation: Tensor

    def __init__(
        self,
        representation: Representation,
        sample_rate: int = 22050,
        corner: float = 500.0,
        tilt: float = 9.0,
        floor: float = 0.0,
        scale: float = 1.0,
        mel: MelFrontEnd | None = None,
    ) -> None:
        super().__init__()
        centres = getattr(representation, "centres", None)
        if not isinstance(centres, Tensor):
            raise ValueError(f"{type(representation).__name__} has no channels of known frequency")
        if not (sample_rate > 0 and corner > 0 and tilt >= 0 and floor >= 0 and scale > 0):
            raise ValueError(
                "sample_rate, corner and scale must be positive, tilt and floor not negative: "
                f"{sample_rate}, {corner}, {scale}, {tilt}, {floor}"
            )
        self.representation = representation
        self.channels, self.halo = representation.channels, representation.halo
        self.hop_length = representation.hop_length
        f = centres.double() * sample_rate
        power = floor**2 + (1 + (f / corner) ** 4) ** (-tilt / (40 * math.log10(2)))
        self.register_buffer("deviation", (power.sqrt() / scale)[:, None], persistent=False)

    def encode(self, audio: Tensor, mel: Tensor | None = None) -> Tensor:
        """Audio [B, 1, T] to z [B, channels, frames]."""
        z = self.representation.encode(audio)
        return z / self.deviation.to(z.dtype)

    def decode(self, z: Tensor, length: int, mel: Tensor | None = None) -> Tensor:
        """z [B, channels, frames] to audio [B, 1, length].

        Raises:
            ValueError: when z has not the channels or frames of `length` samples.
        """
        z = z if z.dtype == torch.float64 else z.float()
        return self.representation.decode(z * self.deviation.to(z.dtype), length)
