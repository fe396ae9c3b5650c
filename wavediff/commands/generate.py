"""`wavediff generate`: sample sounds from a generator."""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from wavediff.cli import run
from wavediff.commands.arguments import (
    A_GENERATOR,
    Parser,
    path,
    placed,
    positive_float,
    positive_int,
    real_between,
    require_model,
    whole,
)
from wavediff.commands.outputs import interruptible, require_writable
from wavediff.commands.progress import Bar
from wavediff.errors import UserError
from wavediff.files import atomic_path, path_component
from wavediff.inputs import find_audio

if TYPE_CHECKING:
    from wavediff.tasks.generator import Generator

MANIFEST = "manifest.csv"
MOST = 1_000_000  # sounds

DESCRIPTION = """\
Sample sounds from a trained generator, each into a wav file of its own. With --augment they extend
a dataset, with a manifest to train other models on.
"""

EXAMPLES = """\
examples:
  wavediff generate --checkpoint runs/kathleen_prior --n 4 --seconds 3 -o samples/
  wavediff generate --checkpoint runs/drums --class snare --guidance 1.5 --n 16 -o snares/
  wavediff generate --checkpoint runs/drums --augment drums/ -o more-drums/
  wavediff train recipe=folder data.root=[drums,more-drums/manifest.csv] data.labels=true

--augment samples as many sounds of each class as the dataset has files in the folder of that name,
or --n of each, of the dataset's median length. A sound is a function of the seed and its number.
Files that exist are an error without --overwrite.
"""


@dataclass(frozen=True)
class Group:
    """`count` sounds of a class, None for one that is not given."""

    label: str | None
    count: int
    seconds: float | None


def main(argv: list[str] | None = None) -> int:
    """Run the command and return the exit code."""
    arguments = parse(argv)
    folder = arguments.output
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: give a folder with -o")
    require_writable(folder)
    if arguments.augment is not None:
        if arguments.label is not None:
            raise UserError("--class and --augment exclude each other: a dataset has its classes")
        if not arguments.augment.is_dir():
            raise UserError(f"--augment {arguments.augment} is not a folder: give the dataset's")
    require_model(arguments)

    from wavediff.data.audio import write_audio
    from wavediff.tasks.generator import Generator

    generator = placed(Generator.from_pretrained(arguments.checkpoint), arguments)
    sampler = generator.with_sampler(arguments.sampler, arguments.steps)
    groups = planned(generator, arguments)
    jobs = [
        (folder / _class_folder(group) / f"{number:05d}.wav", number, group)
        for group in groups
        for number in range(group.count)
    ]
    manifest = folder / MANIFEST
    made = [path for path, _, _ in jobs] + ([manifest] if arguments.augment else [])
    existing = [path for path in made if path.exists()]
    if existing and not arguments.overwrite:
        raise UserError(f"{existing[0]} exists already: give --overwrite or another folder")
    with interruptible(), Bar(total=len(jobs), desc="generate", unit="sound", delay=1) as progress:
        for first in range(0, len(jobs), arguments.batch_size):
            batch = jobs[first : first + arguments.batch_size]
            for part in parts(batch):
                _, number, group = part[0]
                audio = generator.generate(
                    len(part),
                    seconds=group.seconds,
                    label=group.label,
                    guidance=arguments.guidance,
                    sampler=sampler,
                    seed=arguments.seed,
                    first=number,
                ).cpu()
                for (path, _, _), sound in zip(part, audio, strict=True):
                    if not sound.isfinite().all():
                        raise UserError(
                            "the model's output holds NaN or infinite samples: its checkpoint is "
                            "broken, try another"
                        )
                    # full scale is all there is in a file; a sound's level has no meaning
                    write_audio(path, sound / sound.abs().max().clamp_min(1), generator.sample_rate)
                    tqdm.write(str(path))
                progress.update(len(part))
    if arguments.augment:
        write_manifest(manifest, [(path, group.label) for path, _, group in jobs])
        print(manifest)
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser("generate", DESCRIPTION, EXAMPLES)
    add = parser.add_option
    parser.add_output("a folder for wav files", metavar="DIR")
    parser.add_checkpoint(A_GENERATOR, required=True)
    add("--n", whole(1, MOST), "N", "how many, of each class with --augment (16)")
    parser.add_argument(
        "--class",
        "--label",
        dest="label",
        metavar="NAME",
        help="number or name, for a model that has classes",
    )
    add("--seconds", positive_float, "S", "length (default: as in training)")
    add(
        "--guidance",
        real_between(-100, 100),
        "W",
        "scale of the classifier-free guidance: more than 1 makes a class's sounds more typical",
        default=1.0,
    )
    add("--augment", path, "DATASET", "a folder of audio to extend")
    parser.add_sampling()
    parser.add_precision()
    add("--batch-size", positive_int, "N", "sounds at a time", default=8)
    return parser.parse_args(argv)


def parts(jobs: Sequence[tuple[Path, int, Group]]) -> list[list[tuple[Path, int, Group]]]:
    """Jobs of one group together."""
    together: dict[Group, list[tuple[Path, int, Group]]] = {}
    for job in jobs:
        together.setdefault(job[2], []).append(job)
    return list(together.values())


def planned(generator: Generator, arguments: argparse.Namespace) -> list[Group]:
    """Return what to sample. Raises UserError for a class or guidance that the model lacks."""
    label, seconds = arguments.label, arguments.seconds
    if arguments.augment is None:
        groups = [Group(named(generator, label), arguments.n or 16, seconds)]
    else:
        groups = extension(generator, arguments)
    for group in groups:
        generator.label_number(group.label)
    return groups


def _class_folder(group: Group) -> str:
    """The folder of a class; its name is of a checkpoint, which may come from anywhere."""
    return "" if group.label is None else path_component(group.label)


def named(generator: Generator, label: str | None) -> str | None:
    """The class's name where it was given by number and has one."""
    number = generator.label_number(label)
    if number is None or number < 0:
        return None
    return generator.label_names[number] if generator.label_names else str(number)


def extension(generator: Generator, arguments: argparse.Namespace) -> list[Group]:
    """As many sounds per class as `arguments.augment` has, or --n; as long as its median file.

    Files that are not audio are named on stderr and do not count.
    """
    from wavediff.data.audio import audio_info

    root = arguments.augment
    files, lengths = [], []
    for file in find_audio([root]):
        try:
            frames, rate = audio_info(file)
        except UserError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        files.append(file)
        lengths.append(frames / rate)
    if not files:
        raise UserError(f"{root} holds no audio that can be read: give another --augment")
    lengths.sort()
    seconds = arguments.seconds or lengths[len(lengths) // 2]
    if not generator.labels:
        return [Group(None, arguments.n or len(files), seconds)]
    folders = Counter(file.relative_to(root).parts[0] for file in files if file.parent != root)
    if not folders:
        raise UserError(f"{root} has no folders named after the classes: sort its files into such")
    return [
        Group(named(generator, name), arguments.n or folders[name], seconds) for name in folders
    ]


def write_manifest(path: Path, made: Sequence[tuple[Path, str | None]]) -> None:
    """A CSV that data.root reads: path, relative to it, and label where there are any."""
    labelled = made[0][1] is not None
    with (
        atomic_path(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["path", "label"] if labelled else ["path"])
        for sound, label in made:
            name = sound.relative_to(path.parent).as_posix()
            writer.writerow([name, label] if labelled else [name])


if __name__ == "__main__":
    sys.exit(run(main))
