"""`wavediff encode`: encode audio as the latent of an autoencoder."""

import argparse
import sys
from pathlib import Path

from wavediff.cli import run
from wavediff.commands.arguments import Parser, device, require_model
from wavediff.commands.outputs import convert_all, plan_outputs
from wavediff.commands.pipes import piped
from wavediff.inputs import LATENT_SUFFIXES, find_audio

DESCRIPTION = "Encode audio as the latent of a trained autoencoder."

EXAMPLES = """\
examples:
  wavediff encode speech.wav -o speech.npz --checkpoint runs/autoencoder
  wavediff encode recordings/ -o latents/ --checkpoint runs/autoencoder

An output holds the float32 array `latent` [channels, frames], and `length` (samples),
`sample_rate` (Hz) and `checkpoint`: numpy.load reads it. Audio is resampled to the model's rate,
several channels are averaged. Encoding is deterministic: the same audio gives the same latent.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code is 2 when an input of several failed."""
    arguments = parse(argv)
    with piped(arguments, output=".npz"):
        return encode_all(arguments)


def encode_all(arguments: argparse.Namespace) -> int:
    """All inputs; the exit code."""
    files = find_audio(arguments.paths)
    targets = plan_outputs(files, arguments.paths, arguments.output, LATENT_SUFFIXES)
    require_model(arguments)

    from wavediff.data.audio import read_audio
    from wavediff.data.latents import StoredLatent, write_latent
    from wavediff.tasks.autoencoder import Autoencoder

    name = arguments.checkpoint
    model = Autoencoder.from_pretrained(name).to(device(arguments))

    def encode(file: Path, target: Path) -> None:
        audio, rate = read_audio(file, model.sample_rate)
        latent = model.encode(audio[0], rate).cpu()
        write_latent(target, StoredLatent(latent, audio.shape[-1], rate, name))

    return convert_all(targets, encode, arguments.overwrite)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser("encode", DESCRIPTION, EXAMPLES)
    parser.add_paths("audio files")
    parser.add_output("a .npz file or - (stdout) for one input, or a folder")
    what = "a run folder or a model.safetensors of recipe=autoencoder"
    parser.add_checkpoint(what, required=True)
    parser.add_device()
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(run(main))
