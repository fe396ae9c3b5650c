"""What the commands share between their arguments and their work."""

import argparse
import glob
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from wavediff.errors import UserError


def positive(text: str) -> int:
    """An argparse type: 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def natural(text: str) -> int:
    """An argparse type: 0 or more."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return number


def device(name: str) -> torch.device:
    """Of --device. Raises UserError where there is no GPU and one is asked for."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no CUDA device that torch can use: give --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def folders(given: str) -> list[Path]:
    """The folders that a path or a glob means."""
    path = Path(given).expanduser()
    if path.exists():
        return [path] if path.is_dir() else []
    return [Path(found) for found in glob.glob(str(path), recursive=True) if Path(found).is_dir()]


def require_writable(folder: Path) -> None:
    """Raises UserError before the work where nothing can be written to the folder."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise UserError(f"cannot write into {folder}: it is a file, not a folder; give another")
    if not os.access(folder, os.W_OK):
        raise UserError(f"cannot write into {folder}: permission denied; give another folder")


def add_sampling(parser: argparse.ArgumentParser, samplers: Sequence[str]) -> None:
    """--sampler, --steps, --seed, --device and --threads."""
    add = parser.add_argument
    add(
        "--sampler",
        metavar="NAME",
        help=f"one of {', '.join(samplers)} (default: the checkpoint's own)",
    )
    add("--steps", type=positive, metavar="N", help="sampling steps (default: the sampler's own)")
    add("--seed", type=int, default=0, metavar="N", help="of the noise (default: 0)")
    add(
        "--device",
        choices=["auto", "cpu", "cuda"],
        default="auto",
        help="auto takes a GPU where there is one (default: auto)",
    )
    add("--threads", type=positive, metavar="N", help="CPU threads (default: one per core)")


def require_new(source: Path, output: Path, overwrite: bool) -> None:
    """Raises UserError, before the work, for an output that exists, is the input or cannot be."""
    if output.exists() and source.exists() and output.samefile(source):
        raise UserError(f"{output} is the input and would be overwritten: give another output")
    if output.is_dir():
        raise UserError(f"{output} is a folder: give the name of a file")
    if output.exists() and not overwrite:
        raise UserError(f"{output} exists already: give --overwrite to replace it")
    require_writable(output.parent)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that no half-written file stays."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
