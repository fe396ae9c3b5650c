import multiprocessing
import os
import signal
import time
from itertools import islice

import pytest
import torch
from torch.utils.data import Dataset

from wavediff.errors import UserError
from wavediff.training.batches import StepIndices, batches


@pytest.mark.parametrize(("size", "accumulate"), [(1, 1), (1, 3), (2, 1), (3, 2)])
def test_processes_and_parts_together_make_the_global_batch(size: int, accumulate: int):
    of_ranks = [
        list(islice(StepIndices(5, 10, accumulate, rank, size), 2 * accumulate))
        for rank in range(size)
    ]
    for step in range(2):
        parts = [p for of in of_ranks for p in of[step * accumulate : (step + 1) * accumulate]]
        assert [i for part in parts for i in part] == list(range((5 + step) * 10, (6 + step) * 10))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_batch_too_small_to_be_cut_is_refused():
    with pytest.raises(UserError, match=r"trainer\.batch_size=3 .* 2 processes x 2 parts"):
        StepIndices(0, 3, 2, 0, 2)


class Numbers(Dataset):
    def __getitem__(self, index: int) -> dict:
        if index == 6:
            raise UserError("sample 6 is broken: mend it")
        return {"audio": torch.full((1, 2), float(index)), "index": index}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_sentence_from_a_worker_arrives_without_its_traceback(workers: int):
    feed = batches(Numbers(), StepIndices(1, 2, 1, 0, 1), workers, pin_memory=False)
    assert [next(feed)["index"].tolist() for _ in range(2)] == [[2, 3], [4, 5]]
    with pytest.raises(UserError) as caught:
        next(feed)
    assert str(caught.value) == "sample 6 is broken: mend it"


def test_workers_stay_when_a_signal_hits_the_group_and_go_when_the_parent_is_done():
    others = set(multiprocessing.active_children())
    feed = batches(Numbers(), StepIndices(1, 2, 1, 0, 1), 1, pin_memory=False)
    next(feed)
    (worker,) = set(multiprocessing.active_children()) - others
    for signum in (signal.SIGTERM, signal.SIGINT):
        os.kill(worker.pid, signum)
    time.sleep(0.1)
    assert next(feed)["index"].tolist() == [4, 5]
    # an error keeps the loader, and so its worker, alive for as long as it is kept itself
    with pytest.raises(UserError) as caught:
        next(feed)
    assert worker.is_alive()
    worker.terminate()  # as multiprocessing does at exit, and then waits for ever
    worker.join(10)
    assert worker.exitcode == 0
    del caught
