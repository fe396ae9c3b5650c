"""`wavediff generate`: new sounds from a generator."""

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from wavediff.cli import run
from wavediff.commands.arguments import (
    Parser,
    add_sampling,
    device,
    ended_by_sigterm,
    positive,
    require_writable,
)
from wavediff.data.audio import audio_info, find_audio, write_audio
from wavediff.errors import UserError
from wavediff.files import atomic_path
from wavediff.tasks.generator import Generator
from wavediff.tasks.sampler import sampler_names

MANIFEST = "manifest.csv"

DESCRIPTION = """\
Make new sounds with a trained generator, each into a wav file of its own. With --augment they
extend a dataset, with a manifest to train other models on.
"""

EXAMPLES = """\
examples:
  wavediff generate --checkpoint runs/kathleen_prior --n 4 --seconds 3 -o samples/
  wavediff generate --checkpoint runs/drums --class snare --guidance 1.5 --n 16 -o snares/
  wavediff generate --checkpoint runs/drums --augment drums/ -o more-drums/
  wavediff train recipe=folder data.root=[drums,more-drums/manifest.csv] data.labels=true

--augment makes as many sounds of each class as the dataset has files in the folder of that name, or
--n of each, about as long as they are. A sound is a function of the seed and its number. Files that
exist are an error without --overwrite.
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
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    folder = arguments.output.expanduser()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: give a folder with -o")
    require_writable(folder)
    generator = Generator.from_pretrained(arguments.checkpoint).to(device(arguments.device))
    sampler = generator.with_sampler(arguments.sampler, arguments.steps)
    groups = planned(generator, arguments)
    jobs = [
        (folder / (group.label or "") / f"{number:05d}.wav", number, group)
        for group in groups
        for number in range(group.count)
    ]
    manifest = folder / MANIFEST
    made = [path for path, _, _ in jobs] + ([manifest] if arguments.augment else [])
    existing = [path for path in made if path.exists()]
    if existing and not arguments.overwrite:
        raise UserError(f"{existing[0]} exists already: give --overwrite or another folder")
    with (
        ended_by_sigterm(),
        tqdm(total=len(jobs), desc="generate", unit="sound", delay=1) as progress,
    ):
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


def parts(jobs: Sequence[tuple[Path, int, Group]]) -> list[list[tuple[Path, int, Group]]]:
    """Jobs of one group together."""
    together: dict[Group, list[tuple[Path, int, Group]]] = {}
    for job in jobs:
        together.setdefault(job[2], []).append(job)
    return list(together.values())


def planned(generator: Generator, arguments: argparse.Namespace) -> list[Group]:
    """What is to be made. Raises UserError for a class or guidance that the model lacks."""
    label, seconds = arguments.label, arguments.seconds
    if arguments.augment is None:
        groups = [Group(named(generator, label), arguments.n or 16, seconds)]
    elif label is not None:
        raise UserError("--class and --augment do not go together: a dataset has its own classes")
    else:
        groups = extension(generator, arguments)
    for group in groups:
        generator.label_number(group.label)
    return groups


def named(generator: Generator, label: str | None) -> str | None:
    """The class's name where it was given by number and has one."""
    number = generator.label_number(label)
    if number is None or number < 0:
        return None
    return generator.label_names[number] if generator.label_names else str(number)


def extension(generator: Generator, arguments: argparse.Namespace) -> list[Group]:
    """As many sounds per class as `arguments.augment` has, or --n; as long as its median file."""
    root = Path(arguments.augment).expanduser()
    if not root.is_dir():
        raise UserError(f"--augment {root} is no folder: give that of the dataset")
    files = find_audio([root])
    lengths = sorted(frames / rate for frames, rate in map(audio_info, files))
    seconds = arguments.seconds or lengths[len(lengths) // 2]
    if not generator.labels:
        return [Group(None, arguments.n or len(files), seconds)]
    folders = Counter(file.relative_to(root).parts[0] for file in files if file.parent != root)
    if not folders:
        raise UserError(f"{root} has no folders named after the classes: put its files into such")
    return [
        Group(named(generator, name), arguments.n or folders[name], seconds) for name in folders
    ]


def write_manifest(path: Path, made: Sequence[tuple[Path, str | None]]) -> None:
    """A CSV that data.root reads: path, relative to it, and label where there are any."""
    labelled = made[0][1] is not None
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"] if labelled else ["path"])
        for sound, label in made:
            name = sound.relative_to(path.parent).as_posix()
            writer.writerow([name, label] if labelled else [name])


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(
        prog="wavediff generate",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add("-o", "--output", required=True, type=Path, metavar="DIR", help="a folder for wav files")
    add(
        "--checkpoint",
        required=True,
        metavar="MODEL",
        help="a run folder or a model.safetensors of a generator",
    )
    add("--n", type=positive, metavar="N", help="how many, of each class with --augment (16)")
    add(
        "--class",
        "--label",
        dest="label",
        metavar="NAME",
        help="number or name, for a model that has classes",
    )
    add("--seconds", type=seconds, metavar="S", help="length (default: that of the training)")
    add(
        "--guidance",
        type=float,
        default=1.0,
        metavar="W",
        help="more than 1 makes a class's sounds more typical (default: 1)",
    )
    add("--augment", metavar="DATASET", help="a folder of audio to extend")
    add_sampling(parser, sampler_names())
    add("--batch-size", type=positive, default=8, metavar="N", help="sounds at a time (default: 8)")
    add("--overwrite", action="store_true", help="replace files that exist")
    return parser.parse_args(argv)


def seconds(text: str) -> float:
    """An argparse type: above 0."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be above 0")
    return number


if __name__ == "__main__":
    sys.exit(run(main))
