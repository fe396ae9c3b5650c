"""`wavediff declip`: restore the clipped peaks of a recording."""

import argparse
import sys

from wavediff.cli import run
from wavediff.commands.arguments import Parser, positive_float, real_between
from wavediff.commands.outputs import interruptible, require_lossy
from wavediff.commands.pipes import piped
from wavediff.commands.progress import move, share_bar
from wavediff.commands.restoration_arguments import (
    add_restoration,
    load_posterior,
    require_restoration,
)
from wavediff.errors import UserError
from wavediff.inputs import CONTAINERS

DESCRIPTION = """\
Restore the peaks that were clipped where a recording was too loud, sampled from a generator.
Samples that were not clipped stay as they are.
"""

EXAMPLES = """\
examples:
  wavediff declip loud.wav -o restored.wav --checkpoint runs/kathleen_prior
  wavediff declip loud.wav -o restored.wav --threshold 0.5 --gain -6 --checkpoint RUN

The clipping level is detected: the extreme values of the file, where many samples share them.
Restored peaks are above that level and may exceed full scale: then give --gain, or OUT.wav for a
32-bit floating-point input. Any sample rate; each channel is processed by itself.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command and return the exit code."""
    arguments = parse(argv)
    with piped(arguments, output=".wav"):
        return restore(arguments)


def restore(arguments: argparse.Namespace) -> int:
    """Declip the recording; the exit code."""
    require_restoration(arguments, tuple(CONTAINERS))
    require_lossy(arguments.bit_rate, [(arguments.path, arguments.output)])

    import torch

    from wavediff.data.audio import audio_reader, audio_writer_like, format_like, warn
    from wavediff.tasks.restoration import clipping, declip

    with interruptible(), audio_reader(arguments.path) as reader:
        format_like(reader, arguments.output, arguments.bit_rate)
        audio = torch.cat([torch.from_numpy(b) for b in reader.blocks(1 << 16)], dim=-1)
        warn(reader)
        if arguments.threshold is None:
            low, high = clipping(audio)
        else:
            low, high = -arguments.threshold, arguments.threshold
        if not ((audio <= low) | (audio >= high)).any():
            raise UserError(f"no sample of {arguments.path} reaches the threshold, {high:g}")
        posterior = load_posterior(arguments)
        with share_bar("declip") as bar:
            rate = reader.sample_rate
            audio = declip(posterior, audio, rate, low, high, lambda done: move(bar, done))
        with audio_writer_like(reader, arguments.output, arguments.bit_rate) as writer:
            writer.write(audio * 10 ** (arguments.gain / 20))
    if writer.clipped:
        needed = -20 * float(audio.abs().max().log10())
        print(f"{writer.clipping}: --gain {needed - 0.05:.1f} keeps them", file=sys.stderr)
    print(arguments.output)
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser("declip", DESCRIPTION, EXAMPLES)
    add = parser.add_option
    add(
        "--threshold",
        positive_float,
        "LEVEL",
        "magnitude from which samples are clipped; 1 is full scale (default: detected)",
    )
    add("--gain", real_between(-100, 100), "DB", "of the output", default=0.0)
    parser.add_bit_rate()
    add_restoration(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(run(main))
