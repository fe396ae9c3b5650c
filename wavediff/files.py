"""Atomic writes, and the location of the configuration files."""

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from wavediff.errors import UserError

REFUSALS = {  # what a file system says, by the number of the error
    errno.EACCES: "permission denied: choose a folder with write permission",
    errno.EPERM: "permission denied: choose a folder with write permission",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.ENOENT: "a file cannot be created there: choose another folder",
    errno.ENOSPC: "the disk is full: free some space or choose another disk",
    errno.EDQUOT: "the disk quota is used up: free some space or choose another disk",
    errno.EFBIG: "the file is too large for this file system: choose another disk",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
    errno.ENOTDIR: "part of its path is a file, not a folder: choose another path",
    errno.ELOOP: "its links lead in a circle: choose another path",
    errno.EEXIST: "part of its path is a file, not a folder: choose another path",
}
_PROBE_BYTES = 64 * 1024
TEMPORARY = ".tmp-"


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Wait until no other process holds ``folder``, and hold it within the block."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` (same suffix) that becomes ``path`` on success.

    On success the temporary file is flushed to disk and renamed; on failure or interruption it is
    removed. ``path`` therefore holds either its old content or all of the new one. Missing parent
    folders are created. What killed processes left in the folder is removed first: their temporary
    files, which no process holds a lock on.

    Raises:
        UserError: if ``path`` cannot be written: no permission, a read-only or full disk, or a
            folder or device of that name.
    """
    path = Path(path)
    temporary, held = _temporary(path), None
    try:
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "not a regular file"
            raise UserError(f"cannot write {path}: it is {kind}; give the name of a file.")
        _make_folder(path)
        remove_left_over(path.parent)
        # fail before the work, not after it
        while (held := _created(temporary)) is None:
            temporary = _temporary(path)
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    except UserError:
        raise
    except Exception as error:
        number = error.errno if isinstance(error, OSError) and error.errno in REFUSALS else None
        if number and isinstance(error, OSError) and not _concerns(error, temporary):
            raise
        # libsndfile, safetensors, torch and numpy report a full disk by exceptions of their own
        reason = REFUSALS.get(number or _refusal(temporary))
        if reason is None:
            raise
        raise UserError(f"cannot write {path}: {reason}.") from error
    finally:
        if held is not None:
            os.close(held)
        _remove(temporary)


@lru_cache(maxsize=256)
def remove_left_over(folder: Path) -> None:
    """Remove temporary files of processes that are gone, once a folder and process."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(TEMPORARY) and entry.is_file(follow_symlinks=False):
                _remove_orphan(Path(entry.path))


def _remove_orphan(path: Path) -> None:
    """Remove a file unless a process holds it: the system drops the lock of one that is killed."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(handle)


def _temporary(path: Path) -> Path:
    return path.parent / f"{TEMPORARY}{secrets.token_hex(6)}{path.suffix}"


def _created(temporary: Path) -> int | None:
    """Create a file and hold it; None where another process took it for an orphan meanwhile."""
    handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(handle, fcntl.LOCK_EX)
    if os.fstat(handle).st_nlink:
        return handle
    os.close(handle)
    return None


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        other = f"its folder cannot be created ({error.strerror}): choose another"
        reason = REFUSALS.get(error.errno or 0, other)
        raise UserError(f"cannot write {path}: {reason}.") from error


def path_component(name: str) -> str:
    """Return ``name`` as one component of a path, whatever it contains: never up or elsewhere."""
    safe = "".join("_" if c in "/\\" or not c.isprintable() else c for c in name)
    return safe if safe.strip(". ") else "_" * max(len(safe), 1)


def conf_folder() -> Path:
    """Return the folder ``conf``: inside the package if installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    return next(p for p in (package / "conf", package.parent / "conf") if (p / "mel").is_dir())


def conf_files(group: str) -> dict[str, Path]:
    """Return the files of a group of the configuration by their names, sorted."""
    return {path.stem: path for path in sorted((conf_folder() / group).glob("*.yaml"))}


def _concerns(error: OSError, temporary: Path) -> bool:
    """Return whether the error is about ``temporary``, not another file used in the block."""
    if not isinstance(error.filename, str | os.PathLike):
        return True
    name = Path(error.filename)
    return name.name == temporary.name or name == temporary.parent or name in temporary.parents


def _refusal(temporary: Path) -> int:
    """The number of the error by which the file system refuses more bytes; 0 if it takes them."""
    try:
        with open(temporary, "ab") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno or 0
    return 0


def _flush(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # the folder may be gone, a file or read-only
        path.unlink(missing_ok=True)
