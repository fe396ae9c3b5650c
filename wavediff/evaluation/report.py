"""The report of an enhancement: one HTML page with levels, spectrograms and players.

The page is self-contained and loads nothing from the network; its parts are in ``web``. Its size is
limited: it shows the first 2 minutes of long recordings, the first 50 of many, and half an hour in
all, as MP3. Levels are those of whole files, for all recordings. Without JavaScript, the player of
a recording is two of the browser's own.
"""

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import islice
from pathlib import Path
from string import Template

import numpy as np
import soundfile
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from wavediff.data.audio import audio_info, read_audio
from wavediff.data.resampling import resample
from wavediff.errors import UserError
from wavediff.evaluation.levels import FLOOR_DB, Levels, frame_powers, levels
from wavediff.evaluation.web import PLAYER, STYLE, WEB, base64, joined, policy_hash, printable
from wavediff.files import atomic_path

TITLE = "<title>Enhancement report</title>"  # identifies a report
SHOWN = 50  # recordings with spectrograms and players
SECONDS, ALL_SECONDS = 120, 1800  # maximum of audio, per recording and in total
COLUMNS = 900  # maximum of a spectrogram
RANGE_DB = 80.0
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


@dataclass(frozen=True)
class Entry:
    """A recording before and after enhancement; ``name`` is displayed."""

    name: str
    before: Path
    after: Path


@dataclass(frozen=True)
class _Row:
    """An entry with its levels."""

    entry: Entry
    seconds: float
    sample_rate: int
    before: Levels
    after: Levels


@dataclass(frozen=True)
class _Unreadable:
    """An entry whose files cannot be read."""

    entry: Entry
    error: str


def write_report(path: str | Path, entries: Sequence[Entry]) -> None:
    """Write the page atomically.

    An entry that cannot be read is listed on the page with the reason.

    Raises:
        UserError: if there is no entry, or ``path`` cannot be written.
    """
    if not entries:
        raise UserError(f"cannot write {path}: the report has no recordings. Give at least one.")
    with (
        atomic_path(path) as temporary,
        open(temporary, "w", encoding="utf-8", errors="replace", newline="\n") as file,
    ):
        file.writelines(_page(entries))


