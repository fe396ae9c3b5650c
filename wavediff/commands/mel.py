"""`wavediff mel`: convert audio to mel spectrograms."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wavediff.cli import run
from wavediff.commands.arguments import Parser
from wavediff.commands.corpus import EXAMPLES as CORPUS
from wavediff.commands.corpus import Work, add_corpus, each, require_corpus, shared
from wavediff.commands.corpus_files import on_ray, one_by_one
from wavediff.commands.manifest import Manifest
from wavediff.commands.outputs import (
    interruptible,
    missing_outputs,
    plan_outputs,
    report_failures,
)
from wavediff.commands.pipes import piped
from wavediff.errors import UserError
from wavediff.files import atomic_path, conf_files
from wavediff.inputs import MEL_SUFFIXES, find_audio

if TYPE_CHECKING:
    from torch import Tensor

    from wavediff.representations.mel import MelFrontEnd

DESCRIPTION = "Convert audio to mel spectrograms."

EXAMPLES = (
    """\
examples:
  wavediff mel speech.wav -o speech.npy
  wavediff mel recordings/ -o mels/ --front-end hifigan
  wavediff mel 'a/*.flac' b.mp3 -o mels/ --format safetensors
  wavediff mel speech.wav -o speech.npy --front-end tacotron --set n_mels=100 f_max=11025
  wavediff mel corpus/ -o mels/ --ray auto --manifest results.jsonl

Each output holds one float32 array [n_mels, frames] (in safetensors it is called "mel").
Audio of another rate is resampled to the front-end's, several channels are averaged. stdout gets
the name of each output. Outputs that exist are kept; --overwrite replaces them.

"""
    + CORPUS
)


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code is 2 when a file of several failed."""
    arguments = parse(argv)
    require_corpus(arguments)
    with piped(arguments, output=f".{arguments.format}"):
        return convert(arguments)


def convert(arguments: argparse.Namespace) -> int:
    """All inputs; the exit code."""
    files = find_audio(arguments.paths)
    suffixes = sorted(MEL_SUFFIXES, key=lambda suffix: suffix != f".{arguments.format}")
    targets = plan_outputs(files, arguments.paths, arguments.output, suffixes)

    manifest = Manifest(arguments.manifest)
    manifest.require(files)
    work = worker(arguments)  # refused before the first file
    targets = shared(targets, arguments.shard)
    missing = missing_outputs(targets, arguments.overwrite)
    manifest.begin(targets, missing)
    with interruptible():
        if arguments.ray is None or not missing:
            failures = one_by_one(work, missing, manifest)
        else:
            failures = on_ray(arguments, worker, missing, manifest)
    if failures and len(targets) == 1:
        raise UserError(*failures.values())
    return report_failures(list(failures.values()))


def worker(arguments: argparse.Namespace) -> Work:
    """Make the front-end; what is returned converts files."""
    return each(partial(mel, load(arguments)))


def load(arguments: argparse.Namespace) -> MelFrontEnd:
    """The front-end of the command line."""
    from wavediff.representations.mel import mel_front_end

    return mel_front_end(arguments.front_end, **overrides(arguments.set))


def mel(front_end: MelFrontEnd, file: Path, target: Path) -> float:
    """Convert a file, and return its seconds. Raises UserError where that fails."""
    found = mel_of(file, front_end)
    write_mel(target, found, front_end)
    return found.shape[-1] * front_end.hop_length / front_end.sample_rate


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser("mel", DESCRIPTION, EXAMPLES)
    parser.add_paths("audio files")
    parser.add_output("a file (.npy, .pt, .safetensors) or - (stdout) for one input, or a folder")
    parser.add_option(
        "--front-end",
        str,
        "NAME",
        f"one of {', '.join(conf_files('mel'))} (default: tacotron)",
        default="tacotron",
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
        choices=[suffix[1:] for suffix in MEL_SUFFIXES],
        default="npy",
        help="of the files in a folder (default: npy)",
    )
    add_corpus(parser)
    return parser.parse_args(argv)


def overrides(settings: Sequence[str]) -> dict[str, Any]:
    """`["n_mels=100", "norm=null"]` to `{"n_mels": 100, "norm": None}`."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    for setting in settings:
        if not setting.partition("=")[0] or "=" not in setting:
            raise UserError(f"--set takes KEY=VALUE, as in n_mels=100, not {setting!r}.")
    try:
        given = OmegaConf.from_dotlist(list(settings))
        found: dict[str, Any] = OmegaConf.to_container(given, resolve=True)  # type: ignore
    except (OmegaConfBaseException, YAMLError) as error:
        raise UserError(
            f"--set {' '.join(settings)} is invalid: give plain values, as in n_mels=100."
        ) from error
    for key, value in found.items():
        if str(value).lower().strip("+-.") in ("inf", "infinity", "nan"):
            raise UserError(f"--set {key}={value} is invalid: give a finite number.")
    return found


def mel_of(file: Path, front_end: MelFrontEnd) -> Tensor:
    """Return the mel ``[n_mels, frames]``, float32, of an audio file.

    Raises:
        UserError: when the file is not usable audio.
    """
    import torch

    from wavediff.data.audio import read_audio

    audio, _ = read_audio(file, sample_rate=front_end.sample_rate)
    if front_end.frames(audio.shape[-1]) < 1:
        raise UserError(f"{file} is too short: it has not one frame of {front_end.hop_length}.")
    with torch.inference_mode():
        return front_end(audio)[0]


def write_mel(path: Path, mel: Tensor, front_end: MelFrontEnd) -> None:
    """Write a mel ``[n_mels, frames]`` as .npy, .pt or .safetensors, whole or not at all.

    Raises:
        UserError: when the place cannot be written to.
    """
    import numpy as np
    import torch
    from safetensors.torch import save_file

    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".npy":
            np.save(temporary, mel.numpy())
        elif path.suffix.lower() == ".pt":
            torch.save(mel.clone(), temporary)
        else:
            save_file({"mel": mel.contiguous()}, temporary, {"front_end": front_end.name})


if __name__ == "__main__":
    sys.exit(run(main))
