"""Sources: the files of a dataset with their labels, and the usable clips in them."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise, repeat
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from wavediff.data.audio import BadAudio, audio_info
from wavediff.data.members import Member
from wavediff.errors import UserError
from wavediff.inputs import expanded

SHORT = "too short"  # the reason that a clip is skipped for
BEYOND = 0.5  # seconds behind the end of a file at which a part may end, as in Kaldi
THREADS = 8  # libsndfile releases the GIL, and reading from a network disk mostly waits

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Span:
    """A part of a file.

    Attributes:
        name: for messages and logs.
        start: in seconds.
        seconds: its length; None for the rest of the file.
        channel: the only one to use, from 0; None averages them.
    """

    name: str
    start: float = 0.0
    seconds: float | None = None
    channel: int | None = None


@dataclass(frozen=True)
class Source:
    """The files of a dataset in a stable order.

    Attributes:
        root: the folder that names of files are relative to.
        files: the files.
        labels: of the files, as indices into ``label_names``; None without labels.
        label_names: for example speakers.
        noisy: the noisy recordings of the files; None without.
        spans: the part of each file that is used, which then may be listed several times; None
            for whole files.
    """

    root: Path
    files: Sequence[Path]
    labels: Sequence[int] | None = None
    label_names: Sequence[str] | None = None
    noisy: Sequence[Path] | None = None
    spans: Sequence[Span] | None = None


def labelled(
    root: Path,
    files: Sequence[Path],
    names: Sequence[str],
    spans: Sequence[Span] | None = None,
) -> Source:
    """Return a source whose file i has the label ``names[i]``, numbered in sorted order."""
    label_names = sorted(set(names))
    number = {name: i for i, name in enumerate(label_names)}
    return Source(root, files, [number[name] for name in names], label_names, spans=spans)


def paired(source: Source, noisy: str) -> Source:
    """Add noisy recordings to a source: the files of the same names below the folder ``noisy``.

    Raises:
        UserError: if the folder or one of the files does not exist.
    """
    folder = expanded(noisy)
    if not folder.is_dir():
        raise UserError(f"{noisy} does not exist. Give the folder of the noisy recordings.")
    pairs = [folder / file.relative_to(source.root) for file in source.files]
    missing = [pair for pair in pairs if not pair.exists()]
    if missing:
        raise UserError(
            f"{source.root}: {len(missing)} of {len(pairs)} files have no noisy recording of the "
            f"same name in {folder}; the first is {missing[0].relative_to(folder)}."
        )
    return replace(source, noisy=pairs)


@dataclass(frozen=True)
class Clip:
    """A part of a file, usually all of it.

    Attributes:
        path: the file.
        name: for messages and logs.
        start: first frame, at the file's rate.
        frames: their number, at the file's rate.
        sample_rate: of the file, in Hz.
        label: of the file, if it has one.
        noisy: the file with the noisy recording of the same frames, if there is one.
        channel: the only one to use, from 0; None averages them.
    """

    path: Path | Member
    name: str
    start: int
    frames: int
    sample_rate: int
    label: int | None
    noisy: Path | Member | None = None
    channel: int | None = None

    def parts(self, max_seconds: float) -> "list[Clip]":
        """Return the clip, or clips of equal length that are together this one if it is longer."""
        count = max(1, -int(-self.frames // (max_seconds * self.sample_rate)))
        if count == 1:
            return [self]
        cuts = [self.start + self.frames * part // count for part in range(count + 1)]
        return [
            replace(self, name=f"{self.name}-{part:04d}", start=start, frames=stop - start)
            for part, (start, stop) in enumerate(pairwise(cuts))
        ]


def scan(
    source: Source, min_seconds: float, max_seconds: float
) -> tuple[list[Clip | None], Counter[str]]:
    """Read the header of every file, and skip unusable files with a warning on stderr.

    A skipped file leaves a None, so that the numbers of the others, and with them the split, do
    not change when one file breaks. A file longer than ``max_seconds`` becomes several clips of
    equal length.

    Returns:
        The clips in order, and the number of skipped files by reason.

    Raises:
        UserError: if no clip is left.
    """
    labels: Iterable[int | None] = source.labels if source.labels is not None else repeat(None)
    clips: list[Clip | None] = []
    skipped: Counter[str] = Counter()
    first: BadAudio | None = None
    noisy: Iterable[Path | None] = source.noisy if source.noisy is not None else repeat(None)
    pairs = list(zip(source.files, noisy, strict=False))
    spans: Iterable[Span | None] = source.spans if source.spans is not None else repeat(None)
    once = list(dict.fromkeys(pairs))
    headers = dict(zip(once, parallel(_header, once, "reading headers"), strict=True))
    for pair, label, span in zip(pairs, labels, spans, strict=False):
        try:
            clip = _clip(source, pair, headers[pair], label, span)
            if clip.frames < min_seconds * clip.sample_rate:
                raise BadAudio(f"{_called(pair[0], span)} is shorter than {min_seconds:g} s", SHORT)
        except BadAudio as error:
            first = first or error
            skipped[error.reason] += 1
            clips.append(None)
        else:
            clips += clip.parts(max_seconds)
    if not any(clips):
        raise UserError(
            f"no usable audio in {source.root}: {reasons(skipped) or 'it has no files'}"
            + (f"; the first: {first}" if first else ". Give another folder.")
        )
    if skipped:
        print(
            f"data: {skipped.total()} of {len(source.files)} files in {source.root} are skipped: "
            f"{reasons(skipped)}; the first: {first}",
            file=sys.stderr,
        )
    return clips, skipped


def reasons(skipped: Counter[str]) -> str:
    """Return the number of skipped files by reason as text."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))