def _page(entries: Sequence[Entry]) -> Iterator[str]:
    rows = [_row(entry) for entry in entries]
    readable = {number: row for number, row in enumerate(rows) if isinstance(row, _Row)}
    shown = dict(islice(readable.items(), SHOWN))
    seconds = min(SECONDS, ALL_SECONDS // max(1, len(shown)))
    html = _Parts()
    script = joined(*PLAYER, WEB / "report.js")
    style = joined(STYLE, WEB / "report.css")
    yield html(
        "head",
        title=TITLE,
        style=style,
        style_hash=policy_hash(style),
        script_hash=policy_hash(script),
        count=f"{len(rows)} recording{'s' * (len(rows) > 1)}",
    )
    if len(readable) > len(shown):
        yield html("shown", shown=len(shown))
    yield html("table")
    for number, row in enumerate(rows):
        yield _table_row(html, row, number if number in shown else None)
    yield html("table end")
    for number, row in shown.items():
        yield _section(html, row, number, seconds)
    yield html("end", script=script)


class _Parts:
    """The parts of report.html by name, with their placeholders filled in."""

    def __init__(self) -> None:
        page = (WEB / "report.html").read_text(encoding="utf-8")
        _, *found = re.split(r"^<!-- part: (.+) -->\n", page, flags=re.MULTILINE)
        self._parts = dict(zip(found[::2], map(Template, found[1::2]), strict=True))

    def __call__(self, part: str, /, **values: object) -> str:
        return self._parts[part].substitute(values)


def _row(entry: Entry) -> _Row | _Unreadable:
    try:
        frames, sample_rate = audio_info(entry.after)
        before, after = levels(frame_powers(entry.before), frame_powers(entry.after))
    except UserError as error:
        return _Unreadable(entry, str(error))
    return _Row(entry, frames / sample_rate, sample_rate, before, after)


def _table_row(html: _Parts, row: _Row | _Unreadable, number: int | None) -> str:
    name = _text(row.entry.name)
    if number is not None:
        name = html("link", number=number, name=name).strip()
    if isinstance(row, _Unreadable):
        return html("unreadable", name=name, error=_text(row.error))
    return html(
        "row",
        name=name,
        length=_duration(row.seconds),
        speech_before=_level(row.before.speech),
        speech_after=_level(row.after.speech),
        pauses_before=_level(row.before.pauses),
        pauses_after=_level(row.after.pauses),
        reduction=_reduction(row),
    )


def _section(html: _Parts, row: _Row, number: int, seconds: float) -> str:
    """The heading, the player, and spectrograms and sound of before and after."""
    name = _text(row.entry.name)
    facts = f"{_duration(row.seconds)}, {row.sample_rate} Hz, noise reduction {_reduction(row)}"
    if row.seconds > seconds:
        facts += f". Below: the first {_duration(seconds)}"
    loudest, longest = None, 0.0
    tracks: list[str] = []
    figures: list[str] = []
    for title, path, level, keys in (
        ("Before", row.entry.before, row.before, "1 A"),
        ("After", row.entry.after, row.after, "2 B"),
    ):
        try:
            audio, rate = _beginning(path, seconds)
        except UserError as error:  # the file has changed since its levels were computed
            figures.append(html("missing", title=title, error=_text(str(error))))
            continue
        power = _spectrogram(audio.mean(0))
        loudest = power.max() if loudest is None else loudest  # both share one scale
        length = audio.shape[-1] / rate
        longest = max(longest, length)
        picture, left, right = _picture(power, loudest, length, rate)
        tracks.append(html("track", number=len(tracks), keys=keys, title=title))
        figures.append(
            html(
                "figure",
                title=title,
                lower=title.lower(),
                name=name,
                speech=_level(level.speech),
                pauses=_level(level.pauses),
                left=f"{left:.5f}",
                right=f"{right:.5f}",
                picture=base64(picture),
                sound=base64(_mp3(audio, rate)),
            )
        )
    player = ""
    if tracks:
        player = html("player", name=name, seconds=f"{longest:.5f}", tracks="".join(tracks))
    return html(
        "section",
        number=number,
        name=name,
        facts=facts,
        player=player,
        figures="".join(figures),
    )


def _beginning(path: Path, seconds: float) -> tuple[np.ndarray, int]:
    """Read the first ``seconds``: float32 ``[1 or 2, time]``, and the rate in Hz.

    More than two channels are averaged to one.
    """
    _, rate = audio_info(path)
    audio, _ = read_audio(path, mono=False, frames=int(seconds * rate))
    if len(audio) > 2:
        audio = audio.mean(0, keepdim=True)
    return audio.numpy(), rate


def _spectrogram(audio: np.ndarray) -> np.ndarray:
    """Return the power ``[frequency, columns]`` of ``[time]``, averaged to ``COLUMNS`` or fewer."""
    n_fft = 512 if len(audio) < 512 * COLUMNS else 2048
    frames = torch.stft(
        torch.from_numpy(audio),
        n_fft,
        window=torch.hann_window(n_fft),
        pad_mode="constant",
        return_complex=True,
    )
    power = frames.abs().square().numpy()
    columns = min(COLUMNS, power.shape[1])
    starts = np.linspace(0, power.shape[1], columns, endpoint=False).astype(int)
    counts = np.diff(np.append(starts, power.shape[1]))
    return np.add.reduceat(power, starts, axis=1) / counts


def _picture(
    power: np.ndarray, loudest: float, seconds: float, rate: int
) -> tuple[bytes, float, float]:
    """Draw the power in dB relative to ``loudest``, for light and dark backgrounds.

    Returns:
        A PNG, and where the time axis begins and ends, as shares of its width.
    """
    decibels = 10 * np.log10(np.maximum(power / max(loudest, 1e-20), 1e-12))
    figure = Figure(figsize=(7.2, 2.7), layout="constrained", facecolor="none")
    FigureCanvasAgg(figure)
    axis = figure.add_subplot()
    axis.imshow(
        decibels,
        origin="lower",
        aspect="auto",
        extent=(0, seconds, 0, rate / 2000),
        cmap="magma",
        vmin=-RANGE_DB,
        vmax=0,
        interpolation="nearest",
    )
    axis.set_xlabel("seconds", color=_GREY)
    axis.set_ylabel("kHz", color=_GREY)
    axis.tick_params(colors=_GREY)
    for spine in axis.spines.values():
        spine.set_color(_GREY)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    # 128 colours look the same at a third of the size
    small = io.BytesIO()
    Image.open(drawn).quantize(128, method=Image.Quantize.FASTOCTREE).save(small, "png")
    axes = axis.get_position()
    return small.getvalue(), axes.x0, axes.x1


def _mp3(audio: np.ndarray, rate: int) -> bytes:
    """Encode ``[channels, time]`` as MP3, at the next higher rate that MP3 supports."""
    mp3_rate = next((r for r in MP3_RATES if r >= rate), MP3_RATES[-1])
    audio = resample(torch.from_numpy(audio), rate, mp3_rate).numpy()
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", mp3_rate, len(audio), format="MP3") as file:
        for start in range(0, audio.shape[1], mp3_rate):
            file.write(np.clip(audio[:, start : start + mp3_rate].T, -1, 1))
    return buffer.getvalue()


def _text(text: str) -> str:
    return escape(printable(text))


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


def _level(decibels: float) -> str:
    return f"under {FLOOR_DB:.0f}" if decibels <= FLOOR_DB else f"{decibels:.1f}"


def _reduction(row: _Row) -> str:
    reduction = round(row.before.pauses - row.after.pauses, 1) + 0.0  # no minus zero
    more = "over " if row.after.pauses <= FLOOR_DB < row.before.pauses else ""
    return f"{more}{reduction:.1f} dB"


_GREY = "#808080"
