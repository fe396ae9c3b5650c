"""What the jobs of the page share: what they are given, its limits, and what they give back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wavediff.commands.app_models import Setting
from wavediff.errors import UserError, call, shorten
from wavediff.files import path_component
from wavediff.inputs import CONTAINERS

if TYPE_CHECKING:
    import numpy as np

    from wavediff.data.audio import AudioReader, AudioWriter
    from wavediff.evaluation.comparison import Version

SHOWN_SECONDS = 120.0  # of a recording, with spectrograms
SHORTEST_SECONDS = 0.05  # of a recording
KEYS = (
    "Space plays and pauses, 1 and 2 switch before and after, the arrow keys move by a second, L "
    "marks the start and the end of a loop. Click a spectrogram to move there, drag to loop a part."
)


@dataclass(frozen=True)
class Result:
    """What the page shows.

    Attributes:
        page: HTML.
        files: to download.
        notes: sentences about them.
    """

    page: str
    files: list[Path]
    notes: list[str]


def sound(upload: str | None, setting: Setting) -> Path:
    """The file of a sound that is short enough.

    Raises:
        UserError: where there is none, it is not sound, or too long.
    """
    from wavediff.data.audio import audio_info

    source = uploaded(upload, "a recording")
    frames, rate = audio_info(source)
    seconds = frames / rate
    if seconds > setting.seconds:
        raise too_long(source, setting, seconds)
    if seconds < SHORTEST_SECONDS:
        raise UserError(f"{source} is shorter than {SHORTEST_SECONDS:g} s: give a longer recording")
    return source


def uploaded(upload: str | None, what: str) -> Path:
    """The file of an upload, which messages call by its name alone.

    Raises:
        UserError: where there is none, or no longer.
    """
    if not upload:
        raise UserError(f"there is no file yet: give {what} first")
    path = Path(upload)
    call(path, path.name)
    if not path.exists():
        raise UserError(f"{path} is no longer kept here: give it again")
    return path


def too_long(source: Path, setting: Setting, seconds: float | None = None) -> UserError:
    """The error for a recording."""
    from wavediff.evaluation.comparison import duration

    length = "" if seconds is None else f" of {duration(seconds)}"
    return UserError(
        f"{source} is too long: a recording{length} is more than the "
        f"{duration(setting.seconds)} that are allowed here. Cut it, or use the command line"
    )


def blocks(reader: AudioReader, setting: Setting) -> Iterator[np.ndarray]:
    """Blocks ``[channels, n]`` of a file, whose header may promise less than there is."""
    position, last = 0, setting.seconds * reader.sample_rate
    for block in reader.blocks(max(1, (1 << 16) // reader.channels)):
        position += block.shape[-1]
        if position > last + reader.sample_rate:
            raise too_long(reader.path, setting)
        yield block


def number(name: str, value: object, low: float, high: float) -> float:
    """A number in a range.

    Raises:
        UserError: for another value.
    """
    if not isinstance(value, int | float) or not low <= value <= high:
        raise UserError(f"{name} is out of range: give a number from {low:g} to {high:g}")
    return float(value)


def optional(name: str, text: str, low: float, high: float) -> float | None:
    """A number above ``low`` up to ``high`` that was typed; None for nothing.

    Raises:
        UserError: for another text.
    """
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"{name} is {shorten(text)!r}: give a number, or nothing") from None
    if not low < value <= high:
        raise UserError(
            f"{name} is out of range: give a number above {low:g}, up to {high:g}, or nothing"
        )
    return value


def result(folder: Path, source: Path, word: str, suffix: str) -> Path:
    """The path of a result, named like its source."""
    return folder / path_component(f"{source.stem[:100]}-{word}{suffix}")


def result_like(folder: Path, source: Path, word: str) -> Path:
    """The path of a result in the format of its source, if that is one that is written."""
    suffix = source.suffix
    return result(folder, source, word, suffix if suffix.lower() in CONTAINERS else ".wav")


def noted(reader: AudioReader, writer: AudioWriter) -> list[str]:
    """What is to be said of a recording that was read and its result."""
    found = [f"{reader.path.name} {reader.fault}"] if reader.fault else []
    if writer.clipped:
        found.append(f"{writer.clipped} samples beyond full scale were clipped")
    return found


def compared(before: Path, after: Path, more: list[Path], notes: list[str]) -> Result:
    """Two recordings with one player and spectrograms."""
    from wavediff.data.audio import audio_info
    from wavediff.evaluation.comparison import duration, section

    frames, rate = audio_info(after)
    facts = f"{duration(frames / rate)}, {rate} Hz"
    if frames > SHOWN_SECONDS * rate:
        facts += f". Below: the first {duration(SHOWN_SECONDS)}"
    versions = version("Before", before), version("After", after)
    shown = section(0, before.name, facts, versions, SHOWN_SECONDS)
    return Result(f'{shown}<p class="keys">{KEYS}</p>', [after, *more], notes)


def version(title: str, path: Path) -> Version:
    """A version with its format for a caption."""
    from wavediff.data.audio import audio_reader
    from wavediff.evaluation.comparison import Version

    with audio_reader(path) as reader:
        channels = {1: "mono", 2: "stereo"}.get(reader.channels, f"{reader.channels} channels")
        return Version(title, path, f"{title}: {reader.sample_rate} Hz, {channels}")
