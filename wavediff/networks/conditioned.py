"""What networks over time do with their conditions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wavediff.diffusion.condition import Condition
from wavediff.networks.conditioner import Upsampler
from wavediff.networks.embedding import LabelEmbedding, SinusoidalEmbedding
from wavediff.networks.precision import precision

EMBEDDING, HIDDEN = 128, 256


class Conditioned(nn.Module):
    """The noise level and the label as one vector per item, the anchor joined to the input, and the
    local condition at the signal's rate, to be added once.

    Args:
        width: of what the local condition is added to.
        local_channels, upsample: of the local condition; no channels for none.
        local_kernel: frames of it that are seen at once; odd.
        labels: number of classes; 0 for none.
        anchor_channels: of the known signal y; 0 for none.

    Autocast to bfloat16 computes in float32 on a CPU without bfloat16 arithmetic.
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
        """The local condition at the signal's rate, ``[batch, width, time]``, kept."""
        if self.local_projection is None:
            return None
        local = cond.needed("local")
        with precision(local):
            return self.local_projection(self.upsampler(local))

    def forward(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        """The prediction for ``x [batch, channels, time]`` at ``c_noise [batch]``.

        Raises:
            ValueError: where a condition that the network was built for is missing.
        """
        with precision(x):
            step = self.embedding_projection(self.embedding(c_noise))
            if self.label_embedding is not None:
                step = step + self.label_embedding(cond.needed("label"))
            if self.anchor_channels:
                x = torch.cat([x, cond.needed("anchor")], dim=1)
            local = self.prepare(cond) if cond.prepared is None else cond.prepared
            return self._predict(x, step, None if local is None else local[..., : x.shape[-1]])

    def _predict(self, x: Tensor, step: Tensor, local: Tensor | None) -> Tensor:
        """For ``x [batch, channels + anchor_channels, time]``, ``step [batch, HIDDEN]`` and
        ``local``, ``prepare``'s, which may be of fewer items than ``x`` (``add_to_each_``)."""
        raise NotImplementedError
