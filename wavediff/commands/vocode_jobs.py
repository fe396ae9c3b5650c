"""Mels and audio files as jobs of a vocoder: read, batched, and their audio written."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from wavediff.commands.corpus import Outcome
from wavediff.commands.progress import move
from wavediff.errors import UserError
from wavediff.inputs import ARRAY_SUFFIXES, MELS_READ

if TYPE_CHECKING:
    from torch import Tensor

    from wavediff.tasks.vocoder import Vocoder
    from wavediff.tasks.vocoder_stream import VocoderStream

# as in representations/mel_scales.py, which imports torch
MEL_SCALES = (
    "sym4", "pos4", "sym1", "pos1", "ln", "log10", "db", "linear", "power", "power-ln", "power-db",
)  # fmt: skip
BLOCK_FRAMES = 1024
CLIPPED = 0.01  # share of the samples above which a mel is refused


@dataclass(frozen=True)
class Job:
    """One input and where its audio goes; `frames` of its mel by its header."""

    source: Path
    target: Path
    frames: int


@dataclass(frozen=True)
class Loaded:
    """A job's mel [n_mels, frames] and how many samples are wanted."""

    job: Job
    mel: Tensor
    samples: int


def jobs_of(
    pairs: Sequence[tuple[Path, Path]], vocoder: Vocoder
) -> tuple[list[Job], dict[Path, str]]:
    """Jobs, and a sentence for each target whose input cannot be read."""
    jobs, failures = [], {}
    for source, target in pairs:
        try:
            jobs.append(Job(source, target, mel_frames(source, vocoder)))
        except UserError as error:
            failures[target] = str(error)
    return jobs, failures


def vocode_timed(
    vocoder: Vocoder, jobs: Sequence[Job], options: dict, progress: tqdm
) -> dict[Path, Outcome]:
    """Vocode one batch, of whose time each file has an equal share."""
    begun = time.monotonic()
    failures = vocode(vocoder, jobs, options, progress)
    wall = (time.monotonic() - begun) / len(jobs)
    seconds = vocoder.mel.hop_length / vocoder.sample_rate
    return {
        job.target: Outcome(None, wall, failures[job.target])
        if job.target in failures
        else Outcome(job.frames * seconds, wall)
        for job in jobs
    }