def parallel(function: Callable[[Item], Result], items: Sequence[Item], title: str) -> list[Result]:
    """Apply ``function`` to all items in threads, with a progress bar on stderr if it takes long.

    The result is a list, because an unfinished generator would keep its threads until it is
    garbage collected, and would then wait for them in any thread.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        results = pool.map(function, items)
        return list(tqdm(results, title, len(items), leave=False, delay=2, disable=None))


def _clip(
    source: Source,
    pair: tuple[Path, Path | None],
    header: tuple[int, int] | BadAudio,
    label: int | None,
    span: Span | None,
) -> Clip:
    """Return the clip of a file, or of a part of it that may end a little behind its end.

    Raises:
        BadAudio: for a file that cannot be read, and a part that is not in it.
    """
    if isinstance(header, BadAudio):
        raise header
    path, noisy = pair
    frames, rate = header
    if span is None:
        return Clip(path, _name(path, source.root), 0, frames, rate, label, noisy)
    start = round(span.start * rate)
    stop = frames if span.seconds is None else round((span.start + span.seconds) * rate)
    if not 0 <= start < frames or stop > frames + BEYOND * rate:
        raise BadAudio(
            f"{_called(path, span)} is from {start / rate:g} to {stop / rate:g} s, and the file "
            f"has {frames / rate:g} s",
            "beyond the end",
        )
    length = min(stop, frames) - start
    return Clip(path, span.name, start, length, rate, label, noisy, span.channel)


def _called(path: Path, span: Span | None) -> str:
    return str(path) if span is None else f"{span.name} in {path}"


def _header(pair: tuple[Path, Path | None]) -> tuple[int, int] | BadAudio:
    path, noisy = pair
    try:
        found = audio_info(path)
        if noisy is not None and audio_info(noisy) != found:
            raise BadAudio(
                f"{noisy} and {path} differ in length or sample rate",
                "mismatched",
            )
        return found
    except BadAudio as error:
        return error


def _name(path: Path, root: Path) -> str:
    """Return the path below the root without the suffix, with folders joined by "-"."""
    below = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    return "-".join(below.with_suffix("").parts)
