"""`wavediff vocode`: mel spectrograms, or audio by copy synthesis, to audio."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from wavediff.cli import run
from wavediff.commands.arguments import (
    Parser,
    device,
    ended_by_sigterm,
    folders,
    natural,
    positive,
    require_writable,
)
from wavediff.data.audio import AUDIO_SUFFIXES, audio_info, audio_writer, find_audio, read_audio
from wavediff.data.mels import MEL_SUFFIXES, read_mel
from wavediff.errors import UserError
from wavediff.tasks.sampler import sampler_names
from wavediff.tasks.vocoder import Vocoder

SUBTYPES = {16: "PCM_16", 24: "PCM_24", 32: "FLOAT"}
FORMATS = ("wav", "flac")

DESCRIPTION = """\
Turn mel spectrograms into audio by a trained vocoder. Audio files are analysed and synthesised
again (copy synthesis): resampled to the model's rate, several channels averaged to one.
"""

EXAMPLES = """\
examples:
  wavediff vocode mel.npy -o speech.wav
  wavediff vocode speech.wav -o again.wav
  wavediff vocode mels/ -o audio/ --checkpoint runs/ljspeech --steps 6
  wavediff vocode 'tts/*.npy' more.safetensors -o audio/ --format flac --bits 24

A mel is one array [n_mels, frames] in the model's own front-end (`wavediff mel` makes them).
A folder's structure is kept below OUT. Outputs that exist are left alone, so the same command
goes on with a folder that was interrupted; --overwrite makes them again. The same seed gives the
same audio, whatever the batch and however long the input. Exit code 2: some input failed.
"""


@dataclass(frozen=True)
class Job:
    """One input and where its audio goes; `frames` of its mel as its header tells."""

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
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    files = find_audio(arguments.paths, suffixes=(*AUDIO_SUFFIXES, *MEL_SUFFIXES))
    targets = outputs(files, arguments)
    if not arguments.overwrite:
        targets = without_existing(targets)
        if not targets:
            return 0
    vocoder = Vocoder.from_pretrained(arguments.checkpoint).to(device(arguments.device))
    if arguments.consistency is not None:
        vocoder.mel_iterations = arguments.consistency
    options = {
        "sampler": vocoder.with_sampler(arguments.sampler, arguments.steps),
        "seed": arguments.seed,
        "label": vocoder.label_number(arguments.label),
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
    with (
        ended_by_sigterm(),
        tqdm(
            total=sum(job.frames for job in jobs) * seconds,
            desc="vocode",
            unit="s",
            delay=1,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} s of audio "
            "[{elapsed}<{remaining}{postfix}]",
        ) as progress,
    ):
        for batch in batches(jobs, batch_size):
            failures += vocode(vocoder, batch, SUBTYPES[arguments.bits], options, progress)

    if len(targets) == 1 and failures:
        raise UserError(failures[0])
    if len(targets) > 1:
        done = len(targets) - len(failures)
        print(f"{done} of {len(targets)} files vocoded into {arguments.output}", file=sys.stderr)
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 2 if failures else 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(
        prog="wavediff vocode",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add("paths", nargs="+", metavar="PATH", help="mels, audio files, folders or quoted globs")
    add(
        "-o",
        "--output",
        required=True,
        type=Path,
        metavar="OUT",
        help="a .wav or .flac file for one input, or a folder",
    )
    add(
        "--checkpoint",
        default="vocoder-en-22k",
        metavar="MODEL",
        help="a run folder, a model.safetensors or a bundled model (default: %(default)s)",
    )
    add(
        "--sampler",
        metavar="NAME",
        help=f"one of {', '.join(sampler_names())} (default: the checkpoint's own)",
    )
    add("--steps", type=positive, metavar="N", help="sampling steps (default: the sampler's own)")
    add(
        "--consistency",
        type=natural,
        metavar="N",
        help="iterations that move the estimate towards the mel; 0 leaves the network's own "
        "(default: the checkpoint's)",
    )
    add("--seed", type=int, default=0, metavar="N", help="of the noise (default: 0)")
    add(
        "--label",
        "--speaker",
        metavar="NAME",
        help="number or name of the speaker or class, for a model that has several",
    )
    add(
        "--device",
        choices=["auto", "cpu", "cuda"],
        default="auto",
        help="auto takes a GPU where there is one (default: auto)",
    )
    add(
        "--batch-size",
        type=positive,
        metavar="N",
        help="mels of one length at a time (default: 8 on a GPU, 1 on a CPU)",
    )
    add("--threads", type=positive, metavar="N", help="CPU threads (default: one per core)")
    add("--format", choices=FORMATS, help="what goes into a folder (default: wav)")
    add(
        "--bits",
        type=int,
        choices=list(SUBTYPES),
        default=16,
        help="per sample; 32 is floating point, for wav only (default: 16)",
    )
    add("--overwrite", action="store_true", help="make outputs again that exist already")
    arguments = parser.parse_args(argv)
    if len(arguments.paths) != 1 or not is_file_name(arguments.output):
        arguments.format = arguments.format or "wav"
    return arguments


def is_file_name(output: Path) -> bool:
    """Whether OUT means an audio file, not a folder."""
    return output.suffix.lower() in AUDIO_SUFFIXES and not output.is_dir()


def outputs(files: Sequence[Path], arguments: argparse.Namespace) -> list[tuple[Path, Path]]:
    """(input, output) for every file: OUT itself, or below it with a given folder's structure.

    Raises UserError where outputs cannot be told apart, are inputs, or cannot be written.
    """
    output, suffix = arguments.output.expanduser(), f".{arguments.format or 'wav'}"
    if is_file_name(output):
        suffix = output.suffix.lower()
        if len(files) > 1:
            raise UserError(f"{len(files)} inputs cannot all go to {output}: give a folder")
        if suffix[1:] not in FORMATS:
            raise UserError(f"cannot write {output}: give the name of a .wav or .flac file")
        if arguments.format and suffix != f".{arguments.format}":
            raise UserError(f"--format {arguments.format} does not go with {output}: leave it out")
        targets = {output: files[0]}
        folder = output.parent
    else:
        if output.suffix and not output.is_dir() and len(files) == 1:
            raise UserError(f"cannot write {output}: give the name of a .wav or .flac, or a folder")
        targets = {}
        folder = output
        roots = [root for given in arguments.paths for root in folders(given)]
        for file in files:
            root = next((root for root in roots if file.is_relative_to(root)), file.parent)
            target = (folder / file.relative_to(root)).with_suffix(suffix)
            if target in targets:
                raise UserError(
                    f"{targets[target]} and {file} would both be written to {target}: "
                    "give them in two calls with different outputs"
                )
            targets[target] = file
    if suffix == ".flac" and arguments.bits == 32:
        raise UserError("flac has no 32-bit floating point: give --bits 24, or wav")
    inputs = {file.resolve() for file in files}
    for target in targets:
        if target.resolve() in inputs:
            raise UserError(f"{target} is an input and would be overwritten: give another output")
    require_writable(folder)
    return [(file, target) for target, file in targets.items()]


def without_existing(targets: Sequence[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """Those that are still to be made; stderr is told about the others."""
    missing = [(source, target) for source, target in targets if not target.exists()]
    kept = len(targets) - len(missing)
    if kept:
        what = f"{targets[0][1]} exists" if len(targets) == 1 else f"{kept} outputs exist"
        print(f"{what} already and will be kept: give --overwrite to replace", file=sys.stderr)
    return missing


def mel_frames(source: Path, vocoder: Vocoder) -> int:
    """Mel frames of an input, by its header where that tells."""
    if source.suffix.lower() in MEL_SUFFIXES:
        shape = read_mel(source).shape
        return shape[-1] if shape else 0
    frames, rate = audio_info(source)
    length = -(-frames * vocoder.sample_rate // rate)
    return max(vocoder.mel.frames(length), -(-length // vocoder.mel.hop_length))


@torch.inference_mode()
def load(job: Job, vocoder: Vocoder) -> Loaded:
    """The mel of an input. Raises UserError for one that is no mel of this model, nor audio."""
    if job.source.suffix.lower() not in MEL_SUFFIXES:
        audio, _ = read_audio(job.source, vocoder.sample_rate)
        mel = vocoder.analyse(audio[None].to(vocoder.device)).cpu()
        return Loaded(job, mel[0], audio.shape[-1])
    mel = vocoder.mel.check(read_mel(job.source), source=str(job.source))
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
    failures, loaded = [], []
    for job in jobs:
        try:
            loaded.append(load(job, vocoder))
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

    Raises UserError where a file cannot be written, or the model's output is no audio.
    """
    mel = torch.stack([item.mel for item in group])
    label = options["label"]
    start, frames = progress.n, sum(item.job.frames for item in group)
    pieces = vocoder.stream(
        mel,
        sampler=options["sampler"],
        seed=options["seed"],
        label=None if label is None else torch.full((len(group),), label),
        callback=lambda share: advance(progress, share * frames, vocoder, start),
    )
    with ExitStack() as stack:
        writers = [
            stack.enter_context(audio_writer(item.job.target, vocoder.sample_rate, subtype))
            for item in group
        ]
        position = 0
        for piece in pieces:
            for item, writer, audio in zip(group, writers, piece.float().cpu(), strict=True):
                wanted = audio[: max(0, item.samples - position)]
                if not wanted.isfinite().all():
                    raise UserError(
                        f"{item.job.source}: the model's output holds NaN or infinite samples: "
                        "its checkpoint is broken, try another"
                    )
                if len(wanted):
                    writer.write(wanted)
            position += piece.shape[-1]
    for item, writer in zip(group, writers, strict=True):
        if writer.clipped:
            tqdm.write(writer.clipping, file=sys.stderr)
        tqdm.write(str(item.job.target))
        sys.stdout.flush()


def advance(progress: tqdm, frames: float, vocoder: Vocoder, start: float | None = None) -> None:
    """Move the bar on by mel frames, counted from where it stands or from `start`."""
    start = progress.n if start is None else start
    reached = start + frames * vocoder.mel.hop_length / vocoder.sample_rate
    progress.update(min(reached, progress.total) - progress.n)


if __name__ == "__main__":
    sys.exit(run(main))
