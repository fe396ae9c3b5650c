"""`wavediff decode`: the latent of an autoencoder to audio."""

import argparse
import sys
from pathlib import Path

import torch

from wavediff.cli import run
from wavediff.commands.arguments import Parser, device, each, outputs, positive
from wavediff.data.audio import find_audio, write_audio
from wavediff.data.latents import LATENT_SUFFIXES, read_latent
from wavediff.errors import UserError
from wavediff.tasks.autoencoder import Autoencoder

SUBTYPES = {16: "PCM_16", 24: "PCM_24", 32: "FLOAT"}

EXAMPLES = """\
examples:
  wavediff decode speech.npz -o speech.wav
  wavediff decode latents/ -o audio/ --checkpoint runs/autoencoder --bits 24

The model is the one that the latent names, if it is not given.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code is 2 when an input of several failed."""
    arguments = parse(argv)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    files = find_audio(arguments.paths, suffixes=LATENT_SUFFIXES)
    targets = outputs(files, arguments.paths, Path(arguments.output), (".wav", ".flac"))
    if arguments.bits == 32 and any(target.suffix.lower() == ".flac" for _, target in targets):
        raise UserError("flac has no 32-bit floating point: give --bits 24, or wav")
    place, models = device(arguments.device), {}

    def work(file: Path, target: Path) -> None:
        stored = read_latent(file)
        name = arguments.checkpoint or stored.checkpoint
        if name not in models:
            models[name] = Autoencoder.from_pretrained(name).to(place)
        model = models[name]
        if stored.sample_rate != model.sample_rate:
            raise UserError(
                f"{file} is of a model for {stored.sample_rate} Hz, {name} is for "
                f"{model.sample_rate} Hz: give --checkpoint {stored.checkpoint}"
            )
        try:
            audio = model.decode(stored.latent, stored.length).cpu()
        except UserError as error:
            raise UserError(f"{file}: {error}") from error
        write_audio(target, audio, model.sample_rate, SUBTYPES[arguments.bits])

    return each(targets, work, arguments.overwrite)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(
        prog="wavediff decode",
        description="Turn latents that `wavediff encode` made into audio.",
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add("paths", nargs="+", metavar="PATH", help=".npz files, folders or quoted globs")
    add("-o", "--output", required=True, metavar="OUT", help="a .wav or .flac file, or a folder")
    add(
        "--checkpoint",
        metavar="MODEL",
        help="a run folder or a model.safetensors (default: what the latent names)",
    )
    add("--bits", type=int, choices=list(SUBTYPES), default=16, help="per sample (default: 16)")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto")
    add("--threads", type=positive, metavar="N", help="CPU threads (default: one per core)")
    add("--overwrite", action="store_true", help="make outputs again that exist already")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(run(main))
