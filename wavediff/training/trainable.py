"""The interface between training and a model, which ``wavediff.tasks.task.Task`` implements."""

from collections.abc import Mapping, Sequence
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from wavediff.diffusion.noise import ItemNoise


class Trainable(Protocol):
    """A trainable model; ``Task`` documents the members."""

    sample_rate: int

    @property
    def network(self) -> nn.Module: ...

    @property
    def networks(self) -> Sequence[nn.Module]: ...

    def loss(self, batch: Mapping[str, Tensor], noise: ItemNoise) -> dict[str, Tensor]: ...

    def generated(self, batch: Mapping[str, Tensor], noise: ItemNoise) -> tuple[Tensor, Tensor]: ...

    def progress(self, share: float) -> None: ...

    def to(self, device: torch.device) -> Self: ...

    def train(self) -> Self: ...

    def eval(self) -> Self: ...
