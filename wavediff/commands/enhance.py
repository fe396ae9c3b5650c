"""`wavediff enhance`: noisy recordings to clean ones."""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from wavediff.cli import run
from wavediff.commands.arguments import (
    Parser,
    device,
    ended_by_sigterm,
    folders,
    positive,
    require_writable,
)
from wavediff.data.audio import CONTAINERS, audio_info, audio_reader, audio_writer_like, find_audio
from wavediff.errors import UserError
from wavediff.tasks.enhancer import Enhancer
from wavediff.tasks.sampler import sampler_names

PIPE = "-"
READ_SAMPLES = 1 << 16  # of all channels together, at a time
FORMATS = ("wav", "flac", "aiff", "ogg", "opus", "mp3")
NOT_WRITTEN = (".m4a", ".aac", ".mp4", ".wma", ".webm", ".amr")  # else taken for folders

DESCRIPTION = """\
Take the noise out of recordings of speech. What comes out is like what went in: its sample rate,
channels, length to the sample, level, container and sample format.
"""

EXAMPLES = """\
examples:
  wavediff enhance noisy.wav -o clean.wav
  wavediff enhance interview.mp3 -o interview.wav --report interview.html
  wavediff enhance recordings/ -o cleaned/ --dry 0.1
  wavediff enhance 'day1/*.flac' day2/ -o cleaned/ --checkpoint runs/enhance --steps 4
  cat a.wav | wavediff enhance - -o - > b.wav

A folder's structure is kept below OUT. What exists there is left alone, so the same command goes
on with a folder that was interrupted; --overwrite makes it again. A single file OUT that exists is
an error without --overwrite. Recordings may be as long as you like: memory does not grow with them.

Every channel is enhanced by itself. What lies above the model's band (8 kHz for enhancer-16k) is
kept in the measure in which the model kept the octave below: hiss goes, sibilants stay. Where the
result would be above full scale, it is turned down for an instant instead of clipped.

mp3, ogg and opus stay what they are, but are encoded once more: give OUT the name of a .wav file,
or --format wav for a folder, to avoid that. From - (stdin) comes any of the formats, to - (stdout)
goes wav, or --format; both pass through a temporary file (in TMPDIR), whole. A file that was cut
off is enhanced as far as it goes. Exit code 2: some input failed.
"""


