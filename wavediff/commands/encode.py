"""`wavediff encode`: audio to the latent of an autoencoder."""

import argparse
import sys
from pathlib import Path

import torch

from wavediff.cli import run
from wavediff.commands.arguments import Parser, device, each, outputs, positive
from wavediff.data.audio import find_audio, read_audio
from wavediff.data.latents import LATENT_SUFFIXES, StoredLatent, write_latent
from wavediff.tasks.autoencoder import Autoencoder

EXAMPLES = """\
examples:
  wavediff encode speech.wav -o speech.npz --checkpoint runs/autoencoder
  wavediff encode recordings/ -o latents/ --checkpoint runs/autoencoder

An output holds the float32 array `latent` [channels, frames], and `length` (samples),
`sample_rate` (Hz) and `checkpoint`: numpy.load reads it. Audio is resampled to the model's rate,
several channels are averaged. Encoding has no noise in it: the same audio gives the same latent.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code is 2 when an input of several failed."""
    arguments = parse(argv)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    files = find_audio(arguments.paths)
    targets = outputs(files, arguments.paths, Path(arguments.output), LATENT_SUFFIXES)
    model = Autoencoder.from_pretrained(arguments.checkpoint).to(device(arguments.device))

    def work(file: Path, target: Path) -> None:
        audio, rate = read_audio(file, model.sample_rate)
        latent = model.encode(audio[0], rate).cpu()
        name = str(arguments.checkpoint)
        write_latent(target, StoredLatent(latent, audio.shape[-1], rate, name))

    return each(targets, work, arguments.overwrite)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(
        prog="wavediff encode",
        description="Turn audio into the latent of a trained autoencoder.",
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add("paths", nargs="+", metavar="PATH", help="audio files, folders or quoted globs")
    add("-o", "--output", required=True, metavar="OUT", help="a .npz file, or a folder")
    add(
        "--checkpoint",
        required=True,
        metavar="MODEL",
        help="a run folder or a model.safetensors of recipe=autoencoder",
    )
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto")
    add("--threads", type=positive, metavar="N", help="CPU threads (default: one per core)")
    add("--overwrite", action="store_true", help="make outputs again that exist already")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(run(main))
