"""`wavediff vocode`: convert mel spectrograms, or audio by copy synthesis, to audio."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from wavediff.cli import run
from wavediff.commands.arguments import ANY_MODEL, Parser, placed, positive_int, require_model
from wavediff.commands.outputs import (
    interruptible,
    missing_outputs,
    plan_outputs,
    report_failures,
    require_format,
    subtype,
)
from wavediff.commands.pipes import piped
from wavediff.commands.progress import audio_bar, move
from wavediff.errors import UserError
from wavediff.inputs import ARRAY_SUFFIXES, AUDIO_SUFFIXES, MELS_READ, find_audio

if TYPE_CHECKING:
    from torch import Tensor

    from wavediff.tasks.vocoder import Vocoder
    from wavediff.tasks.vocoder_stream import VocoderStream

FORMATS = ("wav", "flac")
# as in representations/mel_scales.py, which imports torch
MEL_SCALES = (
    "sym4", "pos4", "sym1", "pos1", "ln", "log10", "db", "linear", "power", "power-ln", "power-db",
)  # fmt: skip
BLOCK_FRAMES = 1024
CLIPPED = 0.01  # share of the samples above which a mel is refused

DESCRIPTION = """\
Convert mel spectrograms to audio with a trained vocoder. Audio files are analysed and synthesised
again (copy synthesis): resampled to the model's rate, several channels averaged to one.
"""

EXAMPLES = """\
examples:
  wavediff vocode mel.npy -o speech.wav
  wavediff vocode speech.wav -o again.wav
  wavediff vocode mels/ -o audio/ --checkpoint runs/ljspeech --steps 6
  wavediff vocode 'tts/*.npy' more.safetensors -o audio/ --format flac --bits 24

A mel is one array [n_mels, frames], in a .npy, .npz, .pt or .safetensors file, from the model's own
front-end (`wavediff mel` makes them).
Values on another scale are recognised where they can be, and refused; --mel-scale converts them:
  sym4, pos4, sym1, pos1    [-4, 4], [0, 4], [-1, 1], [0, 1] of Tacotron forks: 100 dB below 20
  ln, log10, db, linear     logarithms, 20 log10 and none, of magnitudes
  power, power-ln, power-db librosa's melspectrogram, its natural logarithm, and power_to_db
The model's own scale, given by name, is taken as it is, however loud.
A folder's structure is kept below OUT. Outputs that exist are kept, so the same command resumes a
folder that was interrupted; --overwrite replaces them. The same seed gives the same audio,
independent of the batch and the length of the input. Exit code 2: some input failed.
"""


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


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code is 2 when an input of several failed."""
    arguments = parse(argv)
    with piped(arguments, output=f".{arguments.format or 'wav'}"):
        return vocode_all(arguments)


def vocode_all(arguments: argparse.Namespace) -> int:
    """All inputs; the exit code."""
    files = find_audio(arguments.paths, suffixes=(*AUDIO_SUFFIXES, *MELS_READ))
    suffixes = sorted(
        (f".{f}" for f in FORMATS), key=lambda s: s != f".{arguments.format or 'wav'}"
    )
    targets = plan_outputs(files, arguments.paths, arguments.output, suffixes)
    require_format(arguments.format, targets)
    kind = subtype(arguments.bits, targets)
    require_model(arguments)
    targets = missing_outputs(targets, arguments.overwrite)
    if not targets:
        return 0

    from wavediff.tasks.vocoder import Vocoder

    vocoder = placed(Vocoder.from_pretrained(arguments.checkpoint), arguments)
    if arguments.mel_iterations is not None:
        vocoder.mel_iterations = arguments.mel_iterations
    options = {
        "sampler": vocoder.with_sampler(arguments.sampler, arguments.steps),
        "seed": arguments.seed,
        "label": vocoder.label_number(arguments.label),
        "scale": arguments.mel_scale,
    }

    failures: list[str] = []
    jobs = []
    for source, target in targets:
        try:
            jobs.append(Job(source, target, mel_frames(source, vocoder)))
        except UserError as error:
            failures.append(str(error))
    if failures and len(targets) == 1:
        raise UserError(failures[0])

    batch_size = arguments.batch_size or (8 if vocoder.device.type == "cuda" else 1)
    seconds = vocoder.mel.hop_length / vocoder.sample_rate
    total = sum(job.frames for job in jobs) * seconds
    with interruptible(), audio_bar("vocode", total) as progress:
        for batch in batches(jobs, batch_size):
            failures += vocode(vocoder, batch, kind, options, progress)

    if len(targets) == 1 and failures:
        raise UserError(failures[0])
    if len(targets) > 1:
        done = len(targets) - len(failures)
        print(f"{done} of {len(targets)} files vocoded into {arguments.output}", file=sys.stderr)
    return report_failures(failures)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser("vocode", DESCRIPTION, EXAMPLES)
    parser.add_paths("mels, audio files")
    parser.add_output("a .wav or .flac file or - (stdout) for one input, or a folder")
    parser.add_checkpoint(ANY_MODEL, default="vocoder-en-22k")
    parser.add_sampling()
    parser.add_precision()
    parser.add_mel_iterations()
    parser.add_argument(
        "--mel-scale",
        choices=MEL_SCALES,
        metavar="NAME",
        help=f"of the values of mels, see below: {', '.join(MEL_SCALES)} (default: the model's)",
    )
    parser.add_argument(
        "--label",
        "--speaker",
        metavar="NAME",
        help="number or name of the speaker or class, for a model that has several",
    )
    parser.add_option(
        "--batch-size",
        positive_int,
        "N",
        "mels of one length at a time (default: 8 on a GPU, 1 on a CPU)",
    )
    parser.add_argument("--format", choices=FORMATS, help="of the files in a folder (default: wav)")
    parser.add_bits()
    return parser.parse_args(argv)


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


def vocode(
    vocoder: Vocoder, jobs: Sequence[Job], subtype: str, options: dict, progress: tqdm
) -> list[str]:
    """Vocode one batch and print what was written; returns a sentence for each failure."""
    import torch

    failures, loaded = [], []
    for job in jobs:
        try:
            loaded.append(load(job, vocoder, options["scale"]))
        except UserError as error:
            failures.append(str(error))
            advance(progress, job.frames, vocoder)
    # a header may promise another length than the file has
    lengths = {item.mel.shape[-1] for item in loaded}
    groups = [loaded] if len(lengths) == 1 else [[item] for item in loaded]
    while groups:
        group = groups.pop(0)
        start = progress.n
        try:
            write(vocoder, group, subtype, options, progress)
        except (UserError, torch.OutOfMemoryError) as error:
            progress.update(start - progress.n)
            if len(group) > 1:  # none is written; the others succeed alone
                groups += [[item] for item in group]
                continue
            job = group[0].job
            if isinstance(error, torch.OutOfMemoryError):
                error = UserError(f"{job.source}: the GPU has too little memory: --device cpu")
            failures.append(str(error))
            advance(progress, job.frames, vocoder)
    return failures


def write(
    vocoder: Vocoder, group: Sequence[Loaded], subtype: str, options: dict, progress: tqdm
) -> None:
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
            stack.enter_context(audio_writer(item.job.target, vocoder.sample_rate, subtype))
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


if __name__ == "__main__":
    sys.exit(run(main))
