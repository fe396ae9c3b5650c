"""Download public datasets, completely or not at all."""

import hashlib
import shutil
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import torch

from wavediff.errors import UserError, shorten
from wavediff.files import exclusive

STAGING = ".download"
BY_HAND = "set data.root to the folder that holds it"


def fetch_archive(
    url: str, root: Path, folder: str, size: str, *, checksum: str | None = None, packed: str = ""
) -> Path:
    """Return ``root/folder``, unpacked from the archive at ``url`` if it is absent.

    An archive of that name in ``root`` is taken instead of a download. Only files and folders that
    stay below ``root`` are unpacked.

    Args:
        url: of a tar or zip archive.
        size: of the download, for messages.
        checksum: SHA-256 of the archive; a zip archive has a checksum for each file besides.
        packed: the folder within the archive; ``folder`` by default, "." for its top.

    Raises:
        UserError: if it cannot be downloaded, or is damaged.
    """

    def download(staging: Path) -> None:
        name = url.rsplit("/", 1)[-1]
        archive, inside = staging / name, staging / "unpacked"
        own = root / name
        if own.is_file():
            _verify(own, checksum)
            archive = own
        elif not archive.exists():
            torch.hub.download_url_to_file(
                url, str(archive), hash_prefix=checksum, progress=sys.stderr.isatty()
            )
        else:
            try:
                _verify(archive, checksum)
            except ValueError:
                archive.unlink()
                raise
        try:
            _unpack(archive, inside)
        except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error):
            shutil.rmtree(inside, ignore_errors=True)
            if archive != own:
                archive.unlink()
            raise
        (inside / (packed or folder)).rename(staging / folder)

    return _fetch(download, root, folder, size)


def _verify(archive: Path, checksum: str | None) -> None:
    """Raises ValueError for another checksum."""
    if checksum is None:
        return
    with open(archive, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != checksum:
        raise ValueError(f"{archive} has the SHA-256 {found}, not {checksum}: remove it")


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack the files of a tar or zip archive; links and devices are left out.

    Raises:
        ValueError: for a name that leaves ``folder``.
    """
    folder.mkdir()
    if archive.suffix == ".zip" or zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            for entry in file.infolist():
                _below(entry.filename)
            file.extractall(folder)  # checks each file's checksum
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            target = folder / _below(member.name)
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
            elif member.isfile():
                target.parent.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                assert source is not None
                with source, open(target, "wb") as out:
                    shutil.copyfileobj(source, out)


def _below(name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"the archive has a file {shorten(name)!r} outside its folder")
    return path


def fetch_file(
    url: str, root: Path, size: str, *, checksum: str | None = None, by_hand: str = BY_HAND
) -> Path:
    """Return the file of ``url`` in ``root``, downloaded if it is absent.

    Args:
        checksum: SHA-256 of the file.
        by_hand: what to do with a file that was got by hand, for messages.

    Raises:
        UserError: if it cannot be downloaded, or has another checksum.
    """
    place = root / url.rsplit("/", 1)[-1]
    with _explained(place.name, root, size, by_hand):
        if place.is_file():
            _verify(place, checksum)
            return place
        root.mkdir(parents=True, exist_ok=True)
        with exclusive(root):
            if not place.is_file():
                print(f"data: downloading {place.name} ({size}) to {root}", file=sys.stderr)
                torch.hub.download_url_to_file(
                    url, str(place), hash_prefix=checksum, progress=sys.stderr.isatty()
                )
    return place


def _fetch(download: Callable[[Path], None], root: Path, folder: str, size: str) -> Path:
    """Return ``root/folder``, which ``download`` makes in the folder that it is given.

    Downloaders take a folder that exists for a complete one. So they work in a hidden folder, from
    which only a finished dataset moves to its place; an archive that is complete is kept until
    then. Processes that want the same dataset wait for each other.
    """
    place, staging = root / folder, root / STAGING
    if place.is_dir():
        return place
    try:
        with _explained(folder, root, size):
            root.mkdir(parents=True, exist_ok=True)
            with exclusive(root):
                if place.is_dir():
                    return place
                staging.mkdir(exist_ok=True)
                for half in staging.iterdir():
                    if half.is_dir():
                        shutil.rmtree(half)
                print(f"data: downloading {folder} ({size}) to {root}", file=sys.stderr)
                download(staging)
                place.parent.mkdir(parents=True, exist_ok=True)
                (staging / folder).rename(place)
                shutil.rmtree(staging)
    finally:
        if staging.is_dir() and not any(staging.iterdir()):
            staging.rmdir()
    return place


@contextmanager
def _explained(name: str, root: Path, size: str, by_hand: str = BY_HAND) -> Iterator[None]:
    """Turn any error of the network, server, disk or archive into one sentence."""
    try:
        yield
    except Exception as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"{name} ({size}) is not in {root} and could not be downloaded ({reason}): check the "
            f"network and the disk, or get it by hand and {by_hand}"
        ) from error