@dataclass(frozen=True)
class Job:
    """One recording and where it goes.

    `name` is what to call it, `seconds` what its header tells; `told` says whether the target is
    the user's, to be printed.
    """

    source: Path
    target: Path
    name: str
    seconds: float
    told: bool = True


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code is 2 when an input of several failed."""
    arguments = parse(argv)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    piped = PIPE in (*arguments.paths, str(arguments.output))
    temporary = (
        tempfile.TemporaryDirectory(prefix="wavediff-") if piped else nullcontext(os.devnull)
    )
    with ended_by_sigterm(), temporary as scratch:
        return enhance_all(arguments, Path(scratch))


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(
        prog="wavediff enhance",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add("paths", nargs="+", metavar="PATH", help="audio files, folders, quoted globs, or - (stdin)")
    add(
        "-o",
        "--output",
        required=True,
        type=Path,
        metavar="OUT",
        help="an audio file for one input, or a folder, or - (stdout)",
    )
    add(
        "--checkpoint",
        default="enhancer-16k",
        metavar="MODEL",
        help="a run folder, a model.safetensors or a bundled model (default: %(default)s)",
    )
    add(
        "--dry",
        type=share,
        default=0.0,
        metavar="SHARE",
        help="of the input in the output: 0 is clean, 1 is the input (default: 0)",
    )
    add(
        "--sampler",
        metavar="NAME",
        help=f"one of {', '.join(sampler_names())} (default: the checkpoint's own)",
    )
    add(
        "--steps",
        type=positive,
        metavar="N",
        help="sampling steps (default: the sampler's own; enhancer-16k is trained for 1)",
    )
    add("--seed", type=int, default=0, metavar="N", help="of the noise (default: 0)")
    add(
        "--device",
        choices=["auto", "cpu", "cuda"],
        default="auto",
        help="auto takes a GPU where there is one (default: auto)",
    )
    add("--threads", type=positive, metavar="N", help="CPU threads (default: one per core)")
    add("--format", choices=FORMATS, help="for a folder or stdout (default: each input's own)")
    add("--overwrite", action="store_true", help="replace outputs that exist")
    add(
        "--report",
        type=Path,
        metavar="HTML",
        help="write a page with spectrograms, levels and players of before and after",
    )
    return parser.parse_args(argv)


def share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError("must be from 0 to 1")
    return number


def enhance_all(arguments: argparse.Namespace, scratch: Path) -> int:
    """All inputs, one after the other; the exit code. What is piped passes through `scratch`."""
    if arguments.report is not None:
        require_report(arguments.report, arguments.overwrite)
    output = arguments.output.expanduser()
    piped = str(output) == PIPE
    if piped and sys.stdout.isatty():
        raise UserError("audio is not for a terminal: send stdout to a file or a command, or -o")
    sources = inputs(arguments.paths, output, scratch)
    names = {source: source.name if source.parent == scratch else str(source) for source in sources}
    if piped:
        output = scratch / f"stdout.{arguments.format or 'wav'}"
    targets = outputs(sources, output, arguments)
    missing = targets if arguments.overwrite else without_existing(targets, output)

    failures: dict[Path, str] = {}
    jobs = []
    for source, target in missing:
        try:
            frames, rate = audio_info(source)
            jobs.append(Job(source, target, names[source], frames / rate, not piped))
        except UserError as error:
            failures[target] = str(error).replace(str(source), names[source])
    if jobs:
        failures |= enhance_jobs(jobs, arguments)
    if failures and len(targets) == 1:
        raise UserError(*failures.values())

    if piped:
        with open(output, "rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    elif len(targets) > 1 and missing:
        done = len(missing) - len(failures)
        print(f"{done} of {len(missing)} files enhanced into {output}", file=sys.stderr)
    if arguments.report is not None:
        report(arguments.report, [(names[s], s, t) for s, t in targets if t not in failures])
    for failure in failures.values():
        print(f"failed: {failure}", file=sys.stderr)
    return 2 if failures else 0


def enhance_jobs(jobs: Sequence[Job], arguments: argparse.Namespace) -> dict[Path, str]:
    """Load the model and enhance; returns a sentence for each target that failed."""
    enhancer = Enhancer.from_pretrained(arguments.checkpoint).to(device(arguments.device))
    enhancer.with_sampler(arguments.sampler, arguments.steps)  # refused before the first file
    options = {
        "sampler": arguments.sampler,
        "steps": arguments.steps,
        "seed": arguments.seed,
        "dry": arguments.dry,
        "chunk_seconds": None,
    }
    failures: dict[Path, str] = {}
    done = 0.0
    with tqdm(
        total=sum(job.seconds for job in jobs),
        desc="enhance",
        unit="s",
        delay=1,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} s of audio "
        "[{elapsed}<{remaining}{postfix}]",
    ) as progress:
        for job in jobs:
            try:
                enhance(enhancer, job, options, progress, done)
            except UserError as error:
                failures[job.target] = str(error).replace(str(job.source), job.name)
            except torch.OutOfMemoryError:
                failures[job.target] = (
                    f"{job.name}: the GPU has too little memory: give --device cpu"
                )
            done += job.seconds
            progress.update(done - progress.n)
    return failures


def enhance(
    enhancer: Enhancer, job: Job, options: dict, progress: tqdm, before: float = 0.0
) -> None:
    """Enhance one recording block by block, and print what was written.

    before: seconds of audio done already, from which `progress` goes on.
    Raises UserError where it cannot be read or written, or the model's output is no audio.
    """

    def advance(seconds: float) -> None:
        progress.update(before + min(seconds, job.seconds) - progress.n)

    with audio_reader(job.source) as reader:
        stream = enhancer.stream(reader.sample_rate, reader.channels, progress=advance, **options)
        with audio_writer_like(reader, job.target) as writer:
            for block in reader.blocks(max(1, READ_SAMPLES // reader.channels)):
                writer.write(torch.from_numpy(stream.push(block)))
            writer.write(torch.from_numpy(stream.finish()))
    if reader.missing:
        lost = (
            f"{job.name} is cut off, {reader.missing:.0%} of what its header promises is missing: "
            "what is there was enhanced"
        )
        tqdm.write(lost, file=sys.stderr)
    if writer.clipped:
        tqdm.write(writer.clipping, file=sys.stderr)
    if job.told:
        tqdm.write(str(job.target))
        sys.stdout.flush()


def inputs(paths: Sequence[str], output: Path, scratch: Path) -> list[Path]:
    """The files that are meant; what lies below OUT, from a call before, is none of them.

    Raises UserError where there are none.
    """
    files = [path for path in paths if path != PIPE]
    if len(paths) - len(files) > 1:
        raise UserError("- (stdin) can be given once")
    found = find_audio(files, tuple(CONTAINERS)) if files else []
    if any(below(output, root) for given in files for root in folders(given)):
        found = [file for file in found if not below(file, output)]
        if not found:
            raise UserError(f"all of {', '.join(files)} lies below {output}, the output")
    return found if len(files) == len(paths) else [received(scratch), *found]


def received(scratch: Path) -> Path:
    """A file with what comes from stdin: libsndfile must be able to seek."""
    if sys.stdin.isatty():
        raise UserError("nothing comes from stdin: pipe a file into it (cat a.wav | ... -)")
    path = scratch / "stdin"
    try:
        with open(path, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
    except OSError as error:
        raise UserError(
            f"cannot keep stdin in {scratch} ({error.strerror}): set TMPDIR to another folder"
        ) from error
    return path


def outputs(
    sources: Sequence[Path], output: Path, arguments: argparse.Namespace
) -> list[tuple[Path, Path]]:
    """(input, output) for every file: OUT itself, or below it with a given folder's structure.

    Raises UserError where outputs cannot be told apart, are inputs, or cannot be written.
    """
    given_folders = [root for given in arguments.paths for root in folders(given)]
    one_file = len(sources) == 1 and not given_folders
    suffix = output.suffix.lower()
    named = output.suffix == sources[0].suffix != "" or (one_file and suffix[1:].isalpha())
    if suffix not in CONTAINERS and (suffix in NOT_WRITTEN or named) and not output.is_dir():
        raise UserError(
            f"cannot write {output}: its name may end in {', '.join(CONTAINERS)}; if you mean a "
            "folder, make it first"
        )
    if is_file_name(output):
        if len(sources) > 1:
            where = "stdout" if str(arguments.output) == PIPE else output
            raise UserError(f"{len(sources)} inputs cannot all go to {where}: give a folder")
        if arguments.format and suffix != f".{arguments.format}":
            raise UserError(f"--format {arguments.format} does not go with {output}: leave it out")
        targets, folder = {output: sources[0]}, output.parent
    else:
        targets, folder = {}, output
        for file in sources:
            root = next((root for root in given_folders if file.is_relative_to(root)), file.parent)
            target = folder / file.relative_to(root)
            if arguments.format:
                target = target.with_suffix(f".{arguments.format}")
            elif target.suffix.lower() not in CONTAINERS:
                target = target.with_name(f"{target.name}.wav")
            if target in targets:
                raise UserError(
                    f"{targets[target]} and {file} would both be written to {target}: "
                    "give them in two calls with different outputs"
                )
            targets[target] = file
    taken = {file.resolve() for file in sources}
    for target in targets:
        if target.resolve() in taken:
            raise UserError(f"{target} is an input and would be overwritten: give another output")
    require_writable(folder)
    return [(file, target) for target, file in targets.items()]


def is_file_name(output: Path) -> bool:
    """Whether OUT means an audio file, not a folder."""
    return output.suffix.lower() in CONTAINERS and not output.is_dir()


def below(path: Path, folder: Path) -> bool:
    """Whether a path lies in a folder, not being the folder itself."""
    return folder.resolve() in path.resolve().parents


def without_existing(targets: Sequence[tuple[Path, Path]], output: Path) -> list[tuple[Path, Path]]:
    """Those that are still to be made; stderr is told about the others.

    Raises UserError where OUT itself, a file, is there.
    """
    missing = [(source, target) for source, target in targets if not target.exists()]
    if targets[0][1] == output and not missing:
        raise UserError(f"{output} exists already: give --overwrite to replace it")
    if kept := len(targets) - len(missing):
        what = f"{targets[0][1]} exists" if len(targets) == 1 else f"{kept} outputs exist"
        print(f"{what} already and will be kept: give --overwrite to replace", file=sys.stderr)
    return missing


def require_report(path: Path, overwrite: bool) -> None:
    """Raises UserError for a report that cannot be written, before the work. One that was written
    before is written anew, since it is on all recordings; what is no report is kept."""
    path = path.expanduser()
    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"the report is a web page: give it a name that ends in .html, not {path}")
    if path.is_file() and not overwrite and not is_report(path):
        raise UserError(f"{path} exists already and is no report: give --overwrite to replace it")
    require_writable(path.parent)


def is_report(path: Path) -> bool:
    """Whether a file begins as `write_report`'s do."""
    from wavediff.evaluation.report import TITLE

    with open(path, "rb") as file:
        return TITLE.encode() in file.read(1000)


def report(path: Path, recordings: Sequence[tuple[str, Path, Path]]) -> None:
    """The page on all (name, input, output), those of a call before too."""
    from wavediff.evaluation.report import Entry, write_report

    if recordings:
        write_report(path.expanduser(), [Entry(*recording) for recording in recordings])


if __name__ == "__main__":
    sys.exit(run(main))
