"""`wavediff declip`: the peaks of a recording that was too loud, restored."""

import argparse
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from wavediff.cli import run
from wavediff.commands.arguments import Parser, add_sampling, device, ended_by_sigterm, require_new
from wavediff.data.audio import audio_reader, audio_writer_like
from wavediff.errors import UserError
from wavediff.tasks.restoration import clipping, declip, posterior_of
from wavediff.tasks.sampler import sampler_names

BAR = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"

DESCRIPTION = """\
Restore the peaks that were cut off where a recording was too loud, as a generator knows such
sounds. Samples that were not clipped stay as they are.
"""

EXAMPLES = """\
examples:
  wavediff declip loud.wav -o restored.wav --checkpoint runs/kathleen_prior
  wavediff declip loud.wav -o restored.wav --threshold 0.5 --gain -6 --checkpoint RUN

The level of clipping is found from the file: its extreme values, where many samples share them.
Restored peaks are above that level and may pass full scale: then give --gain, or OUT.wav of a
32-bit floating-point input. Any sample rate; every channel by itself.
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
    with ended_by_sigterm(), audio_reader(arguments.path) as reader:
        audio = torch.cat([torch.from_numpy(b) for b in reader.blocks(1 << 16)], dim=-1)
        if arguments.threshold is None:
            low, high = clipping(audio)
        else:
            low, high = -arguments.threshold, arguments.threshold
        if not ((audio <= low) | (audio >= high)).any():
            raise UserError(f"no sample of {arguments.path} reaches the threshold, {high:g}")
        with tqdm(total=1, desc="declip", delay=1, bar_format=BAR) as bar:
            audio = declip(
                posterior, audio, reader.sample_rate, low, high, lambda n: bar.update(n - bar.n)
            )
        with audio_writer_like(reader, arguments.output) as writer:
            writer.write(audio * 10 ** (arguments.gain / 20))
    if writer.clipped:
        needed = -20 * float(audio.abs().max().log10())
        print(f"{writer.clipping}: --gain {needed - 0.05:.1f} keeps them", file=sys.stderr)
    print(arguments.output)
    return 0


def level(text: str) -> float:
    """An argparse type: above 0."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be above 0")
    return number


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(
        prog="wavediff declip",
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
    add(
        "--threshold",
        type=level,
        metavar="LEVEL",
        help="magnitude from which samples are clipped; 1 is full scale (default: found)",
    )
    add("--gain", type=float, default=0.0, metavar="DB", help="of the output (default: 0)")
    add_sampling(parser, sampler_names())
    add("--overwrite", action="store_true", help="replace OUT if it exists")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(run(main))
