"""How processes find each other in a store that outlives them."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch.distributed as dist

from wavediff.errors import UserError
from wavediff.training import distributed
from wavediff.training.distributed import new_name


def test_all_processes_of_a_group_have_a_name_that_no_earlier_group_had():
    store = dist.HashStore()
    names = set()
    for size in (3, 3, 2):  # one has left; the questions of the earlier groups remain in the store
        with ThreadPoolExecutor(size) as pool:
            found = set(pool.map(lambda rank, size=size: new_name(store, rank, size), range(size)))
        assert len(found) == 1
        names |= found
    assert len(names) == 3


def test_a_process_that_does_not_join(monkeypatch):
    monkeypatch.setattr(distributed, "JOIN_SECONDS", 0)
    with pytest.raises(UserError, match="1 of 2 processes have not joined within 0 s"):
        new_name(dist.HashStore(), 0, 2)
