"""Input files: the paths, folders and globs of a command line, and suffixes by kind."""

import glob
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from wavediff.errors import UserError, shorten

# What libsndfile reads.
SOUND_SUFFIXES = (
    ".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".aifr", ".wave", ".bwf",
    ".rf64", ".w64", ".caf", ".au", ".snd", ".oga", ".mp1", ".mp2", ".mpga", ".voc", ".sph",
    ".nist", ".8svx", ".svx", ".iff", ".paf", ".pvf", ".avr", ".ircam",
)  # fmt: skip
# What needs PyAV or ffmpeg, of a film the first audio track.
MEDIA_SUFFIXES = (
    ".m4a", ".m4b", ".m4r", ".m4p", ".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".3ga", ".aac",
    ".adts", ".wma", ".wmv", ".asf", ".webm", ".weba", ".mka", ".mkv", ".ogv", ".ogx", ".ogm",
    ".spx", ".amr", ".awb", ".ac3", ".eac3", ".ec3", ".dts", ".ape", ".wv", ".tta", ".tak", ".mpc",
    ".dsf", ".dff", ".avi", ".flv", ".f4v", ".f4a", ".mpg", ".mpeg", ".m2ts", ".mts", ".vob",
    ".ra", ".rm", ".gsm", ".alac",
)  # fmt: skip
AUDIO_SUFFIXES = SOUND_SUFFIXES + MEDIA_SUFFIXES  # for every command, and for training
# Media by their names that are not read: without a header, notes and not sound, protected, ...
UNREAD_SUFFIXES = (
    ".raw", ".pcm", ".sd2", ".mid", ".midi", ".kar", ".xm", ".s3m", ".sf2", ".aa",
    ".aax", ".aaxc", ".rx2", ".xi", ".sds", ".ses", ".aup", ".aup3", ".ptx", ".als", ".cda",
    ".dss", ".ds2", ".vox", ".g722", ".g726", ".g729", ".ulaw", ".alaw", ".lpcm", ".shn", ".ofr",
    ".oma", ".at3", ".swf", ".divx", ".mxf", ".dv", ".nsv", ".rmvb", ".part", ".crdownload",
    ".wv1", ".wv2", ".wve", ".htk", ".sln", ".ts", ".mpa", ".3gpp", ".3gp2", ".3gpp2", ".qcp",
    ".latm", ".loas", ".mlp", ".thd", ".caff", ".xwma", ".aa3", ".adx", ".nut", ".m4s", ".dvf",
    ".msv", ".cdda", ".ofs", ".la", ".shorten", ".mptm", ".g723", ".sbc",
)  # fmt: skip
_SIGNATURES = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"fLaC", b"OggS", b"ID3", b"caff", b".snd",
               b"riff", b"\xff\xfb", b"\xff\xf3", b"\x1a\x45\xdf\xa3")  # fmt: skip
MEL_SUFFIXES = (".npy", ".pt", ".safetensors")
LATENT_SUFFIXES = (".npz",)
MELS_READ = (*MEL_SUFFIXES, ".npz", ".pth")  # with what is not written
ARRAY_SUFFIXES = (  # of arrays that are not read, or not safely
    ".csv", ".tsv", ".txt", ".dat", ".json", ".mat", ".h5", ".hdf5", ".pkl", ".pickle", ".joblib",
    ".parquet", ".ckpt", ".bin", ".feather", ".zarr", ".tfrecord", ".png", ".tif", ".tiff",
)  # fmt: skip
TABLE_SUFFIXES = (".csv", ".csv.gz", ".txt", ".tsv", ".parquet", ".pq")
# What is written, by suffix; the first is for audio that comes from another container.
CONTAINERS = {
    ".wav": ("WAV", "WAVEX", "RF64"),
    ".wave": ("WAV", "WAVEX", "RF64"),
    ".bwf": ("WAV", "WAVEX", "RF64"),
    ".rf64": ("RF64",),
    ".w64": ("W64",),
    ".flac": ("FLAC",),
    ".aif": ("AIFF",),
    ".aiff": ("AIFF",),
    ".aifc": ("AIFF",),
    ".caf": ("CAF",),
    ".au": ("AU",),
    ".snd": ("AU",),
    ".ogg": ("OGG",),
    ".oga": ("OGG",),
    ".opus": ("OGG",),
    ".mp3": ("MP3",),
}


