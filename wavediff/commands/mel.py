"""`wavediff mel`: audio files to mel spectrograms."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors.torch import save_file
from torch import Tensor
from yaml import YAMLError

from wavediff.cli import run
from wavediff.commands.arguments import Parser, each, outputs
from wavediff.data.audio import find_audio, read_audio
from wavediff.errors import UserError
from wavediff.files import atomic_path
from wavediff.representations.mel import MelFrontEnd, front_ends, mel_front_end

SUFFIXES = (".npy", ".pt", ".safetensors")

EXAMPLES = """\
examples:
  wavediff mel speech.wav -o speech.npy
  wavediff mel recordings/ -o mels/ --front-end hifigan
  wavediff mel 'a/*.flac' b.mp3 -o mels/ --format safetensors
  wavediff mel speech.wav -o speech.npy --front-end tacotron --set n_mels=100 f_max=11025

Each output holds one float32 array [n_mels, frames] (in safetensors it is called "mel").
Audio of another rate is resampled to the front-end's, several channels are averaged. stdout gets
the name of each output.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code is 2 when a file of several failed."""
    arguments = parse(argv)
    front_end = mel_front_end(arguments.front_end, **overrides(arguments.set))
    files = find_audio(arguments.audio)
    suffixes = sorted(SUFFIXES, key=lambda suffix: suffix != f".{arguments.format}")
    targets = outputs(files, arguments.audio, arguments.output, suffixes)

    def work(file: Path, target: Path) -> None:
        write_mel(target, mel_of(file, front_end), front_end)

    return each(targets, work, arguments.overwrite)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(
        prog="wavediff mel",
        description="Turn audio into mel spectrograms.",
        epilog=EXAMPLES,
    )
    parser.add_argument("audio", nargs="+", help="audio files, folders or quoted globs")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="a file (.npy, .pt or .safetensors) for one input, or a folder",
    )
    parser.add_argument(
        "--front-end",
        default="tacotron",
        metavar="NAME",
        help=f"one of {', '.join(front_ends())} (default: tacotron)",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="other parameters for the front-end",
    )
    parser.add_argument(
        "--format",
        choices=[suffix[1:] for suffix in SUFFIXES],
        default="npy",
        help="what is written into a folder (default: npy)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="make outputs again that exist already"
    )
    return parser.parse_args(argv)


def overrides(settings: Sequence[str]) -> dict[str, Any]:
    """`["n_mels=100", "norm=null"]` to `{"n_mels": 100, "norm": None}`."""
    for setting in settings:
        if not setting.partition("=")[0] or "=" not in setting:
            raise UserError(f"--set takes KEY=VALUE, as in n_mels=100, not {setting!r}.")
    try:
        return OmegaConf.to_container(OmegaConf.from_dotlist(list(settings)), resolve=True)
    except (OmegaConfBaseException, YAMLError) as error:
        raise UserError(
            f"--set {' '.join(settings)} cannot be read: give plain values, as in n_mels=100."
        ) from error


@torch.inference_mode()
def mel_of(file: Path, front_end: MelFrontEnd) -> Tensor:
    """Mel [n_mels, frames], float32, of an audio file.

    Raises:
        UserError: when the file is no usable audio.
    """
    audio, _ = read_audio(file, sample_rate=front_end.sample_rate)
    if front_end.frames(audio.shape[-1]) < 1:
        raise UserError(f"{file} is too short: it has not one frame of {front_end.hop_length}.")
    return front_end(audio)[0]


def write_mel(path: Path, mel: Tensor, front_end: MelFrontEnd) -> None:
    """Write mel [n_mels, frames] as .npy, .pt or .safetensors, whole or not at all.

    Raises:
        UserError: when the place cannot be written to.
    """
    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".npy":
            np.save(temporary, mel.numpy())
        elif path.suffix.lower() == ".pt":
            torch.save(mel.clone(), temporary)
        else:
            save_file({"mel": mel.contiguous()}, temporary, {"front_end": front_end.name})


if __name__ == "__main__":
    sys.exit(run(main))
