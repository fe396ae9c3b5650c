"""The report of an enhancement: one HTML page with levels, spectrograms and players.

The page is self-contained and loads nothing from the network. Its size is limited: it shows the
beginning of long recordings, and the first ones of many. Levels are those of whole files, for all
recordings.
"""

import html
import io
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

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
    yield _HEAD
    yield f"<p>{len(rows)} recording{'s' if len(rows) > 1 else ''}. {_EXPLANATION}</p>\n"
    if len(readable) > len(shown):
        yield f"<p>Spectrograms and players: the first {len(shown)} recordings.</p>\n"
    yield _TABLE_HEAD
    for number, row in enumerate(rows):
        yield _table_row(row, number if number in shown else None)
    yield "</tbody></table></div>\n"
    for number, row in shown.items():
        yield from _section(row, number, seconds)
    yield "</main></body></html>\n"


def _row(entry: Entry) -> _Row | _Unreadable:
    try:
        frames, sample_rate = audio_info(entry.after)
        before, after = levels(frame_powers(entry.before), frame_powers(entry.after))
    except UserError as error:
        return _Unreadable(entry, str(error))
    return _Row(entry, frames / sample_rate, sample_rate, before, after)


def _table_row(row: _Row | _Unreadable, number: int | None) -> str:
    name = _text(row.entry.name)
    if number is not None:
        name = f'<a href="#r{number}">{name}</a>'
    if isinstance(row, _Unreadable):
        return f'<tr><th scope="row">{name}</th><td colspan="6">{_text(row.error)}</td></tr>\n'
    cells = [
        _duration(row.seconds),
        _level(row.before.speech),
        _level(row.after.speech),
        _level(row.before.pauses),
        _level(row.after.pauses),
        _reduction(row),
    ]
    return f'<tr><th scope="row">{name}</th>{"".join(f"<td>{c}</td>" for c in cells)}</tr>\n'


def _section(row: _Row, number: int, seconds: float) -> Iterator[str]:
    """Yield the heading, and a spectrogram and a player for before and after."""
    name = _text(row.entry.name)
    yield f'<section id="r{number}"><h2>{name}</h2>\n'
    facts = f"{_duration(row.seconds)}, {row.sample_rate} Hz, noise reduction {_reduction(row)}"
    if row.seconds > seconds:
        facts += f". Below: the first {_duration(seconds)}"
    yield f'<p>{facts}.</p>\n<div class="pair">\n'
    loudest = None
    for title, path, level in (
        ("Before", row.entry.before, row.before),
        ("After", row.entry.after, row.after),
    ):
        try:
            audio, rate = _beginning(path, seconds)
        except UserError as error:  # the file has changed since its levels were computed
            yield f"<figure><figcaption>{title}: {_text(str(error))}</figcaption></figure>\n"
            continue
        power = _spectrogram(audio.mean(0))
        loudest = power.max() if loudest is None else loudest  # both share one scale
        picture = b64encode(_picture(power, loudest, audio.shape[-1] / rate, rate)).decode()
        sound = b64encode(_mp3(audio, rate)).decode()
        caption = f"{title}: speech {_level(level.speech)}, pauses {_level(level.pauses)} dBFS"
        yield (
            f"<figure><figcaption>{caption}</figcaption>\n"
            f'<img alt="Spectrogram of {name}, {title.lower()}" '
            f'src="data:image/png;base64,{picture}">\n'
            f'<audio controls preload="none" aria-label="{name}, {title.lower()}" '
            f'src="data:audio/mpeg;base64,{sound}"></audio></figure>\n'
        )
    yield "</div></section>\n"


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


def _picture(power: np.ndarray, loudest: float, seconds: float, rate: int) -> bytes:
    """Draw the power in dB relative to ``loudest`` as a PNG for light and dark backgrounds."""
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
    return small.getvalue()


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
    """Escape text for HTML; replace control characters, which could affect the text around."""
    return html.escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


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
_EXPLANATION = (
    "Levels are root mean squares in dBFS (0 is a full-scale square wave) over the whole file. "
    "Speech: the frames within 30 dB of the loudest 0.4 s after enhancement. Pauses: the other "
    "frames, or the quietest tenth. The decrease of the level in pauses is the estimated noise "
    "reduction."
)
_HEAD = (
    f"""\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
{TITLE}
"""
    + """<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; background: Canvas; color: CanvasText; }
main { max-width: 80rem; margin: 0 auto; padding: 1rem; }
h1, h2 { line-height: 1.2; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid #8886; text-align: right; }
th:first-child { text-align: left; overflow-wrap: anywhere; font-weight: normal; }
thead th { font-weight: 600; }
section { margin-top: 2rem; border-top: 1px solid #8886; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; }
figure { margin: 0; }
img, audio { width: 100%; display: block; }
</style></head><body><main>
<h1>Enhancement report</h1>
"""
)
_TABLE_HEAD = """\
<div class="wide"><table><thead><tr><th scope="col">Recording</th><th scope="col">Length</th>
<th scope="col">Speech before</th><th scope="col">after</th>
<th scope="col">Pauses before</th><th scope="col">after</th>
<th scope="col">Noise reduction</th></tr></thead><tbody>
"""
