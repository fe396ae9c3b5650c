"""A linear representation normalised by an average spectrum."""

import math

import torch
from torch import Tensor

from wavediff.representations.mel import MelFrontEnd
from wavediff.representations.representation import Representation


class Tilted(Representation):
    """Another representation with each channel divided by its typical standard deviation.

    Without it, a loss has little weight on the upper half of the spectrum of speech, which is 40 dB
    below the lower. The spectrum is flat up to ``corner`` and falls by ``tilt`` above:

        z_k = encode(audio)_k / d(f_k),   d(f)^2 = floor^2 + (1 + (f / corner)^4)^(-tilt / 12.04)

    with 12.04 = 40 log10(2). It is independent of the signal, so a linear representation stays
    linear.

    Args:
        representation: to normalise; has ``centres``, the frequencies of its channels in cycles per
            sample.
        sample_rate: in Hz.
        corner: corner frequency in Hz, positive.
        tilt: slope in dB per octave, 0 or more; about 9 for speech.
        floor: lower bound of the standard deviation, relative to low frequencies.
        scale: factor on the result, positive.
        mel: not used; all representations accept it.

    Raises:
        ValueError: if the representation has no ``centres``, or a parameter is out of range.
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
            raise ValueError(
                f"{type(representation).__name__} has no centre frequencies of its channels"
            )
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
        """z ``[batch, channels, frames(time)]`` of ``audio [batch, 1, time]``.

        Raises:
            ValueError: for another shape.
        """
        z = self.representation.encode(audio)
        return z / self.deviation.to(z.dtype)

    def decode(self, z: Tensor, length: int, mel: Tensor | None = None) -> Tensor:
        """Audio ``[batch, 1, length]`` of ``z [batch, channels, frames(length)]``.

        Raises:
            ValueError: for another shape.
        """
        z = z if z.dtype == torch.float64 else z.float()
        return self.representation.decode(z * self.deviation.to(z.dtype), length)
