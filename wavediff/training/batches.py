"""Batches by number: which samples a step uses follows from the step alone."""

from collections.abc import Iterator
from itertools import count, pairwise

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from wavediff.errors import UserError
from wavediff.training.signals import leave_signals_to_the_parent


class StepIndices:
    """Lists of sample numbers, `accumulate` for each step from `start` on, of one process.

    Step s uses the samples s * batch_size ... (s + 1) * batch_size - 1. Each process takes a
    consecutive share and cuts it into `accumulate` parts, all as equal as they can be.
    """

    def __init__(self, start: int, batch_size: int, accumulate: int, rank: int, size: int) -> None:
        if batch_size < accumulate * size:
            raise UserError(
                f"trainer.batch_size={batch_size} cannot be cut into {size} processes x "
                f"{accumulate} parts: raise it, or lower trainer.accumulate"
            )
        self.start = start
        self.batch_size = batch_size
        share = _parts(0, batch_size, size)[rank]
        self.parts = _parts(share.start, share.stop, accumulate)

    def __iter__(self) -> Iterator[list[int]]:
        for step in count(self.start):
            for part in self.parts:
                yield [step * self.batch_size + i for i in part]


def _parts(start: int, stop: int, number: int) -> list[range]:
    cuts = [start + (stop - start) * k // number for k in range(number + 1)]
    return [range(a, b) for a, b in pairwise(cuts)]


def batches(
    data: Dataset, indices: StepIndices, workers: int, pin_memory: bool
) -> Iterator[dict[str, Tensor]]:
    """Endless collated batches {"audio": [batch, 1, time], "index": [batch], ...}."""
    loader = DataLoader(
        data,
        batch_sampler=indices,  # type: ignore[arg-type]
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=leave_signals_to_the_parent,
    )
    try:
        yield from loader
    except UserError as error:
        # a worker's error arrives with its traceback in the message
        raise UserError(str(error).strip().rpartition("UserError: ")[2]) from error
