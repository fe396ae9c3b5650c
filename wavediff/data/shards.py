"""Shards: tar archives that lie on the disk, or are fetched to it when they are needed."""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from wavediff.data.shard_index import ShardIndex, fits, make_index, read_index, write_index
from wavediff.errors import UserError
from wavediff.files import atomic_path

# Writes a shard to a path. Returns what is wrong with it, as after "SHARD"; empty if nothing is.
Fetch = Callable[[Path], str]


@dataclass(frozen=True)
class Shard:
    """A tar archive of clips.

    Attributes:
        name: as given, for messages.
        path: where it lies, or where it is fetched to.
        index_path: of its index, which is made if there is none.
        fetch: fetches it; None for a file of the user's.
        keep: number of fetched shards that stay in the folder of ``path``.
    """

    name: str
    path: Path
    index_path: Path
    fetch: Fetch | None = None
    keep: int = 0

    def __str__(self) -> str:
        return self.name

    def __hash__(self) -> int:
        return hash(self.path)

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open the archive, fetched first if need be.

        Raises:
            OSError: if it cannot be read.
            UserError: if it cannot be fetched.
        """
        file = self._opened()
        try:
            yield file
        finally:
            file.close()

    def _opened(self) -> BinaryIO:
        while True:
            try:
                file = open(self.path, "rb")  # noqa: SIM115
            except FileNotFoundError:
                if self.fetch is None:
                    raise
                self.ensure()
                continue  # another process may have removed it again
            if self.fetch is not None:
                with suppress(OSError):
                    os.utime(file.fileno())  # by which the one not used for longest is known
            return file

    def ensure(self) -> None:
        """Fetch the archive unless it is there; processes that need it at once fetch it once."""
        if self.fetch is None or self.path.exists():
            return
        with _locked(self.path):
            if self.path.exists():
                return
            with atomic_path(self.path) as temporary:
                damage = self.fetch(temporary)
            _damage_path(self.path).write_text(damage, "utf-8")
            index = read_index(self.index_path)
            if index is not None and not fits(self, index):  # of what was there before
                self.index_path.unlink(missing_ok=True)
            self._remove_oldest()

    def index(self) -> ShardIndex:
        """Return the clips, from the index if there is one. A shard that cannot be read has none.

        Raises:
            UserError: if it cannot be fetched.
        """
        try:
            index = read_index(self.index_path)
            if index is not None and (self.fetch is not None or fits(self, index)):
                return index
            index = make_index(self)
        except OSError as error:
            return ShardIndex((), f"cannot be read ({error.strerror or error})")
        with suppress(OSError):
            if damage := _damage_path(self.path).read_text("utf-8"):
                index = ShardIndex(index.entries, damage)
        with suppress(UserError, OSError):  # where it cannot be kept, it is made again
            write_index(self.index_path, self.name, self.path.stat().st_size, index)
        return index

    def _remove_oldest(self) -> None:
        shards = []
        for path in self.path.parent.glob("*.tar"):
            with suppress(OSError):
                shards.append((path.stat().st_mtime_ns, path))
        for _, path in sorted(shards)[: -self.keep]:
            if path != self.path:
                path.unlink(missing_ok=True)


def cache_folder(given: str | None) -> Path:
    """Return the folder for fetched shards and indices: ``given``, or that of the user's caches."""
    if given is not None:
        return Path(given).expanduser()
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "wavediff" / "shards"


def digest(*words: object) -> str:
    """Return a name for what these words identify."""
    return hashlib.sha256("\0".join(map(str, words)).encode("utf-8", "replace")).hexdigest()[:24]


def _damage_path(path: Path) -> Path:
    return path.with_suffix(".damage")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = path.with_suffix(".lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "w") as file:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
