"""What a dataset is: its files, and a label for each of them; and the clips that can be used."""

import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path

from tqdm import tqdm

from wavediff.data.audio import BadAudio, audio_info
from wavediff.errors import UserError

THREADS = 8  # libsndfile releases the interpreter's lock; on a network disk most of it is waiting


@dataclass(frozen=True)
class Source:
    """The files of a dataset in a stable order, their labels (indices into ``label_names``, as for
    speakers) where it has any, and its ``root``, from which files take their names. ``noisy`` are noisy
    recordings of the same where there are such, one for each of the files."""

    root: Path
    files: Sequence[Path]
    labels: Sequence[int] | None = None
    label_names: Sequence[str] | None = None
    noisy: Sequence[Path] | None = None


def labelled(root: Path, files: Sequence[Path], names: Sequence[str]) -> Source:
    """A source whose file i has the label ``names[i]``; integers follow the sorted names."""
    label_names = sorted(set(names))
    number = {name: i for i, name in enumerate(label_names)}
    return Source(root, files, [number[name] for name in names], label_names)


def paired(source: Source, noisy: str) -> Source:
    """``source`` with the files of the same names below the folder ``noisy``. Raises UserError for a
    folder that does not exist, and for a file that is not in it."""
    folder = Path(noisy).expanduser()
    if not folder.is_dir():
        raise UserError(f"{noisy} does not exist: give the folder of the noisy recordings")
    pairs = [folder / file.relative_to(source.root) for file in source.files]
    missing = [pair for pair in pairs if not pair.exists()]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(pairs)} files in {source.root} have no noisy recording of the "
            f"same name in {folder}; the first is {missing[0].relative_to(folder)}"
        )
    return replace(source, noisy=pairs)


@dataclass(frozen=True)
class Clip:
    """A part of a file (mostly all of it): ``frames`` from ``start``, counted at the file's rate; and
    where there is one, the file of which the same part is the noisy recording."""

    path: Path
    name: str
    start: int
    frames: int
    sample_rate: int
    label: int | None
    noisy: Path | None = None


def scan(
    source: Source, min_seconds: float, max_seconds: float
) -> tuple[list[Clip | None], Counter]:
    """Look at every file's header: (clips in order, number of skipped files by reason).

    A file that cannot be used leaves a None, so that the clips' numbers (and so the split) do not
    move when one file breaks. A file longer than ``max_seconds`` becomes several clips of equal
    length. Raises UserError when nothing is left.
    """
    labels = source.labels if source.labels is not None else repeat(None)
    clips: list[Clip | None] = []
    skipped: Counter = Counter()
    first: BadAudio | None = None
    noisy = source.noisy if source.noisy is not None else repeat(None)
    pairs = list(zip(source.files, noisy, strict=False))
    headers = parallel(_header, pairs, "reading headers")
    for (path, pair), label, header in zip(pairs, labels, headers, strict=False):
        try:
            if isinstance(header, BadAudio):
                raise header
            frames, sample_rate = header
            if frames < min_seconds * sample_rate:
                raise BadAudio(f"{path} is shorter than {min_seconds:g} s", "too short")
        except BadAudio as error:
            first = first or error
            skipped[error.reason] += 1
            clips.append(None)
            continue
        parts = max(1, -int(-frames // (max_seconds * sample_rate)))
        name = _name(path, source.root)
        for part in range(parts):
            start, stop = frames * part // parts, frames * (part + 1) // parts
            clips.append(
                Clip(
                    path=path,
                    name=name if parts == 1 else f"{name}-{part:04d}",
                    start=start,
                    frames=stop - start,
                    sample_rate=sample_rate,
                    label=label,
                    noisy=pair,
                )
            )
    if not any(clips):
        raise UserError(
            f"no usable audio in {source.root}: {reasons(skipped) or 'it has no files'}"
            + (f" ({first})" if first else "")
        )
    if skipped:
        print(
            f"data: {skipped.total()} of {len(source.files)} files in {source.root} are skipped: "
            f"{reasons(skipped)}; the first: {first}",
            file=sys.stderr,
        )
    return clips, skipped


def reasons(skipped: Counter) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))


def parallel(function, items: Sequence, title: str) -> list:
    """map() by threads, in order, with a progress bar on stderr if it takes long.

    A list, not a generator: one left unfinished would keep its threads until it is collected, and
    would then wait for them inside of whatever thread the collector happens to run in.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        results = pool.map(function, items)
        return list(tqdm(results, title, len(items), leave=False, delay=2, disable=None))


def _header(pair: tuple[Path, Path | None]) -> tuple[int, int] | BadAudio:
    path, noisy = pair
    try:
        found = audio_info(path)
        if noisy is not None and audio_info(noisy) != found:
            raise BadAudio(
                f"{noisy} has not the length and sample rate of {path}",
                "unlike the noisy one",
            )
        return found
    except BadAudio as error:
        return error


def _name(path: Path, root: Path) -> str:
    """A file's name for people: below the root, without the suffix, folders joined by "-"."""
    below = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    return "-".join(below.with_suffix("").parts)
