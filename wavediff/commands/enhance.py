"""`wavediff enhance`: denoise recordings of speech."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from wavediff.cli import run
from wavediff.commands.arguments import (
    LIVE_MODEL,
    Parser,
    dry_share,
    fraction,
    path,
    placed,
    positive_int,
    require_model,
    whole,
)
from wavediff.commands.corpus import EXAMPLES as CORPUS
from wavediff.commands.corpus import Outcome, Work, add_corpus, each, require_corpus, shared
from wavediff.commands.manifest import Manifest
from wavediff.commands.outputs import (
    interruptible,
    missing_outputs,
    names_file,
    plan_file,
    plan_folder,
    real,
    report_failures,
    require_file_or_new,
    require_format,
    require_lossy,
    require_writable,
)
from wavediff.commands.pcm_pipe import RAW_FORMATS, enhance_stream, is_stream
from wavediff.commands.pipes import piped
from wavediff.commands.progress import audio_bar, move, no_bar
from wavediff.errors import UserError, named
from wavediff.inputs import AUDIO_SUFFIXES, CONTAINERS, find_audio, folders

if TYPE_CHECKING:
    from wavediff.tasks.enhancer import Enhancer

READ_SAMPLES = 1 << 16  # of all channels together, at a time
MODEL = "enhancer-16k"
FORMATS = ("wav", "flac", "aiff", "ogg", "opus", "mp3")

DESCRIPTION = """\
Denoise recordings of speech. The output is like the input: its sample rate, channels, length to the
sample, level, container and sample format.
"""

EXAMPLES = (
    """\
examples:
  wavediff enhance noisy.wav -o clean.wav
  wavediff enhance interview.mp3 -o interview.wav --report interview.html
  wavediff enhance recordings/ -o cleaned/ --strength 20
  wavediff enhance 'day1/*.flac' day2/ -o cleaned/ --checkpoint runs/enhance --steps 4
  wavediff enhance corpus/ -o cleaned/ --shard 3/16 --manifest 3.jsonl
  wavediff enhance corpus/ -o cleaned/ --ray auto --manifest results.jsonl
  cat a.wav | wavediff enhance - -o - > b.wav
  arecord -f S16_LE -r 48000 | wavediff enhance --live - -o - | aplay
  parec --raw --rate=48000 --channels=1 |
    wavediff enhance --live --raw s16le --rate 48000 - -o - | pacat --rate=48000 --channels=1

A folder's structure is kept below OUT. Outputs that exist there are kept, so the same command
resumes a folder that was interrupted; --overwrite replaces them. A single file OUT that exists is
an error without --overwrite. Where outputs would have one name, each keeps the suffix of its input
(a.m4a.wav). Memory does not grow with the length of a recording.

Each channel is enhanced by itself. What lies above the model's band (8 kHz for enhancer-16k) is
attenuated as much as the model attenuates the octave below: hiss goes, sibilants stay. Where the
result would exceed full scale, it is turned down for an instant instead of clipped. A DC offset,
and drift below 20 Hz that is as strong as the sound, are removed first.

mp3, ogg and opus keep their format and bit rate, but are encoded once more: give OUT the name of a
.wav file, or --format wav for a folder, to avoid that. m4a, mp4, webm and other media become .wav.
Tags, cover, cue points and bext are kept where OUT can hold them. - (stdin) may be any of the
formats, - (stdout) is wav, or --format; both pass through a temporary file (in TMPDIR), whole. With
--live - -o - what comes from stdin is enhanced as it comes, 32 ms later, by a model that does not
look ahead: wav, also of unknown length, or PCM by --raw; the output is of the same form. A
truncated or damaged file is enhanced as far as it can be read. Exit code 2: some input failed.

