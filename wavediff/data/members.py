"""Audio files inside tar archives, read without unpacking."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wavediff.data.shards import Shard


@dataclass(frozen=True)
class Member:
    """A file in a shard, which is read like one on the disk. As text: ``SHARD/NAME``.

    Attributes:
        shard: the tar archive.
        name: of the file in the archive.
        offset: of its first byte in the archive.
        size: in bytes.
    """

    shard: "Shard"
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.shard}/{self.name}"

    def read(self) -> bytes:
        """Return the content; shorter than ``size`` if the archive is truncated.

        Raises:
            OSError: if the archive cannot be read.
        """
        with self.shard.open() as archive:
            archive.seek(self.offset)
            return archive.read(self.size)

    def on_disk(self) -> AbstractContextManager[Path]:
        """Return a context with a path under which every decoder finds the content."""
        return as_file(self.read(), Path(self.name).suffix)


@contextmanager
def as_file(content: bytes, suffix: str) -> Iterator[Path]:
    """Yield a path of a file with this content, in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("member")
        try:
            with open(handle, "wb", closefd=False) as file:
                file.write(content)
            yield Path(f"/proc/{os.getpid()}/fd/{handle}")  # ffmpeg, a child, finds it too
        finally:
            os.close(handle)
        return
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(content)
        file.flush()
        yield Path(file.name)
