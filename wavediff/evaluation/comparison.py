"""A recording in several versions on a page: one player, and a spectrogram of each.

``web/comparison.html`` has the parts, ``web/recording.js`` the player. Sound is MP3, and everything
is within the page. Without JavaScript, each version has a player of the browser's own.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

import numpy as np
import soundfile
import torch
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from wavediff.data.audio import audio_info, read_audio
from wavediff.data.resampling import resample
from wavediff.errors import UserError
from wavediff.evaluation.web import WEB, base64, printable

COLUMNS = 900  # maximum of a spectrogram
RANGE_DB = 80.0
COLOURS = "magma"
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
KEYS = ("1 A", "2 B")


@dataclass(frozen=True)
class Version:
    """A version of a recording: its title, such as Before, its file, and a line about it."""

    title: str
    path: Path
    caption: str


class Parts:
    """The parts of a file of ``web`` by name, with their placeholders filled in."""

    def __init__(self, name: str) -> None:
        page = (WEB / name).read_text(encoding="utf-8")
        _, *found = re.split(r"^<!-- part: (.+) -->\n", page, flags=re.MULTILINE)
        self._parts = dict(zip(found[::2], map(Template, found[1::2]), strict=True))

    def __call__(self, part: str, /, **values: object) -> str:
        """Return a part."""
        return self._parts[part].substitute(values)


def section(number: int, name: str, facts: str, versions: Sequence[Version], seconds: float) -> str:
    """Return the heading, the player, and the spectrograms and sound of two versions.

    The spectrograms share their scales. A version that cannot be read is given with the reason.

    Args:
        number: of the section on its page.
        name: of the recording.
        facts: a line about it, without its full stop.
        versions: the first is the one that is heard first.
        seconds: of the recording that are shown, from its beginning.
    """
    html = Parts("comparison.html")
    name = escaped(name)
    loudest, longest = None, 0.0
    tracks: list[str] = []
    figures: list[str] = []
    highest = max((rate for rate in map(_rate, versions) if rate), default=0)
    for version, keys in zip(versions, KEYS, strict=True):
        title = escaped(version.title)
        try:
            audio, rate = _beginning(version.path, seconds)
        except UserError as error:  # the file has changed since it was looked at
            figures.append(html("missing", title=title, error=escaped(str(error))))
            continue
        power = _spectrogram(audio.mean(0))
        loudest = power.max() if loudest is None else loudest
        length = audio.shape[-1] / rate
        longest = max(longest, length)
        picture, left, right = _picture(power, loudest, length, rate, highest)
        tracks.append(html("track", number=len(tracks), keys=keys, title=title))
        figures.append(
            html(
                "figure",
                caption=escaped(version.caption),
                lower=title.lower(),
                name=name,
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
        facts=escaped(facts),
        player=player,
        figures="".join(figures),
    )


def escaped(text: str) -> str:
    """Return text as HTML."""
    return escape(printable(text))


def duration(seconds: float) -> str:
    """Return a length of time for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


def _rate(version: Version) -> int:
    """Return the sample rate in Hz of a version, 0 where it cannot be read."""
    try:
        return audio_info(version.path)[1]
    except UserError:
        return 0


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
    power: np.ndarray, loudest: float, seconds: float, rate: int, highest: int
) -> tuple[bytes, float, float]:
    """Draw the power in dB relative to ``loudest``, for light and dark backgrounds.

    The frequency axis ends at half of ``highest``, in Hz.

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
        cmap=COLOURS,
        vmin=-RANGE_DB,
        vmax=0,
        interpolation="nearest",
    )
    axis.set_facecolor(colormaps[COLOURS](0.0))  # above the band of a lower rate
    axis.set_ylim(0, highest / 2000)
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


_GREY = "#808080"
