"""Public datasets by torchaudio's downloaders, whole or not at all."""

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wavediff.data.audio import import_torchaudio
from wavediff.errors import UserError

STAGING = ".download"


def fetch(dataset: str, root: Path, folder: str, size: str, **settings) -> Path:
    """`root/folder`, downloaded and unpacked by torchaudio.datasets.`dataset` where it is absent.

    torchaudio takes a folder that is there for a complete one. So it works in a hidden folder, from
    which only a finished dataset moves to its place; an archive that came whole is kept until then.
    Processes that want the same dataset wait for each other.

    Raises UserError, above all where there is no network.
    """
    place, staging = root / folder, root / STAGING
    if place.is_dir():
        return place
    download = getattr(import_torchaudio().datasets, dataset)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _alone(root):
            if place.is_dir():
                return place
            staging.mkdir(exist_ok=True)
            for half in staging.iterdir():
                if half.is_dir():
                    shutil.rmtree(half)
            print(f"data: downloading {folder} ({size}) to {root}", file=sys.stderr)
            download(str(staging), download=True, **settings)
            place.parent.mkdir(parents=True, exist_ok=True)
            (staging / folder).rename(place)
            shutil.rmtree(staging)
    except Exception as error:  # whatever network, server, disk or archive can come up with
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"{folder} ({size}) is not in {root} and could not be downloaded ({reason}): check the "
            "network and the disk, or get it by hand and set data.root to the folder that holds it"
        ) from error
    finally:
        if staging.is_dir() and not any(staging.iterdir()):
            staging.rmdir()
    return place


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
