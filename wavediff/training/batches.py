"""Batches by number: which samples a step uses follows from the step alone."""

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Iterator
from functools import partial
from itertools import count, pairwise
from types import FrameType

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from wavediff.errors import UserError


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
    """Endless collated batches {"audio": [batch, 1, time], "index": [batch], ...}.

    Close the generator when done: signals do not end its workers before that.
    """
    closing = multiprocessing.Value("b", 0, lock=False)
    loader = DataLoader(
        data,
        batch_sampler=indices,  # type: ignore[arg-type]
        num_workers=min(workers, usable_cores()),
        pin_memory=pin_memory,
        worker_init_fn=partial(_leave_signals_to_the_parent, closing),
    )
    try:
        yield from loader
    except UserError as error:
        # a worker's error arrives with its traceback in the message
        raise UserError(str(error).strip().rpartition("UserError: ")[2]) from error
    finally:
        closing.value = 1


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _leave_signals_to_the_parent(closing: ctypes.c_byte, worker: int) -> None:
    """Ctrl-C, and some managers' SIGTERM, reach the whole group, but the parent will decide.

    When it is done, it ends its workers by SIGTERM.
    """

    def end(signum: int, frame: FrameType | None) -> None:
        if closing.value:
            os._exit(0)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
