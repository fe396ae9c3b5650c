"""Audio samples without a transform."""

from torch import Tensor

from wavediff.representations.mel import MelFrontEnd
from wavediff.representations.representation import Representation


class Waveform(Representation):
    """The identity: z is the audio, one channel at the sample rate.

    Args:
        mel: not used; all representations accept it.
    """

    channels = 1
    hop_length = 1
    halo = 0

    def __init__(self, mel: MelFrontEnd | None = None) -> None:
        super().__init__()

    def encode(self, audio: Tensor, mel: Tensor | None = None) -> Tensor:
        """z = ``audio [batch, 1, time]``.

        Raises:
            ValueError: for another shape.
        """
        if audio.ndim != 3 or audio.shape[1] != 1 or audio.shape[2] < 1:
            raise ValueError(f"audio must be [batch, 1, time >= 1], got {list(audio.shape)}")
        return audio

    def decode(self, z: Tensor, length: int, mel: Tensor | None = None) -> Tensor:
        """Audio = ``z [batch, 1, length]``.

        Raises:
            ValueError: for another shape.
        """
        if z.ndim != 3 or z.shape[1:] != (1, length):
            raise ValueError(f"z must be [batch, 1, {length}], got {list(z.shape)}")
        return z
