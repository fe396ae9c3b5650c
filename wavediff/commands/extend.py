"""`wavediff extend`: extend the bandwidth of a recording."""

import argparse
import sys

from wavediff.cli import run
from wavediff.commands.arguments import Parser, positive_int, real
from wavediff.commands.outputs import interruptible
from wavediff.commands.pipes import piped
from wavediff.commands.progress import move, share_bar
from wavediff.commands.restoration_arguments import (
    add_restoration,
    load_posterior,
    require_restoration,
)

READ_SECONDS = 5  # a whole number of the blocks over which a level is taken

DESCRIPTION = """\
Extend the bandwidth of a recording of a low sample rate (a telephone's 8 kHz) by a high band that
is sampled from a generator. The low band is unchanged.
"""

EXAMPLES = """\
examples:
  wavediff extend call-8k.wav -o wide.wav --checkpoint runs/kathleen_prior
  wavediff extend call-8k.wav -o wide.wav --rate 16000 --checkpoint runs/kathleen_prior
  wavediff extend dull-44k.wav -o bright.wav --cutoff 5000 --checkpoint runs/kathleen_prior

Memory does not grow with the length of a recording. Each channel is processed by itself.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command and return the exit code."""
    arguments = parse(argv)
    with piped(arguments, output=".wav"):
        return restore(arguments)


def restore(arguments: argparse.Namespace) -> int:
    """Extend the recording; the exit code."""
    require_restoration(arguments, (".wav", ".flac"))

    import torch

    from wavediff.data.audio import audio_reader, audio_writer, warn
    from wavediff.data.formats import FINE, check_codec
    from wavediff.tasks.restoration import extend, level

    with audio_reader(arguments.path) as reader:
        old = reader.sample_rate
        levels = level(map(torch.from_numpy, reader.blocks(READ_SECONDS * old)), old)
        warn(reader)
    posterior = load_posterior(arguments)
    rate = arguments.rate or posterior.generator.sample_rate
    with interruptible(), audio_reader(arguments.path) as reader:
        fine = reader.subtype in FINE
        container = arguments.output.suffix[1:].upper()
        blocks = map(torch.from_numpy, reader.blocks(READ_SECONDS * old))
        with share_bar("extend", reader.frames / old) as bar:
            pieces = extend(
                posterior, blocks, old, rate, levels, arguments.cutoff, lambda done: move(bar, done)
            )
            check_codec(arguments.output, container, "", rate, reader.channels)
            first = next(pieces)  # invalid options are refused before a file is begun
            kind = "PCM_24" if fine else "PCM_16"
            shape = {"channels": reader.channels, "source": reader}
            with audio_writer(arguments.output, rate, kind, **shape) as writer:
                writer.write(first)
                for piece in pieces:
                    writer.write(piece)
    if writer.clipped:
        print(writer.clipping, file=sys.stderr)
    print(arguments.output)
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser("extend", DESCRIPTION, EXAMPLES)
    add = parser.add_option
    add("--rate", positive_int, "HZ", "of OUT (default: the generator's)")
    add(
        "--cutoff",
        real,
        "HZ",
        "up to which the recording is complete (default: 0.45 of its sample rate)",
    )
    add_restoration(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(run(main))
