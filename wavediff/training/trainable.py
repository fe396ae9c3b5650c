"""What the training loop asks of a model; ``wavediff.tasks.task.Task`` has it all."""

from collections.abc import Mapping, Sequence
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from wavediff.diffusion.noise import ItemNoise


class Trainable(Protocol):
    """See ``Task`` for each."""

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
