"""Description of the hardware and software of a measurement."""

import platform
from pathlib import Path

import torch


def machine(cores: int) -> str:
    """Number of cores, processor, and versions of Python and torch."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    words = f"{cores} core{'s' if cores > 1 else ''} of {model}"
    return f"{words}, Python {platform.python_version()}, torch {torch.__version__}"
