"""A file system that takes no more bytes."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

BYTES = 400


@contextmanager
def full_disk(size: int = BYTES) -> Iterator[None]:
    """No file becomes longer than ``size`` in the block."""
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # Python would leave them cut off
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        monkeypatch.undo()