"""
    + CORPUS
)


@dataclass(frozen=True)
class Job:
    """One recording and where it goes; `seconds` by its header, `bit_rate` for lossy targets."""

    source: Path
    target: Path
    seconds: float
    bit_rate: float | None = None  # kbit/s


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code is 2 when an input of several failed."""
    arguments = parse(argv)
    require_corpus(arguments)
    if is_stream(arguments):
        with interruptible():
            return enhance_stream(arguments)
    with interruptible(), piped(arguments, output=f".{arguments.format or 'wav'}"):
        return enhance_all(arguments)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser("enhance", DESCRIPTION, EXAMPLES)
    add = parser.add_option
    parser.add_paths("audio files")
    parser.add_output("an audio file or - (stdout) for one input, or a folder")
    parser.add_checkpoint(
        "a run folder, a model.safetensors or a bundled model "
        f"(default: {MODEL}, with --live {LIVE_MODEL})"
    )
    what = "of the input in the output: 0 is clean, 1 is the input (default: 0)"
    add("--dry", fraction, "SHARE", what)
    parser.add_strength()
    steps = "sampling steps (default: the sampler's own; enhancer-16k is trained for 1)"
    parser.add_sampling(help=steps)
    parser.add_precision()
    parser.add_argument(
        "--format", choices=FORMATS, help="for a folder or stdout (default: each input's own)"
    )
    parser.add_bit_rate()
    parser.add_backend()
    add(
        "--report",
        path,
        "HTML",
        "write a page with levels, spectrograms and a player that switches before and after",
    )
    parser.add_argument(
        "--live", action="store_true", help="a model with 32 ms of delay; - -o - as it comes"
    )
    parser.add_argument("--raw", choices=RAW_FORMATS, help="with --live: PCM instead of wav")
    add("--rate", whole(1000, 768_000), "HZ", "of --raw")
    add("--channels", positive_int, "N", "of --raw (default: 1)")
    add_corpus(parser)
    arguments = parser.parse_args(argv)
    if arguments.dry is not None and arguments.strength is not None:
        dry = dry_share(arguments.strength)
        raise UserError(
            "--dry and --strength set the same: give one of them "
            f"(--strength {arguments.strength:g} is --dry {dry:.3g})"
        )
    if arguments.dry is None:
        arguments.dry = dry_share(arguments.strength)
    if arguments.checkpoint is None:
        arguments.checkpoint = LIVE_MODEL if arguments.live else MODEL
    return arguments


def enhance_all(arguments: argparse.Namespace) -> int:
    """All inputs, one after the other or on a cluster; the exit code."""
    if arguments.report is not None:
        require_report(arguments.report, arguments.overwrite)
    output = arguments.output
    sources = inputs(arguments.paths, output)
    targets = outputs(sources, output, arguments)
    require_lossy(arguments.bit_rate, targets)
    require_model(arguments)
    manifest = Manifest(arguments.manifest)
    manifest.require(sources)
    if targets[0][1] == output and output.exists() and not arguments.overwrite:
        raise UserError(f"{output} exists already: give --overwrite to replace it")
    targets = shared(targets, arguments.shard)
    missing = missing_outputs(targets, arguments.overwrite)
    manifest.begin(targets, missing)

    if not missing:
        failures: dict[Path, str] = {}
    elif arguments.ray is not None:
        from wavediff.commands.corpus_files import on_ray

        failures = on_ray(arguments, worker, missing, manifest)
    else:
        failures = enhance_here(missing, arguments, manifest)
    if failures and len(targets) == 1:
        raise UserError(*failures.values())

    if len(targets) > 1 and missing:
        done = len(missing) - len(failures)
        print(f"{done} of {len(missing)} files enhanced into {output}", file=sys.stderr)
    if arguments.report is not None:
        report(arguments.report, [(named(s), s, t) for s, t in targets if t not in failures])
    return report_failures(list(failures.values()))


def enhance_here(
    pairs: Sequence[tuple[Path, Path]], arguments: argparse.Namespace, manifest: Manifest
) -> dict[Path, str]:
    """Enhance in this process; returns a sentence for each target that failed."""
    failures: dict[Path, str] = {}
    jobs = []
    for source, target in pairs:
        try:
            jobs.append(job_of(source, target, arguments.bit_rate))
        except UserError as error:
            failures[target] = str(error)
            manifest.add(source, target, Outcome(error=str(error)))
    if not jobs:
        return failures
    enhancer, options = load(arguments)
    done = 0.0
    with audio_bar("enhance", sum(job.seconds for job in jobs)) as progress:
        for job in jobs:
            begun = time.monotonic()
            try:
                enhance(enhancer, job, options, progress, done)
            except UserError as error:
                failures[job.target] = str(error)
            sentence = failures.get(job.target)
            outcome = Outcome(None if sentence else job.seconds, time.monotonic() - begun, sentence)
            manifest.add(job.source, job.target, outcome)
            done += job.seconds
            move(progress, done)
    return failures


def worker(arguments: argparse.Namespace) -> Work:
    """Load the model; what is returned enhances files."""
    enhancer, options = load(arguments)

    def work(source: Path, target: Path) -> float:
        job = job_of(source, target, arguments.bit_rate)
        enhance(enhancer, job, options, no_bar())
        return job.seconds

    return each(work)


def job_of(source: Path, target: Path, bit_rate: float | None) -> Job:
    """A job, by the header of its input. Raises UserError where it is not audio."""
    from wavediff.data.audio import audio_info

    frames, rate = audio_info(source)
    return Job(source, target, frames / rate, bit_rate)


