"""One process, or several started by torchrun."""

import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from wavediff.errors import UserError, shorten

JOIN_SECONDS = 1800  # within which all processes must have joined


@dataclass(frozen=True)
class World:
    """This process among those that train together."""

    rank: int
    size: int
    device: torch.device

    @property
    def main(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def any(self, facts: Sequence[bool]) -> list[bool]:
        """For each fact, return whether it holds in at least one process."""
        if self.size == 1:
            return list(facts)
        counts = torch.tensor(facts, dtype=torch.float32, device=self.device)
        return [count > 0 for count in self.sum(counts).tolist()]

    def gather(self, value: Any) -> list[Any]:
        """Return every process's value, in the order of ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            # all_reduce, because dist.barrier guesses the device with nccl
            self.sum(torch.zeros(1, device=self.device))

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Run the block in the main process first (downloads, synthetic data)."""
        if not self.main:
            self.barrier()
        yield
        if self.main:
            self.barrier()


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """Return the device called ``name``; ``auto`` is the GPU if there is one, else the CPU.

    Raises:
        UserError: for an unknown name or a GPU that is not available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(
            f"trainer.device={shorten(name)} is not a device. Use auto, cpu, cuda or cuda:0."
        ) from error
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"trainer.device={shorten(name)} is not supported. Use cpu or cuda.")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UserError(
                f"trainer.device={name}: PyTorch finds no CUDA GPU. Use trainer.device=auto or cpu."
            )
        index = local_rank if device.index is None else device.index
        if index >= torch.cuda.device_count():
            raise UserError(
                f"trainer.device={name}: there is no GPU {index}; PyTorch finds "
                f"{torch.cuda.device_count()}, numbered from 0. Lower the number."
            )
        device = torch.device("cuda", index)
    return device


def restarted() -> bool:
    """Whether torchrun started this process again after a failure (``--max-restarts``)."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


def new_name(store: dist.Store, rank: int, size: int) -> str:
    """Return a name that is the same in all processes and was never used in ``store``.

    The store of torchrun outlives its workers: under the names of an earlier group, processes
    would read the addresses of others that have ended. So the first process names the group, and
    answers each of the others under a key that only that one knows.
    """
    own = secrets.token_hex(8)
    if rank > 0:
        store.set(f"wavediff/asks/{rank}", own)
        name = store.get(f"wavediff/answers/{own}").decode()
        store.set(f"wavediff/{name}/{rank}", "")
        return name
    end = time.monotonic() + JOIN_SECONDS
    waiting = set(range(1, size))
    while waiting:
        for other in list(waiting):
            if store.check([f"wavediff/{own}/{other}"]):
                waiting.remove(other)
            elif store.check([f"wavediff/asks/{other}"]):  # perhaps of an earlier process
                asker = store.get(f"wavediff/asks/{other}").decode()
                store.set(f"wavediff/answers/{asker}", own)
        if waiting and time.monotonic() > end:
            raise UserError(
                f"{len(waiting)} of {size} processes have not joined within {JOIN_SECONDS} s: see "
                "the messages of the other nodes."
            )
        time.sleep(0.02)
    return own


@contextmanager
def joined(device_name: str) -> Iterator[World]:
    """Join the process group if torchrun started this process: gloo on CPUs, nccl on GPUs.

    Raises:
        UserError: as ``choose_device``.
    """
    size = int(os.environ.get("WORLD_SIZE", 1))
    rank, local_rank = int(os.environ.get("RANK", 0)), int(os.environ.get("LOCAL_RANK", 0))
    device = choose_device(device_name, local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if size == 1:
        yield World(0, 1, device)
        return
    store, *_ = next(dist.rendezvous("env://"))
    store = dist.PrefixStore(new_name(store, rank, size), store)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        yield World(rank, size, device)
    finally:
        dist.destroy_process_group()
