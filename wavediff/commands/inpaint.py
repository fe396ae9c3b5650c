"""`wavediff inpaint`: fill gaps in a recording."""

import argparse
import sys

from wavediff.cli import run
from wavediff.commands.arguments import Parser
from wavediff.commands.outputs import interruptible, require_lossy
from wavediff.commands.pipes import piped
from wavediff.commands.progress import move, share_bar
from wavediff.commands.restoration_arguments import (
    add_restoration,
    load_posterior,
    require_restoration,
)
from wavediff.inputs import CONTAINERS

DESCRIPTION = """\
Fill gaps in a recording with sound that fits its surroundings, sampled from a generator. Everything
outside the gaps stays as it is, to the bit if OUT has the format of the input.
"""

EXAMPLES = """\
examples:
  wavediff inpaint song.wav --gap 1.2:1.5 -o whole.wav --checkpoint runs/kathleen_prior
  wavediff inpaint talk.flac --gap 61.05:61.13 --gap 80:80.2 -o whole.flac --seed 3 --checkpoint RUN

A gap is START:STOP in seconds. The samples in it are not used. Each --seed gives another filling.
Any sample rate; each channel is processed by itself; only the surroundings of a gap are computed.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command and return the exit code."""
    arguments = parse(argv)
    with piped(arguments, output=".wav"):
        return restore(arguments)


def restore(arguments: argparse.Namespace) -> int:
    """Fill the gaps; the exit code."""
    require_restoration(arguments, tuple(CONTAINERS))
    require_lossy(arguments.bit_rate, [(arguments.path, arguments.output)])

    import torch

    from wavediff.data.audio import audio_reader, audio_writer_like, format_like, warn
    from wavediff.tasks.restoration import inpaint

    with interruptible(), audio_reader(arguments.path) as reader:
        format_like(reader, arguments.output, arguments.bit_rate)
        rate = reader.sample_rate
        audio = torch.cat([torch.from_numpy(b) for b in reader.blocks(1 << 16)], dim=-1)
        warn(reader)
        gaps = [(round(start * rate), round(stop * rate)) for start, stop in arguments.gap]
        posterior = load_posterior(arguments)
        with share_bar("inpaint") as bar:
            audio = inpaint(posterior, audio, rate, gaps, lambda done: move(bar, done))
        with audio_writer_like(reader, arguments.output, arguments.bit_rate) as writer:
            writer.write(audio)
    if writer.clipped:
        print(writer.clipping, file=sys.stderr)
    print(arguments.output)
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser("inpaint", DESCRIPTION, EXAMPLES)
    parser.add_option(
        "--gap",
        gap,
        "START:STOP",
        "what is lost, in seconds; may be given several times",
        action="append",
        required=True,
    )
    parser.add_bit_rate()
    add_restoration(parser)
    return parser.parse_args(argv)


def gap(text: str) -> tuple[float, float]:
    """An argparse type: START:STOP in seconds."""
    try:
        start, stop = map(float, text.split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not START:STOP in seconds") from None
    if not 0 <= start < stop < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is invalid: STOP must be after START")
    return start, stop


if __name__ == "__main__":
    sys.exit(run(main))
