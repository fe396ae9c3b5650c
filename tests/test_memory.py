import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from wavediff.memory import keep_freed
torch.set_num_threads(1)
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(10 * 2**20).add_(1)  # 40 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
keep_freed()
faults()
print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of the C library of Linux")
def test_freed_memory_serves_the_next_tensor():
    """By the pages that the system clears for twenty tensors of a size seen before."""
    command = [sys.executable, "-c", FAULTS]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    given_back, kept = map(int, output.split())
    assert given_back > 1000  # else there is nothing to gain
    assert kept < given_back / 2
