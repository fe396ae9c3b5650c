"""The base class of networks over time: noise level, label, anchor and local condition."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wavediff.diffusion.condition import Condition
from wavediff.networks.conditioner import Upsampler
from wavediff.networks.embedding import LabelEmbedding, SinusoidalEmbedding
from wavediff.networks.frames import WHOLE, Frames
from wavediff.networks.precision import precision

EMBEDDING, HIDDEN = 128, 256


class Conditioned(nn.Module):
    """Base class of networks over time, which prepares their conditions for ``_predict``.

    The noise level and the label become one vector per item; the anchor is concatenated to the
    input; the local condition is upsampled and projected, to be added to features once. Autocast to
    bfloat16 computes in float32 on a CPU without bfloat16 arithmetic.

    Args:
        width: channels of the features that the local condition is added to.
        local_channels: of the local condition; 0 for none.
        upsample: frames of the signal per frame of the local condition.
        labels: number of classes or speakers; 0 for none. The label -1 is unconditional.
        anchor_channels: of the known signal y; 0 for none.
        local_kernel: kernel size of the projection of the local condition, odd.
    """

    def __init__(
        self,
        width: int,
        local_channels: int,
        upsample: int,
        labels: int,
        anchor_channels: int,
        local_kernel: int = 1,
    ) -> None:
        super().__init__()
        self.anchor_channels = anchor_channels
        self.embedding = SinusoidalEmbedding(EMBEDDING)
        self.embedding_projection = nn.Sequential(
            nn.Linear(EMBEDDING, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU()
        )
        self.label_embedding = LabelEmbedding(labels, HIDDEN) if labels else None
        self.local_projection: nn.Conv1d | None = None
        if local_channels:
            self.upsampler = Upsampler(upsample)
            self.local_projection = nn.Conv1d(
                local_channels, width, local_kernel, padding=local_kernel // 2
            )

    def prepare(self, cond: Condition) -> Tensor | None:
        """The local condition, upsampled and projected, ``[batch, width, time]``, if any."""
        if self.local_projection is None:
            return None
        local = cond.needed("local")
        with precision(local):
            return self.local_projection(self.upsampler(local))

    def forward(
        self, x: Tensor, c_noise: Tensor, cond: Condition, frames: Frames = WHOLE
    ) -> Tensor:
        """The prediction for ``x [batch, channels, time]`` at ``c_noise [batch]``.

        Args:
            frames: the whole signal, or a stream of parts where the network ``streams``.

        Raises:
            ValueError: if a condition that the network was built for is missing.
        """
        with precision(x):
            step = self.embedding_projection(self.embedding(c_noise))
            if self.label_embedding is not None:
                step = step + self.label_embedding(cond.needed("label"))
            if self.anchor_channels:
                x = torch.cat([x, cond.needed("anchor")], dim=1)
            local = self.prepare(cond) if cond.prepared is None else cond.prepared
            local = None if local is None else local[..., : x.shape[-1]]
            return self._predict(x, step, local, frames)

    def _predict(self, x: Tensor, step: Tensor, local: Tensor | None, frames: Frames) -> Tensor:
        """The prediction with prepared conditions.

        Args:
            x: the signal and the anchor, ``[batch, channels + anchor_channels, time]``.
            step: embedding of noise level and label, ``[batch, HIDDEN]``.
            local: the result of ``prepare``, possibly of fewer items than ``x``, see
                ``add_to_each_``.
            frames: the whole signal, or a stream of parts.
        """
        raise NotImplementedError