def mel_frames(source: Path, vocoder: Vocoder) -> int:
    """Return the mel frames of an input, by its header if that says so."""
    from wavediff.data.audio import audio_info
    from wavediff.data.mels import read_mel

    if source.suffix.lower() in (*MELS_READ, *ARRAY_SUFFIXES):
        shape = read_mel(source).shape
        return shape[-1] if shape else 0
    frames, rate = audio_info(source)
    length = -(-frames * vocoder.sample_rate // rate)
    return max(vocoder.mel.frames(length), -(-length // vocoder.mel.hop_length))


def load(job: Job, vocoder: Vocoder, scale: str | None) -> Loaded:
    """Return the mel of an input, converted from a scale of --mel-scale.

    Raises UserError if it is not audio or a mel of this model.
    """
    import torch

    from wavediff.data.audio import read_audio
    from wavediff.data.mels import read_mel

    if job.source.suffix.lower() not in MELS_READ:
        audio, _ = read_audio(job.source, vocoder.sample_rate)
        with torch.inference_mode():
            mel = vocoder.analyse(audio[None].to(vocoder.device)).cpu()
        return Loaded(job, mel[0], audio.shape[-1])
    mel = vocoder.mel.check(read_mel(job.source), source=str(job.source), scale=scale)
    if mel.ndim == 3 and len(mel) > 1:
        raise UserError(f"{job.source} holds {len(mel)} mels: save each in a file of its own")
    mel = mel if mel.ndim == 2 else mel[0]
    return Loaded(job, mel, mel.shape[-1] * vocoder.mel.hop_length)


def batches(jobs: Sequence[Job], size: int) -> Iterator[list[Job]]:
    """Jobs of equal length together, `size` at most."""
    by_length: dict[int, list[Job]] = {}
    for job in jobs:
        by_length.setdefault(job.frames, []).append(job)
    for equal in by_length.values():
        for first in range(0, len(equal), size):
            yield equal[first : first + size]


def vocode(vocoder: Vocoder, jobs: Sequence[Job], options: dict, progress: tqdm) -> dict[Path, str]:
    """Vocode one batch and print what was written; returns a sentence for each that failed."""
    import torch

    failures: dict[Path, str] = {}
    loaded = []
    for job in jobs:
        try:
            loaded.append(load(job, vocoder, options["scale"]))
        except UserError as error:
            failures[job.target] = str(error)
            advance(progress, job.frames, vocoder)
    # a header may promise another length than the file has
    lengths = {item.mel.shape[-1] for item in loaded}
    groups = [loaded] if len(lengths) == 1 else [[item] for item in loaded]
    while groups:
        group = groups.pop(0)
        start = progress.n
        try:
            write(vocoder, group, options, progress)
        except (UserError, torch.OutOfMemoryError) as error:
            progress.update(start - progress.n)
            if len(group) > 1:  # none is written; the others succeed alone
                groups += [[item] for item in group]
                continue
            job = group[0].job
            if isinstance(error, torch.OutOfMemoryError):
                error = UserError(f"{job.source}: the GPU has too little memory: --device cpu")
            failures[job.target] = str(error)
            advance(progress, job.frames, vocoder)
    return failures


def write(vocoder: Vocoder, group: Sequence[Loaded], options: dict, progress: tqdm) -> None:
    """Vocode mels of one length into their files, piece by piece: all files or none.

    Raises UserError where a file cannot be written, the model's output is not audio, or so much of
    it is beyond full scale that the mel must be of another kind, unless its scale is asserted.
    """
    import torch

    from wavediff.data.audio import audio_writer
    from wavediff.tasks.vocoder_stream import VocoderStream

    mel = torch.stack([item.mel for item in group])
    start, frames = progress.n, sum(item.job.frames for item in group)
    seconds = mel.shape[-1] * vocoder.mel.hop_length / vocoder.sample_rate
    stream = VocoderStream(
        vocoder,
        sampler=options["sampler"],
        seed=options["seed"],
        label=options["label"],
        checked=True,
        progress=lambda done: advance(progress, done / seconds * frames, vocoder, start),
    )
    with ExitStack() as stack:
        writers = [
            stack.enter_context(
                audio_writer(item.job.target, vocoder.sample_rate, options["subtype"])
            )
            for item in group
        ]
        position = 0
        beyond = [0] * len(group)
        for piece in synthesised(stream, mel):
            audios = piece.float().cpu()
            for k, (item, writer, audio) in enumerate(zip(group, writers, audios, strict=True)):
                wanted = audio[: max(0, item.samples - position)]
                if not wanted.isfinite().all():
                    raise UserError(
                        f"{item.job.source}: the model's output holds NaN or infinite samples: "
                        "its checkpoint is broken, try another"
                    )
                if len(wanted):
                    writer.write(wanted)
                    beyond[k] += int((wanted.abs() > 1).sum())
            position += piece.shape[-1]
        for item, count in zip(group, beyond, strict=True):
            is_mel = item.job.source.suffix.lower() in MELS_READ
            if not is_mel or count <= CLIPPED * item.samples:
                continue
            share, own = count / item.samples, vocoder.mel.log
            if options["scale"] == own:
                tqdm.write(
                    f"{item.job.source}: {share:.0%} of the output is beyond full scale, where "
                    "files of 16 and 24 bits are clipped",
                    file=sys.stderr,
                )
                continue
            certain = f" {own} if it is one, of sound as loud as that" if own in MEL_SCALES else ""
            raise UserError(
                f"{item.job.source}: {share:.0%} of the output would be clipped, "
                "so this is hardly a mel of this model's front-end: compute it with "
                f"`wavediff mel`, or give --mel-scale{certain}"
            )
    for item, writer in zip(group, writers, strict=True):
        if writer.clipped:
            tqdm.write(writer.clipping, file=sys.stderr)
        tqdm.write(str(item.job.target))
        sys.stdout.flush()


def synthesised(stream: VocoderStream, mel: Tensor) -> Iterator[Any]:
    """The audio of a mel ``[batch, n_mels, frames]`` piece by piece, ``[batch, samples]`` each."""
    for block in mel.split(BLOCK_FRAMES, dim=-1):
        yield stream.push(block)
    yield stream.finish()


def advance(progress: tqdm, frames: float, vocoder: Vocoder, start: float | None = None) -> None:
    """Move the bar on by mel frames, counted from where it stands or from `start`."""
    start = progress.n if start is None else start
    move(progress, start + frames * vocoder.mel.hop_length / vocoder.sample_rate)
