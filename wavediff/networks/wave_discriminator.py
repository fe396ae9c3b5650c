"""The discriminator of WaveGAN (Donahue et al. 2019), conditioned on a class."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KERNEL, STRIDE = 25, 4
SLOPE = 0.2  # of the leaky ReLUs


class WaveDiscriminator(nn.Module):
    """Strided convolutions over the waveform, with a score at each position of the last one.

    The class enters as a projection, the inner product of its embedding with the mean features
    (Miyato & Koyama 2018). Phase shuffle shifts the features of each layer by a random number of
    samples in training, so that the phase at which strides leave artefacts tells nothing.

    Args:
        width: channels of the first layer; each further one has twice as many.
        layers: number of layers, each with a quarter of the samples of the one before.
        shuffle: largest shift of the phase shuffle, in samples of a layer.
        labels: number of classes; 0 for none.

    Raises:
        ValueError: for a number out of range.
    """

    def __init__(self, width: int = 32, layers: int = 4, shuffle: int = 2, labels: int = 0) -> None:
        super().__init__()
        if width < 1 or layers < 1 or shuffle < 0 or labels < 0:
            raise ValueError(
                "width and layers must be 1 or more, shuffle and labels 0 or more, not "
                f"{width}, {layers}, {shuffle}, {labels}"
            )
        self.shuffle = shuffle
        widths = [1, *(width * 2**i for i in range(layers))]
        self.layers = nn.ModuleList(
            nn.Conv1d(before, after, KERNEL, STRIDE, KERNEL // 2)
            for before, after in pairwise(widths)
        )
        self.score = nn.Conv1d(widths[-1], 1, 1)
        self.embedding = nn.Embedding(labels, widths[-1]) if labels else None

    def forward(self, audio: Tensor, label: Tensor | None = None) -> list[list[Tensor]]:
        """The layers' outputs, the score last, as the only part.

        Args:
            audio: ``[batch, 1, time]``.
            label: ``[batch]``, for a discriminator with classes.

        Raises:
            ValueError: if classes are missing.
        """
        x, outputs = audio, []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            outputs.append(x)
            if self.training and self.shuffle and layer is not self.layers[-1]:
                x = phase_shuffled(x, self.shuffle)
        score = self.score(x)
        if self.embedding is not None:
            if label is None:
                raise ValueError("this discriminator needs classes: give data with labels")
            score = score + torch.einsum("bc,bct->bt", self.embedding(label), x)[:, None]
        return [[*outputs, score]]


def phase_shuffled(x: Tensor, most: int) -> Tensor:
    """Each item of ``x [batch, channels, time]`` shifted by up to ``most`` samples, mirrored."""
    most = min(most, x.shape[-1] - 1)
    shift = torch.randint(-most, most + 1, (len(x), 1, 1), device=x.device)
    time = torch.arange(x.shape[-1], device=x.device) + shift
    time = time.abs()  # mirrored at both ends
    time = torch.where(time >= x.shape[-1], 2 * (x.shape[-1] - 1) - time, time)
    return x.gather(2, time.expand_as(x))
