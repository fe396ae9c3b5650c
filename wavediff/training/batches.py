"""Batches by number: the samples of a step are a function of the step alone."""

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Generator, Iterator
from functools import partial
from itertools import count, pairwise
from types import FrameType

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from wavediff.errors import UserError


class StepIndices:
    """Endless lists of one process's sample numbers, ``accumulate`` lists per step.

    Step s uses samples s * batch_size to (s + 1) * batch_size - 1. Each process takes a
    consecutive share of them and splits it into ``accumulate`` parts of nearly equal size.

    Args:
        start: the first step.
        batch_size: samples of a step over all processes.
        accumulate: parts of a process's share.
        rank: the number of this process.
        size: the number of processes.

    Raises:
        UserError: if a part would be empty.
    """

    def __init__(self, start: int, batch_size: int, accumulate: int, rank: int, size: int) -> None:
        if batch_size < accumulate * size:
            raise UserError(
                f"trainer.batch_size={batch_size} is too small for {size} processes x "
                f"{accumulate} parts. Raise it, or lower trainer.accumulate."
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
) -> Generator[dict[str, Tensor]]:
    """Yield collated batches ``{"audio": [batch, 1, time], "index": [batch], ...}`` without end.

    Close the generator when done: its workers ignore signals until then.

    Raises:
        UserError: if a worker raises one.
    """
    closing = multiprocessing.Value("b", 0, lock=False)
    loader = DataLoader(
        data,
        batch_sampler=indices,
        num_workers=min(workers, usable_cores()),
        pin_memory=pin_memory,
        worker_init_fn=partial(_leave_signals_to_the_parent, closing),
    )
    try:
        yield from loader
    except UserError as error:
        # the message of a worker's error begins with its traceback
        raise UserError(str(error).strip().rpartition("UserError: ")[2]) from error
    finally:
        closing.value = 1


def usable_cores() -> int:
    """Return the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _leave_signals_to_the_parent(closing: ctypes.c_byte, worker: int) -> None:
    """Ignore signals in a worker until the parent closes the loader.

    SIGINT from a terminal, and SIGTERM from some job managers, reach the whole process group, but
    the parent decides when to stop; it then ends its workers by SIGTERM.
    """

    def end(signum: int, frame: FrameType | None) -> None:
        if closing.value:
            os._exit(0)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
