"""Input files: the paths, folders and globs of a command line, and suffixes by kind."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from wavediff.errors import UserError, shorten

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff")
MEL_SUFFIXES = (".npy", ".pt", ".safetensors")
LATENT_SUFFIXES = (".npz",)
TABLE_SUFFIXES = (".csv", ".csv.gz", ".txt", ".tsv", ".parquet", ".pq")
CONTAINERS = {  # by suffix; the first is for audio that comes from another container
    ".wav": ("WAV", "WAVEX", "RF64"),
    ".w64": ("W64",),
    ".flac": ("FLAC",),
    ".aif": ("AIFF",),
    ".aiff": ("AIFF",),
    ".ogg": ("OGG",),
    ".opus": ("OGG",),
    ".mp3": ("MP3",),
}


def expanded(path: str | Path) -> Path:
    """Return a path with ``~`` and ``~name`` replaced by the folder of that user.

    Raises:
        UserError: for another kind of value, or an unknown user.
    """
    try:
        return Path(path).expanduser()
    except TypeError as error:
        raise UserError(f"{shorten(path)} is not the path of a file or folder") from error
    except RuntimeError as error:
        raise UserError(f"{shorten(path)}: there is no such user on this machine") from error


def find_audio(paths: Sequence[str | Path], suffixes: Sequence[str] = AUDIO_SUFFIXES) -> list[Path]:
    """Return the files that ``paths`` mean, none twice.

    Files are taken as they are, folders (with everything below them) and globs by suffix, sorted.

    Raises:
        UserError: where one of ``paths`` matches nothing.
    """
    found: dict[Path, None] = {}
    for path in [paths] if isinstance(paths, str | Path) else paths:
        place = expanded(path)
        if place.is_dir():
            matches = _below(place, suffixes)
        elif place.exists():
            matches = [place]
        elif glob.has_magic(str(path)):
            matches = []
            for match in sorted(map(Path, glob.glob(str(place), recursive=True))):
                if match.is_dir():
                    matches += _below(match, suffixes)
                elif match.suffix.lower() in suffixes:
                    matches.append(match)
        else:
            raise UserError(f"{path} does not exist: give a file, a folder or a quoted glob")
        if not matches:
            raise UserError(f"no files ending in {', '.join(suffixes)} in {path}")
        found.update(dict.fromkeys(matches))
    if not found:
        raise UserError("no input: give at least one file, folder or glob")
    return list(found)


def folders(given: str) -> list[Path]:
    """Return the folders that a path or a glob means."""
    path = expanded(given)
    if path.exists():
        return [path] if path.is_dir() else []
    return [Path(found) for found in glob.glob(str(path), recursive=True) if Path(found).is_dir()]


def is_parquet(path: Path) -> bool:
    """Whether a path is that of a Parquet file, by its name."""
    return path.name.lower().endswith((".parquet", ".pq"))


def require_file(path: Path, what: str) -> None:
    """See that an input exists and is not a folder.

    Args:
        what: a file to give instead, for the message.

    Raises:
        UserError: where it is not so.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder: give {what}")
    if not path.exists():
        raise UserError(f"{path} does not exist: give {what}")


def _below(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Sorted files below a folder, through symbolic links, without hidden ones (macOS's ._x)."""
    files, seen = [], set()
    for here, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:  # a link back up
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [
            Path(here, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes
        ]
    return sorted(files)
