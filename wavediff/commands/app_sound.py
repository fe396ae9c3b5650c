"""What the page does with a sound: clean it, vocode it, restore it.

The jobs of ``app_worker`` take the path of an upload, and write their results into a folder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wavediff.commands.arguments import dry_share
from wavediff.errors import UserError, call, shorten
from wavediff.files import path_component
from wavediff.inputs import CONTAINERS

if TYPE_CHECKING:
    from torch import Tensor

    from wavediff.data.audio import AudioReader
    from wavediff.evaluation.comparison import Version
    from wavediff.tasks.restoration import Posterior

Progress = Callable[[float], None]

SHOWN_SECONDS = 120.0  # of a recording, with spectrograms
NO_LIMIT = 60.0  # dB of attenuation from which on it is not limited
TINY = 0.05  # seconds, of the shortest recording
KEYS = (
    "Space plays and pauses, 1 and 2 switch before and after, the arrow keys move by a second, L "
    "marks the start and the end of a loop. Click a spectrogram to move there, drag to loop a part."
)
RESTORATIONS = ("Fill gaps", "Extend the bandwidth", "Declip")


@dataclass(frozen=True)
class Setting:
    """What holds for all jobs.

    Attributes:
        enhancer, vocoder, generator, forecaster: models by name or path; None is no generator.
        seconds: of the longest recording.
        device: auto, cpu or cuda.
        threads: of the CPU; None is one per core.
    """

    enhancer: str
    vocoder: str
    generator: str | None
    forecaster: str
    seconds: float
    device: str = "auto"
    threads: int | None = None


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


def clean(
    upload: str, strength: float, setting: Setting, folder: Path, progress: Progress
) -> Result:
    """Denoise a recording; the output is like the input.

    Args:
        strength: the most that noise is attenuated, in dB; from ``NO_LIMIT`` on without a limit.
    """
    import torch

    from wavediff.data.audio import audio_reader, audio_writer_like

    strength = number("the attenuation", strength, 0, NO_LIMIT)
    dry = dry_share(None if strength >= NO_LIMIT else strength)
    source = sound(upload, setting)
    enhancer = model("Enhancer", setting.enhancer, setting)
    with audio_reader(source) as reader:
        own = source.suffix.lower() in CONTAINERS
        target = result(folder, source, "clean", source.suffix if own else ".wav")
        seconds = reader.frames / reader.sample_rate
        stream = enhancer.stream(
            reader.sample_rate,
            reader.channels,
            dry=dry,
            chunk_seconds=None,
            progress=lambda done: progress(done / seconds),
        )
        with audio_writer_like(reader, target) as writer:
            for block in blocks(reader, setting):
                writer.write(torch.from_numpy(stream.push(block)))
            writer.write(torch.from_numpy(stream.finish()))
    return compared(source, target, [], noted(reader, writer))


def vocode(upload: str, setting: Setting, folder: Path, progress: Progress) -> Result:
    """Analyse a recording as a mel, and synthesise it again from that alone."""
    import numpy as np
    import torch

    from wavediff.data.audio import audio_reader, audio_writer, read_audio
    from wavediff.tasks.vocoder_stream import VocoderStream

    source = sound(upload, setting)
    vocoder = model("Vocoder", setting.vocoder, setting)
    with audio_reader(source) as reader:
        longest = math.ceil(setting.seconds * reader.sample_rate)
    audio, _ = read_audio(source, vocoder.sample_rate, frames=longest)
    with torch.inference_mode():
        mel = vocoder.analyse(audio[None].to(vocoder.device))
    seconds = audio.shape[-1] / vocoder.sample_rate
    stream = VocoderStream(
        vocoder,
        sampler=vocoder.with_sampler(None, None),
        checked=True,
        progress=lambda done: progress(done / seconds),
    )
    pieces = [stream.push(mel), stream.finish()]
    again = torch.cat(pieces, dim=-1).float().cpu()[:, : audio.shape[-1]]
    target = result(folder, source, "vocoded", ".wav")
    with audio_writer(target, vocoder.sample_rate) as writer:
        writer.write(again)
    array = result(folder, source, "mel", ".npy")
    np.save(array, mel[0].cpu().numpy())
    notes = noted(reader, writer)
    notes.insert(0, f"from a mel of {mel.shape[1]} x {mel.shape[2]} values alone")
    return compared(source, target, [array], notes)


def restore(
    upload: str,
    what: str,
    gaps: str,
    cutoff: str,
    threshold: str,
    seed: float,
    setting: Setting,
    folder: Path,
    progress: Progress,
) -> Result:
    """Fill gaps, extend the bandwidth or declip.

    Args:
        what: one of ``RESTORATIONS``.
        gaps: START:STOP in seconds, separated by commas.
        cutoff: Hz up to which the recording is complete; empty for 0.45 of its sample rate.
        threshold: level that is clipped; empty to detect it.
        seed: of the noise.
    """
    import torch

    from wavediff.data.audio import audio_reader, audio_writer_like

    if what not in RESTORATIONS:
        raise UserError(f"{shorten(what)!r} is not one of {', '.join(RESTORATIONS)}")
    places = parse_gaps(gaps) if what == RESTORATIONS[0] else []
    source = sound(upload, setting)
    with audio_reader(source) as reader:
        rate = reader.sample_rate
        audio = torch.cat([torch.from_numpy(block) for block in blocks(reader, setting)], dim=-1)
    if what == RESTORATIONS[1]:
        band = optional("the highest frequency", cutoff, 0, rate / 2)
    if what == RESTORATIONS[2]:
        levels = clipped(audio, optional("the clipping level", threshold, 0, 1))
    seed = int(number("the seed", seed, 0, 2**31))
    posterior = replace(loaded_posterior(setting), seed=seed)
    if what == RESTORATIONS[1]:
        return widen(posterior, source, reader, audio, band, folder, progress)
    from wavediff.tasks.restoration import declip, inpaint

    if places:
        word, gain = "filled", 1.0
        samples = [(round(start * rate), round(stop * rate)) for start, stop in places]
        restored = inpaint(posterior, audio, rate, samples, progress)
    else:
        word = "declipped"
        restored = declip(posterior, audio, rate, *levels, progress)
        gain = min(1.0, 0.99 / float(restored.abs().max()))
    own = source.suffix.lower() in CONTAINERS
    target = result(folder, source, word, source.suffix if own else ".wav")
    with audio_reader(source) as reader, audio_writer_like(reader, target) as writer:
        writer.write(restored * gain)
    notes = noted(reader, writer)
    if gain < 1:
        notes.append(f"turned down by {-20 * math.log10(gain):.1f} dB, so that no peak is clipped")
    return compared(source, target, [], notes)


def widen(
    posterior: Posterior,
    source: Path,
    reader: AudioReader,
    audio: Tensor,
    cutoff: float | None,
    folder: Path,
    progress: Progress,
) -> Result:
    """Extend the bandwidth of ``audio [channels, time]``."""
    import torch

    from wavediff.data.audio import audio_writer
    from wavediff.tasks.restoration import extend, level

    rate, new_rate = reader.sample_rate, posterior.generator.sample_rate
    seconds = audio.shape[-1] / rate
    pieces = extend(
        posterior,
        [audio],
        rate,
        new_rate,
        level([audio], rate),
        cutoff,
        lambda done: progress(done / seconds),
    )
    target = result(folder, source, "extended", ".wav")
    wide = torch.cat(list(pieces), dim=-1)
    with audio_writer(target, new_rate, channels=len(wide)) as writer:
        writer.write(wide)
    return compared(source, target, [], noted(reader, writer))


def clipped(audio: Tensor, threshold: float | None) -> tuple[float, float]:
    """The levels below and above 0 at which ``audio`` is clipped."""
    from wavediff.tasks.restoration import clipping

    if threshold is None:
        return clipping(audio)
    if not (audio.abs() >= threshold).any():
        raise UserError(f"no sample reaches the clipping level {threshold:g}: give a lower one")
    return -threshold, threshold


def parse_gaps(text: str) -> list[tuple[float, float]]:
    """START:STOP in seconds, separated by commas or spaces."""
    found = []
    for word in text.replace(",", " ").split():
        try:
            start, stop = map(float, word.split(":"))
        except ValueError:
            raise UserError(
                f"{shorten(word)!r} is not a gap: give START:STOP in seconds, as in 1.2:1.5"
            ) from None
        if not 0 <= start < stop < math.inf:
            raise UserError(f"{shorten(word)!r} is not a gap: STOP must be after START")
        found.append((start, stop))
    if not found:
        raise UserError("give the gaps, each START:STOP in seconds, as in 1.2:1.5, 3.05:3.1")
    return found


def check_models(names: Sequence[str], setting: Setting, progress: Progress) -> str | None:
    """Load models that were chosen, so that one that cannot be used is told at the start.

    Args:
        names: attributes of ``Setting``.

    Returns:
        The name of the bundled generator, if there is one.
    """
    from wavediff.tasks.names import bundled_names
    from wavediff.tasks.restoration.posterior import PRIOR

    if "enhancer" in names:
        model("Enhancer", setting.enhancer, setting)
    if "vocoder" in names:
        model("Vocoder", setting.vocoder, setting)
    if "generator" in names:
        loaded_posterior(setting)
    return PRIOR if PRIOR in bundled_names() else None


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
    if seconds < TINY:
        raise UserError(f"{source} is shorter than {TINY:g} s: give a longer recording")
    return source


def uploaded(upload: str | None, what: str) -> Path:
    """The file of an upload, which messages call by its name alone.

    Raises:
        UserError: where there is none.
    """
    if not upload:
        raise UserError(f"there is no file yet: give {what} first")
    path = Path(upload)
    call(path, path.name)
    return path


def too_long(source: Path, setting: Setting, seconds: float | None = None) -> UserError:
    """The error for a recording."""
    from wavediff.evaluation.comparison import duration

    length = "" if seconds is None else f" of {duration(seconds)}"
    return UserError(
        f"{source} is too long: a recording{length} is more than the "
        f"{duration(setting.seconds)} that are allowed here. Cut it, or use the command line"
    )


def blocks(reader: AudioReader, setting: Setting) -> Any:
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


def noted(reader: AudioReader, writer: Any) -> list[str]:
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
    return Result(section(0, before.name, facts, versions, SHOWN_SECONDS), [after, *more], notes)


def version(title: str, path: Path) -> Version:
    """A version with its format for a caption."""
    from wavediff.data.audio import audio_reader
    from wavediff.evaluation.comparison import Version

    with audio_reader(path) as reader:
        channels = {1: "mono", 2: "stereo"}.get(reader.channels, f"{reader.channels} channels")
        return Version(title, path, f"{title}: {reader.sample_rate} Hz, {channels}")


@cache
def model(kind: str, name: str, setting: Setting) -> Any:
    """A model, loaded once."""
    import wavediff

    return getattr(wavediff, kind).from_pretrained(name).to(chosen_device(setting))


@cache
def chosen_device(setting: Setting) -> Any:
    """The device, with the number of threads set."""
    from wavediff.commands.arguments import device

    return device(setting)


@cache
def loaded_posterior(setting: Setting) -> Posterior:
    """What recordings are restored by."""
    from wavediff.tasks.restoration import posterior_of

    return posterior_of(setting.generator, chosen_device(setting))
