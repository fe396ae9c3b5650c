import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from wavediff.training.memory import keep_freed
torch.set_num_threads(1)
if sys.argv[1] == "kept":
    keep_freed()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.ones(2**25).add_(1)  # 128 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def faults(kept: str) -> int:
    """Pages that the system had to clear for four tensors of a size seen before."""
    command = [sys.executable, "-c", FAULTS, kept]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of the C library of Linux")
def test_freed_memory_serves_the_next_tensor():
    given_back = faults("given back")
    assert given_back > 100  # else there is nothing to gain
    assert faults("kept") < given_back / 10
