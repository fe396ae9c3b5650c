"""Download public datasets, by torchaudio's downloaders or as files, completely or not at all."""

import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from wavediff.errors import UserError
from wavediff.files import exclusive
from wavediff.packages import import_torchaudio

STAGING = ".download"


def fetch(dataset: str, root: Path, folder: str, size: str, **settings: Any) -> Path:
    """Return ``root/folder``, which ``torchaudio.datasets`` downloads if it is absent.

    Args:
        dataset: a class of ``torchaudio.datasets``, called with ``settings``.
        size: of the download, for messages.

    Raises:
        UserError: if it cannot be downloaded.
    """

    def download(staging: Path) -> None:
        getattr(import_torchaudio().datasets, dataset)(str(staging), download=True, **settings)

    if not (root / folder).is_dir():
        import_torchaudio()  # fails here, with its own message, if it is not installed
    return _fetch(download, root, folder, size)


def fetch_zip(url: str, root: Path, folder: str, size: str) -> Path:
    """Return ``root/folder``, downloaded in the zip archive at ``url`` if it is absent.

    Raises:
        UserError: if it cannot be downloaded.
    """

    def download(staging: Path) -> None:
        archive, inside = staging / f"{folder}.zip", staging / "unpacked"
        if not archive.exists():
            torch.hub.download_url_to_file(url, str(archive), progress=sys.stderr.isatty())
        try:
            with zipfile.ZipFile(archive) as file:
                file.extractall(inside)  # checks each file's checksum
        except zipfile.BadZipFile:
            archive.unlink()
            raise
        (inside / folder).rename(staging / folder)

    return _fetch(download, root, folder, size)


def fetch_file(url: str, root: Path, size: str) -> Path:
    """Return the file of ``url`` in ``root``, downloaded if it is absent.

    Raises:
        UserError: if it cannot be downloaded.
    """
    place = root / url.rsplit("/", 1)[-1]
    if place.is_file():
        return place
    with _explained(place.name, root, size):
        root.mkdir(parents=True, exist_ok=True)
        with exclusive(root):
            if not place.is_file():
                print(f"data: downloading {place.name} ({size}) to {root}", file=sys.stderr)
                torch.hub.download_url_to_file(url, str(place), progress=sys.stderr.isatty())
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
def _explained(name: str, root: Path, size: str) -> Iterator[None]:
    """Turn any error of the network, server, disk or archive into one sentence."""
    try:
        yield
    except Exception as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"{name} ({size}) is not in {root} and could not be downloaded ({reason}): check the "
            "network and the disk, or get it by hand and set data.root to the folder that holds it"
        ) from error