def expanded(path: str | Path) -> Path:
    """Return a path with ``~`` and ``~name`` replaced by the folder of that user.

    Raises:
        UserError: for another kind of value, an empty path, or an unknown user.
    """
    if isinstance(path, str) and not path:
        raise UserError("the path is empty: give a file or a folder")
    try:
        return Path(path).expanduser()
    except TypeError as error:
        raise UserError(f"{shorten(path)} is not the path of a file or folder") from error
    except RuntimeError as error:
        raise UserError(f"{shorten(path)}: there is no such user on this machine") from error


def find_audio(paths: Sequence[str | Path], suffixes: Sequence[str] = AUDIO_SUFFIXES) -> list[Path]:
    """Return the files that ``paths`` mean, none twice.

    Files are taken as they are, folders (with everything below them) and globs by suffix, sorted.
    Where audio is searched for, files that look like media but are not read are counted and named
    on stderr.

    Raises:
        UserError: where one of ``paths`` matches nothing.
    """
    found: dict[Path, None] = {}
    rest: dict[Path, None] = {}
    for path in [paths] if isinstance(paths, str | Path) else paths:
        place = expanded(path)
        if place.is_dir():
            matches = _taken(_below(place), suffixes, rest)
        elif place.exists():
            matches = [place]
        elif glob.has_magic(str(path)):
            matches = []
            for match in sorted(map(Path, glob.glob(str(place), recursive=True))):
                matches += _taken(_below(match) if match.is_dir() else [match], suffixes, rest)
        else:
            raise UserError(f"{path} does not exist: give a file, a folder or a quoted glob")
        if not matches:
            raise UserError(f"no files ending in {_listed(suffixes)} in {path}{_but(rest)}")
        found.update(dict.fromkeys(matches))
    if rest:
        print(f"left out{_but(rest)}", file=sys.stderr)
    if not found:
        raise UserError("no input: give at least one file, folder or glob")
    return list(found)


def distinct_names(names: Sequence[Path], suffix: Callable[[Path], str]) -> dict[Path, Path]:
    """Return ``names`` with other suffixes, so that no two become the same.

    Where names differ in their suffix only, each keeps it before the new one: ``a.m4a`` and
    ``a.mp4`` become ``a.m4a.wav`` and ``a.mp4.wav``.

    Args:
        names: relative paths, none twice.
        suffix: of a new name, from the old one.
    """
    new = {name: name.with_suffix(suffix(name)) for name in names}
    while True:
        count = Counter(new.values())
        alike = [name for name in new if count[new[name]] > 1]
        longer = {name: name.with_name(name.name + suffix(name)) for name in alike}
        if all(new[name] == longer[name] for name in alike):
            return new
        new |= longer


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


def _below(folder: Path) -> list[Path]:
    """Sorted files below a folder, through symbolic links, without hidden ones (macOS's ._x)."""
    files, seen = [], set()
    for here, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:  # a link back up
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(here, name) for name in names if not name.startswith(".")]
    return sorted(files)


def _taken(files: Sequence[Path], suffixes: Sequence[str], rest: dict[Path, None]) -> list[Path]:
    """Return the files of these suffixes, and add other media to ``rest`` if audio is wanted."""
    wanted = set(suffixes)
    taken = [file for file in files if file.suffix.lower() in wanted]
    if wanted.issuperset(AUDIO_SUFFIXES) and len(taken) < len(files):
        others = [file for file in files if file.suffix.lower() not in wanted]
        rest.update(dict.fromkeys(filter(_looks_like_media, others)))
    return taken


def _looks_like_media(path: Path) -> bool:
    """Whether a file that is not read is media: by its suffix, or by its content without one."""
    suffix = path.suffix.lower()
    if suffix:
        return suffix in UNREAD_SUFFIXES
    try:
        with open(path, "rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return head.startswith(_SIGNATURES) or head[4:8] == b"ftyp"


def _listed(suffixes: Sequence[str]) -> str:
    return ", ".join(suffixes if len(suffixes) < 9 else [*suffixes[:7], "..."])


def _but(rest: Sequence[Path] | dict[Path, None]) -> str:
    """What is left out, for a message: how many files of which endings, and the first names."""
    if not rest:
        return ""
    kinds = Counter(path.suffix.lower() or "no suffix" for path in rest)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5))
    names = ", ".join(shorten(path) for path in [*rest][:3])
    more = ", ..." if len(rest) > 3 else ""
    files = f"{len(rest)} file{'s' * (len(rest) != 1)}"
    return f": {files} of a kind that is not read ({counts}): {names}{more}. Convert to wav."
