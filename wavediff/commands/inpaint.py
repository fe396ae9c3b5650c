"""`wavediff inpaint`: gaps in a recording, filled."""

import argparse
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from wavediff.cli import run
from wavediff.commands.arguments import Parser, add_sampling, device, ended_by_sigterm, require_new
from wavediff.data.audio import audio_reader, audio_writer_like
from wavediff.tasks.restoration import inpaint, posterior_of
from wavediff.tasks.sampler import sampler_names

BAR = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"

DESCRIPTION = """\
Fill gaps in a recording with sound that fits what is around them, as a generator knows it. All
outside of the gaps stays as it is, to the bit where OUT has the format of the input.
"""

EXAMPLES = """\
examples:
  wavediff inpaint song.wav --gap 1.2:1.5 -o whole.wav --checkpoint runs/kathleen_prior
  wavediff inpaint talk.flac --gap 61.05:61.13 --gap 80:80.2 -o whole.flac --seed 3 --checkpoint RUN

A gap is START:STOP in seconds. What was in it is not used. Another --seed fills it in another way.
Any sample rate; every channel by itself; only the surroundings of each gap are computed.
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
        rate = reader.sample_rate
        audio = torch.cat([torch.from_numpy(b) for b in reader.blocks(1 << 16)], dim=-1)
        gaps = [(round(start * rate), round(stop * rate)) for start, stop in arguments.gap]
        with tqdm(total=1, desc="inpaint", delay=1, bar_format=BAR) as bar:
            audio = inpaint(posterior, audio, rate, gaps, lambda done: bar.update(done - bar.n))
        with audio_writer_like(reader, arguments.output) as writer:
            writer.write(audio)
    if writer.clipped:
        print(writer.clipping, file=sys.stderr)
    print(arguments.output)
    return 0


def gap(text: str) -> tuple[float, float]:
    """An argparse type: START:STOP in seconds."""
    try:
        start, stop = map(float, text.split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not START:STOP in seconds") from None
    if not 0 <= start < stop < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} does not go from a time to a later one")
    return start, stop


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(
        prog="wavediff inpaint",
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
        "--gap",
        type=gap,
        action="append",
        required=True,
        metavar="START:STOP",
        help="what is lost, in seconds; may be given again",
    )
    add_sampling(parser, sampler_names())
    add("--overwrite", action="store_true", help="replace OUT if it exists")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(run(main))