def load(arguments: argparse.Namespace) -> tuple[Enhancer, dict]:
    """The model, and the options of its stream."""
    from wavediff.tasks.enhancer import Enhancer

    enhancer = placed(Enhancer.from_pretrained(arguments.checkpoint), arguments)
    enhancer.with_sampler(arguments.sampler, arguments.steps)  # refused before the first file
    return enhancer, {
        "sampler": arguments.sampler,
        "steps": arguments.steps,
        "seed": arguments.seed,
        "dry": arguments.dry,
        "chunk_seconds": None,
        "backend": arguments.backend,
    }


def enhance(
    enhancer: Enhancer, job: Job, options: dict, progress: tqdm, before: float = 0.0
) -> None:
    """Enhance one recording block by block, and print what was written.

    before: seconds of audio that are done, at which `progress` stands.
    Raises UserError where it cannot be read or written, the model's output is not audio, or the
    GPU's memory does not suffice.
    """
    import torch

    from wavediff.data.audio import audio_reader, audio_writer_like, warn

    def advance(seconds: float) -> None:
        move(progress, before + min(seconds, job.seconds))

    try:
        with audio_reader(job.source) as reader:
            shape = reader.sample_rate, reader.channels
            stream = enhancer.stream(*shape, progress=advance, **options)
            with audio_writer_like(reader, job.target, job.bit_rate) as writer:
                for block in reader.blocks(max(1, READ_SAMPLES // reader.channels)):
                    writer.write(torch.from_numpy(stream.push(block)))
                writer.write(torch.from_numpy(stream.finish()))
    except torch.OutOfMemoryError as error:
        full = f"{job.source}: the GPU has too little memory: give --device cpu"
        raise UserError(full) from error
    warn(reader)
    if writer.clipped:
        tqdm.write(writer.clipping, file=sys.stderr)
    tqdm.write(str(job.target))
    sys.stdout.flush()


def inputs(paths: Sequence[str], output: Path) -> list[Path]:
    """Return the input files, without those below OUT, which an earlier call wrote.

    Raises UserError where there are none.
    """
    found = find_audio(paths)
    if any(below(output, root) for given in paths for root in folders(given)):
        found = [file for file in found if not below(file, output)]
        if not found:
            raise UserError(f"all of {', '.join(paths)} lies below {output}, the output")
    return found


def outputs(
    sources: Sequence[Path], output: Path, arguments: argparse.Namespace
) -> list[tuple[Path, Path]]:
    """Return (input, output) for every file: OUT itself, or below it as in a given folder.

    Raises UserError where outputs coincide, are inputs, or cannot be written.
    """

    def suffix(name: Path) -> str:
        own = name.suffix
        if arguments.format or own.lower() in CONTAINERS:
            return f".{arguments.format}" if arguments.format else own
        return ".wav" if own.lower() in AUDIO_SUFFIXES else f"{own}.wav"

    if names_file(output, tuple(CONTAINERS), sources, arguments.paths):
        targets = plan_file(sources, output)
        require_format(arguments.format, targets)
        return targets
    targets = plan_folder(sources, arguments.paths, output, suffix)
    changed = [source for source, _ in targets if source.suffix.lower() not in CONTAINERS]
    kinds = sorted({source.suffix.lower() for source in changed if source.suffix})
    if kinds and not arguments.format:
        what = f"{', '.join(kinds)}: {len(changed)} file{'s' * (len(changed) != 1)}"
        print(f"not written as {what} become .wav (see --format)", file=sys.stderr)
    return targets


def below(path: Path, folder: Path) -> bool:
    """Whether a path lies in a folder, not being the folder itself."""
    return real(folder) in real(path).parents


def require_report(path: Path, overwrite: bool) -> None:
    """See that the report can be written. An old report is replaced, since the new one is on all
    recordings. Raises UserError where it cannot, or the file is not a report."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"the report is a web page: give it a name that ends in .html, not {path}")
    require_file_or_new(path)
    if path.is_file() and not overwrite and not is_report(path):
        raise UserError(
            f"{path} exists already and is not a report: give --overwrite to replace it"
        )
    require_writable(path.parent)


def is_report(path: Path) -> bool:
    """Whether a file begins as `write_report`'s do."""
    from wavediff.evaluation.report import TITLE

    with open(path, "rb") as file:
        return TITLE.encode() in file.read(1000)


def report(path: Path, recordings: Sequence[tuple[str, Path, Path]]) -> None:
    """Write the page on all (name, input, output), those of earlier calls too."""
    from wavediff.evaluation.report import Entry, write_report

    if recordings:
        write_report(path, [Entry(*recording) for recording in recordings])


if __name__ == "__main__":
    sys.exit(run(main))
