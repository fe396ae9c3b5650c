"""`wavediff decode`: decode the latent of an autoencoder to audio."""

import argparse
import sys
from pathlib import Path

from wavediff.cli import run
from wavediff.commands.arguments import Parser, device, require_model
from wavediff.commands.outputs import convert_all, plan_outputs, subtype
from wavediff.commands.pipes import piped
from wavediff.errors import UserError
from wavediff.inputs import LATENT_SUFFIXES, find_audio

DESCRIPTION = "Decode the latents that `wavediff encode` writes to audio."

EXAMPLES = """\
examples:
  wavediff decode speech.npz -o speech.wav
  wavediff decode latents/ -o audio/ --checkpoint runs/autoencoder --bits 24

Without --checkpoint the model is the one that a latent names.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code is 2 when an input of several failed."""
    arguments = parse(argv)
    with piped(arguments, output=".wav"):
        return decode_all(arguments)


def decode_all(arguments: argparse.Namespace) -> int:
    """All inputs; the exit code."""
    files = find_audio(arguments.paths, suffixes=LATENT_SUFFIXES)
    targets = plan_outputs(files, arguments.paths, arguments.output, (".wav", ".flac"))
    kind = subtype(arguments.bits, targets)
    require_model(arguments)

    from wavediff.data.audio import write_audio
    from wavediff.data.latents import read_latent
    from wavediff.tasks.autoencoder import Autoencoder

    place, models = device(arguments), {}

    def decode(file: Path, target: Path) -> None:
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
        write_audio(target, audio, model.sample_rate, kind)

    return convert_all(targets, decode, arguments.overwrite)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser("decode", DESCRIPTION, EXAMPLES)
    parser.add_paths(".npz files")
    parser.add_output("a .wav or .flac file or - (stdout) for one input, or a folder")
    what = "a run folder or a model.safetensors (default: the one that the latent names)"
    parser.add_checkpoint(what)
    parser.add_bits()
    parser.add_device()
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(run(main))
