"""`wavediff extend`: recordings of a low sample rate, with the high band that they lack."""

import argparse
import sys
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
    require_new,
)
from wavediff.data.audio import audio_reader, audio_writer
from wavediff.tasks.restoration import extend, level, posterior_of
from wavediff.tasks.sampler import sampler_names

READ_SECONDS = 5  # a whole number of the blocks over which a level is taken

BAR = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"

DESCRIPTION = """\
Give a recording of a low sample rate (a telephone's 8 kHz) the high band that it lacks, as a
generator knows such sounds. Below, it stays what it is.
"""

EXAMPLES = """\
examples:
  wavediff extend call-8k.wav -o wide.wav --checkpoint runs/kathleen_prior
  wavediff extend call-8k.wav -o wide.wav --rate 16000 --checkpoint runs/kathleen_prior
  wavediff extend dull-44k.wav -o bright.wav --cutoff 5000 --checkpoint runs/kathleen_prior

Recordings may be as long as you like: memory does not grow with them. Every channel by itself.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command and return the exit code."""
    arguments = parse(argv)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    require_new(arguments.path, arguments.output, arguments.overwrite)
    posterior = posterior_of(
        arguments.checkpoint,
        device(arguments.device),
        arguments.sampler,
        arguments.steps,
        seed=arguments.seed,
    )
    rate = arguments.rate or posterior.generator.sample_rate
    with audio_reader(arguments.path) as reader:
        old = reader.sample_rate
        levels = level(map(torch.from_numpy, reader.blocks(READ_SECONDS * old)), old)
    with ended_by_sigterm(), audio_reader(arguments.path) as reader:
        fine = reader.subtype in ("PCM_24", "PCM_32", "FLOAT", "DOUBLE")
        blocks = map(torch.from_numpy, reader.blocks(READ_SECONDS * old))
        seconds = reader.frames / old
        with tqdm(total=seconds, desc="extend", delay=1, bar_format=BAR) as bar:
            pieces = extend(
                posterior,
                blocks,
                old,
                rate,
                levels,
                arguments.cutoff,
                lambda done: bar.update(min(done, seconds) - bar.n),
            )
            first = next(pieces)  # what cannot be is told before a file is begun
            with audio_writer(
                arguments.output,
                rate,
                "PCM_24" if fine else "PCM_16",
                channels=reader.channels,
            ) as writer:
                writer.write(first)
                for piece in pieces:
                    writer.write(piece)
    if writer.clipped:
        print(writer.clipping, file=sys.stderr)
    print(arguments.output)
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(
        prog="wavediff extend",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add("path", type=Path, metavar="PATH", help="an audio file")
    add("-o", "--output", required=True, type=Path, metavar="OUT", help="an audio file")
    add(
        "--checkpoint",
        metavar="MODEL",
        help="a generator: a run folder or a model.safetensors (default: prior-en-22k if bundled)",
    )
    add("--rate", type=positive, metavar="HZ", help="of OUT (default: the generator's)")
    add(
        "--cutoff",
        type=float,
        metavar="HZ",
        help="up to where the recording is whole (default: 0.45 of its sample rate)",
    )
    add_sampling(parser, sampler_names())
    add("--overwrite", action="store_true", help="replace OUT if it exists")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(run(main))
