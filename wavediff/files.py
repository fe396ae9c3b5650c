"""Files that are written whole or not at all, and where the configuration files lie."""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from wavediff.errors import UserError

_REASONS = {
    errno.EACCES: "permission denied: choose a folder that you may write to",
    errno.EPERM: "permission denied: choose a folder that you may write to",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.ENOENT: "no file can be made there: choose another folder",
    errno.ENOSPC: "the disk is full: free some space or choose another disk",
    errno.EDQUOT: "the disk quota is used up: free some space or choose another disk",
    errno.EFBIG: "the file is too large for this file system: choose another disk",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
    errno.ENOTDIR: "a part of its path is a file, not a folder: choose another path",
    errno.EEXIST: "a part of its path is a file, not a folder: choose another path",
}
_FULL_DISK_BYTES = 64 * 1024


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix) that becomes `path` on success.

    The temporary file is flushed to the disk and renamed on success, and removed on any failure or
    interruption, so that `path` holds its old content or the whole new one. Missing parent folders
    are created.

    Raises `UserError` when the place cannot be written to: no permission, a read-only or full disk,
    a folder or device in the file's place.
    """
    path = Path(path)
    temporary = path.parent / f".tmp-{secrets.token_hex(6)}{path.suffix}"
    try:
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "not a regular file"
            raise UserError(f"cannot write {path}: it is {kind}; give the name of a file.")
        _make_folder(path)
        temporary.touch(exist_ok=False)  # a place that cannot be written to fails before the work
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    except OSError as error:
        reason = _REASONS.get(error.errno or 0)
        if reason is None or not _concerns(error, temporary):
            raise
        raise UserError(f"cannot write {path}: {reason}.") from error
    except UserError:
        raise
    except Exception as error:
        # libsndfile, safetensors and torch report a full disk by errors of their own.
        if not _disk_is_full(temporary):
            raise
        raise UserError(f"cannot write {path}: {_REASONS[errno.ENOSPC]}.") from error
    finally:
        _remove(temporary)


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        other = f"its folder cannot be made ({error.strerror}): choose another"
        reason = _REASONS.get(error.errno or 0, other)
        raise UserError(f"cannot write {path}: {reason}.") from error


def conf_folder() -> Path:
    """Where `conf` lies: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    return next(p for p in (package / "conf", package.parent / "conf") if (p / "mel").is_dir())


def _concerns(error: OSError, temporary: Path) -> bool:
    """Whether the error came from writing `temporary`, not from another file in the block."""
    if not isinstance(error.filename, str | os.PathLike):
        return True
    name = Path(error.filename)
    return name.name == temporary.name or name == temporary.parent or name in temporary.parents


def _disk_is_full(temporary: Path) -> bool:
    return temporary.exists() and shutil.disk_usage(temporary.parent).free < _FULL_DISK_BYTES


def _flush(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # the folder is gone, is a file or became read-only
        path.unlink(missing_ok=True)
