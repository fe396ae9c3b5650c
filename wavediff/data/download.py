"""Public datasets, by torchaudio's downloaders or as zip files, whole or not at all."""

import fcntl
import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from wavediff.errors import UserError
from wavediff.packages import import_torchaudio

STAGING = ".download"


def fetch(dataset: str, root: Path, folder: str, size: str, **settings) -> Path:
    """`root/folder`, downloaded and unpacked by torchaudio.datasets.`dataset` where it is absent.
    Raises UserError, above all where there is no network."""

    def download(staging: Path) -> None:
        getattr(import_torchaudio().datasets, dataset)(str(staging), download=True, **settings)

    if not (root / folder).is_dir():
        import_torchaudio()  # what is said when it is missing is no fault of the network
    return _fetch(download, root, folder, size)


def fetch_zip(url: str, root: Path, folder: str, size: str) -> Path:
    """`root/folder`, which the archive at `url` holds, downloaded and unpacked where it is absent.
    Raises UserError, above all where there is no network."""

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
    """The file at `url`, in `root` under its own name, downloaded where it is absent. Raises
    UserError, above all where there is no network."""
    place = root / url.rsplit("/", 1)[-1]
    if place.is_file():
        return place
    with _explained(place.name, root, size):
        root.mkdir(parents=True, exist_ok=True)
        with _alone(root):
            if not place.is_file():
                print(f"data: downloading {place.name} ({size}) to {root}", file=sys.stderr)
                torch.hub.download_url_to_file(url, str(place), progress=sys.stderr.isatty())
    return place


def _fetch(download: Callable[[Path], None], root: Path, folder: str, size: str) -> Path:
    """`root/folder`, which `download` makes in the folder that it is given.

    Downloaders take a folder that is there for a complete one. So they work in a hidden folder,
    from which only a finished dataset moves to its place; an archive that came whole is kept until
    then. Processes that want the same dataset wait for each other.
    """
    place, staging = root / folder, root / STAGING
    if place.is_dir():
        return place
    try:
        with _explained(folder, root, size):
            root.mkdir(parents=True, exist_ok=True)
            with _alone(root):
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
    """Whatever network, server, disk or archive can come up with, as one sentence."""
    try:
        yield
    except Exception as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"{name} ({size}) is not in {root} and could not be downloaded ({reason}): check the "
            "network and the disk, or get it by hand and set data.root to the folder that holds it"
        ) from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
