"""One process, or several started by torchrun."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from wavediff.errors import UserError


@dataclass(frozen=True)
class World:
    """This process among those that train together."""

    rank: int
    size: int
    device: torch.device

    @property
    def main(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def any(self, facts: Sequence[bool]) -> list[bool]:
        """Which of the facts hold in at least one process."""
        if self.size == 1:
            return list(facts)
        counts = torch.tensor(facts, dtype=torch.float32, device=self.device)
        return [count > 0 for count in self.sum(counts).tolist()]

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, in the order of ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        if self.size > 1:
            # all_reduce rather than dist.barrier: no guess at the device with nccl
            self.sum(torch.zeros(1, device=self.device))

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The first process runs the block before the others (downloads, made-up data)."""
        if not self.main:
            self.barrier()
        yield
        if self.main:
            self.barrier()


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """`auto` is the GPU where there is one. Raises `UserError` for one that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"trainer.device={name} is no device: use auto, cpu or cuda") from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UserError(f"trainer.device={name}, but PyTorch sees no CUDA GPU: use auto or cpu")
        index = local_rank if device.index is None else device.index
        if index >= torch.cuda.device_count():
            raise UserError(
                f"there is no GPU number {index}: PyTorch sees {torch.cuda.device_count()}"
            )
        device = torch.device("cuda", index)
    return device


@contextmanager
def joined(device_name: str) -> Iterator[World]:
    """Join the processes that torchrun started (gloo on the CPU, nccl on GPUs), if it did."""
    size = int(os.environ.get("WORLD_SIZE", 1))
    rank, local_rank = int(os.environ.get("RANK", 0)), int(os.environ.get("LOCAL_RANK", 0))
    device = choose_device(device_name, local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if size == 1:
        yield World(0, 1, device)
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(rank, size, device)
    finally:
        dist.destroy_process_group()
