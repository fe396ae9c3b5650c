"""What an enhancement did to recordings: one HTML file to look at and to listen to.

The page holds everything that it shows and asks the network for nothing. Its size is bounded: a
long recording is shown from its beginning only, and of very many recordings the first ones; the
levels are those of whole files, of all of them.
"""

import html
import io
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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

TITLE = "<title>Enhancement report</title>"  # by which a report is known
SHOWN = 50  # recordings with pictures and sound
SECONDS, ALL_SECONDS = 120, 1800  # of sound at most, of one recording and of all
COLUMNS = 900  # of a spectrogram
RANGE_DB = 80.0
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


@dataclass(frozen=True)
class Entry:
    """A recording before and after, as files; `name` is what a reader knows it by."""

    name: str
    before: Path
    after: Path


@dataclass(frozen=True)
class _Row:
    """What the page says of an entry: the levels, or why there are none."""

    entry: Entry
    seconds: float = 0.0
    sample_rate: int = 0
    before: Levels | None = None
    after: Levels | None = None
    error: str = ""


def write_report(path: str | Path, entries: Sequence[Entry]) -> None:
    """Write the page, whole or not at all.

    An entry that cannot be read is named on the page with the reason. Raises `UserError` where
    there is no entry or the place cannot be written to.
    """
    if not entries:
        raise UserError(f"cannot write {path}: there is no recording to report on")
    with (
        atomic_path(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="\n") as file,
    ):
        file.writelines(_page(entries))


def _page(entries: Sequence[Entry]) -> Iterator[str]:
    rows = [_row(entry) for entry in entries]
    readable = [number for number, row in enumerate(rows) if not row.error]
    shown = readable[:SHOWN]
    seconds = min(SECONDS, ALL_SECONDS // max(1, len(shown)))
    yield _HEAD
    yield f"<p>{len(rows)} recording{'s' if len(rows) > 1 else ''}. {_EXPLANATION}</p>\n"
    if len(readable) > len(shown):
        yield f"<p>Pictures and sound are those of the first {len(shown)} recordings.</p>\n"
    yield _TABLE_HEAD
    for number, row in enumerate(rows):
        yield _table_row(row, number if number in shown else None)
    yield "</tbody></table></div>\n"
    for number in shown:
        yield from _section(rows[number], number, seconds)
    yield "</main></body></html>\n"


def _row(entry: Entry) -> _Row:
    try:
        frames, sample_rate = audio_info(entry.after)
        before, after = levels(frame_powers(entry.before), frame_powers(entry.after))
    except UserError as error:
        return _Row(entry, error=str(error))
    return _Row(entry, frames / sample_rate, sample_rate, before, after)


def _table_row(row: _Row, number: int | None) -> str:
    name = _text(row.entry.name)
    if number is not None:
        name = f'<a href="#r{number}">{name}</a>'
    if row.error:
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
    """The heading, and for before and after a picture and a player."""
    name = _text(row.entry.name)
    yield f'<section id="r{number}"><h2>{name}</h2>\n'
    facts = f"{_duration(row.seconds)}, {row.sample_rate} Hz, noise reduction {_reduction(row)}"
    if row.seconds > seconds:
        facts += f". Shown and played: the first {_duration(seconds)}"
    yield f'<p>{facts}.</p>\n<div class="pair">\n'
    loudest = None
    for title, path, level in (
        ("Before", row.entry.before, row.before),
        ("After", row.entry.after, row.after),
    ):
        try:
            audio, rate = _beginning(path, seconds)
        except UserError as error:  # gone since its levels were taken
            yield f"<figure><figcaption>{title}: {_text(str(error))}</figcaption></figure>\n"
            continue
        power = _spectrogram(audio.mean(0))
        loudest = power.max() if loudest is None else loudest  # one scale of colours for both
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
    """float32 [channels, time] of one or two channels (more are averaged), and the rate in Hz."""
    _, rate = audio_info(path)
    audio, _ = read_audio(path, mono=False, frames=int(seconds * rate))
    if len(audio) > 2:
        audio = audio.mean(0, keepdim=True)
    return audio.numpy(), rate


def _spectrogram(audio: np.ndarray) -> np.ndarray:
    """Power [frequency, columns] of [time], averaged over time to at most 900 columns."""
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
    """A PNG of the power in dB below `loudest`, on nothing, with letters for any background."""
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
    # 128 colours are as good to look at and a third of the size
    small = io.BytesIO()
    Image.open(drawn).quantize(128, method=Image.Quantize.FASTOCTREE).save(small, "png")
    return small.getvalue()


def _mp3(audio: np.ndarray, rate: int) -> bytes:
    """[channels, time] as MP3, which every browser plays, at the next rate that MP3 has."""
    mp3_rate = next((r for r in MP3_RATES if r >= rate), MP3_RATES[-1])
    audio = resample(torch.from_numpy(audio), rate, mp3_rate).numpy()
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", mp3_rate, len(audio), format="MP3") as file:
        for start in range(0, audio.shape[1], mp3_rate):
            file.write(np.clip(audio[:, start : start + mp3_rate].T, -1, 1))
    return buffer.getvalue()


def _text(text: str) -> str:
    """Escaped, and without characters that would act on the text around them."""
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
    "Levels are root mean squares in dBFS (0 is a full-scale square wave) over the whole file: of "
    "speech, in the frames within 30 dB of the loudest 0.4 s after enhancement, and of pauses, in "
    "the other frames or the quietest tenth. How much the level in pauses fell is the estimated "
    "noise reduction."
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
