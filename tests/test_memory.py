import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from wavediff.memory import keep_freed
torch.set_num_threads(1)
if sys.argv[1] == "kept":
    keep_freed()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(10 * 2**20).add_(1)  # 40 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def faults(kept: str) -> int:
    """Pages that the system had to clear for twenty tensors of a size seen before."""
    command = [sys.executable, "-c", FAULTS, kept]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of the C library of Linux")
def test_freed_memory_serves_the_next_tensor():
    given_back = faults("given back")
    assert given_back > 1000  # else there is nothing to gain
    assert faults("kept") < given_back / 2
