"""What the page does with a recording that lacks something: fill gaps, extend, declip."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wavediff.commands.app_jobs import (
    Result,
    blocks,
    compared,
    noted,
    number,
    optional,
    result,
    result_like,
    sound,
)
from wavediff.commands.app_models import Progress, Setting, posterior
from wavediff.errors import UserError, shorten

if TYPE_CHECKING:
    from torch import Tensor

    from wavediff.data.audio import AudioReader
    from wavediff.tasks.restoration import Posterior

RESTORATIONS = ("Fill gaps", "Extend the bandwidth", "Declip")


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
    prior = replace(posterior(setting), seed=seed)
    if what == RESTORATIONS[1]:
        return widen(prior, source, reader, audio, band, folder, progress)
    from wavediff.tasks.restoration import declip, inpaint

    if places:
        word, gain = "filled", 1.0
        samples = [(round(start * rate), round(stop * rate)) for start, stop in places]
        restored = inpaint(prior, audio, rate, samples, progress)
    else:
        word = "declipped"
        restored = declip(prior, audio, rate, *levels, progress)
        gain = min(1.0, 0.99 / float(restored.abs().max()))
    target = result_like(folder, source, word)
    with audio_reader(source) as reader, audio_writer_like(reader, target) as writer:
        writer.write(restored * gain)
    notes = noted(reader, writer)
    if gain < 1:
        notes.append(f"turned down by {-20 * math.log10(gain):.1f} dB, so that no peak is clipped")
    return compared(source, target, [], notes)


def widen(
    prior: Posterior,
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
    from wavediff.tasks.restoration.bandwidth_extension import ROLLOFF

    rate, new_rate = reader.sample_rate, prior.generator.sample_rate
    cutoff = ROLLOFF * rate / 2 if cutoff is None else cutoff
    if cutoff >= ROLLOFF * new_rate / 2:
        raise UserError(
            f"the recording is complete up to {cutoff:g} Hz, and the generator of sound at "
            f"{new_rate} Hz adds nothing above: give less if its band ends lower"
        )
    seconds = audio.shape[-1] / rate
    pieces = extend(
        prior,
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
    """The levels below and above 0 at which ``audio`` is clipped; None detects them."""
    from wavediff.tasks.restoration import clipping

    if threshold is None:
        try:
            return clipping(audio)
        except UserError:
            raise UserError("no clipping was found in the recording: give the level") from None
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
