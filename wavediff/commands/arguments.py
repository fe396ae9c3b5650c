"""The parser, the types of arguments, and the options that several commands have."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wavediff.errors import UserError
from wavediff.tasks.names import find_checkpoint, find_sampler, sampler_names

if TYPE_CHECKING:
    import torch


class Parser(argparse.ArgumentParser):
    """Of ``wavediff COMMAND``, with a hint for a misspelt option.

    Args:
        command: its name.
        description: shown as it is written, as are the examples.
    """

    def __init__(self, command: str, description: str, examples: str) -> None:
        self._options: list[str] = []
        super().__init__(
            prog=f"wavediff {command}",
            description=description,
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def add_argument(self, *names: str, **options: Any) -> argparse.Action:
        """As argparse's."""
        action = super().add_argument(*names, **options)
        self._options += action.option_strings
        return action

    def parse_args(self, *args: Any, **options: Any) -> argparse.Namespace:
        """As argparse's."""
        arguments, unknown = self.parse_known_args(*args, **options)
        if unknown:
            close = difflib.get_close_matches(unknown[0].split("=")[0], self._options, n=1)
            hint = f": did you mean {close[0]}?" if close else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return arguments


def integer(text: str) -> int:
    """An argparse type: an integer."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def positive_int(text: str) -> int:
    """An argparse type: 1 or more."""
    number = integer(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is invalid: must be 1 or more")
    return number


def non_negative_int(text: str) -> int:
    """An argparse type: 0 or more."""
    number = integer(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is invalid: must be 0 or more")
    return number


def real(text: str) -> float:
    """An argparse type: a number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def positive_float(text: str) -> float:
    """An argparse type: a finite number above 0."""
    number = real(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is invalid: must be above 0")
    return number


def fraction(text: str) -> float:
    """An argparse type: a number from 0 to 1."""
    number = real(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is out of range (0 to 1)")
    return number


def name_list(text: str) -> list[str]:
    """An argparse type: names separated by commas, none twice."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError("give a name, or several separated by commas")
    return list(dict.fromkeys(found))


def path(text: str) -> Path:
    """An argparse type: a path, ``~`` expanded."""
    return Path(text).expanduser()


def add_paths(parser: argparse.ArgumentParser, what: str) -> None:
    """One or more inputs."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help=f"{what}, folders or quoted globs")


def add_output(parser: argparse.ArgumentParser, what: str, metavar: str = "OUT") -> None:
    """--output, which is required, and --overwrite."""
    parser.add_argument("-o", "--output", required=True, type=path, metavar=metavar, help=what)
    parser.add_argument("--overwrite", action="store_true", help="replace outputs that exist")


def add_checkpoint(parser: argparse.ArgumentParser, what: str, **options: Any) -> None:
    """--checkpoint. ``options`` as for ``add_argument``."""
    parser.add_argument("--checkpoint", metavar="MODEL", help=what, **options)


def add_sampler(parser: argparse.ArgumentParser) -> None:
    """--sampler."""
    parser.add_argument(
        "--sampler",
        metavar="NAME",
        help=f"one of {', '.join(sampler_names())} (default: the checkpoint's own)",
    )


def add_mel_iterations(parser: argparse.ArgumentParser) -> None:
    """--mel-iterations."""
    parser.add_argument(
        "--mel-iterations",
        type=non_negative_int,
        metavar="N",
        help="iterations that project the estimate towards the mel; 0 leaves the network's own "
        "(default: the checkpoint's)",
    )


def add_sampling(parser: argparse.ArgumentParser, **steps: Any) -> None:
    """--sampler, --steps, --seed, --device and --threads.

    Args:
        steps: what ``add_argument`` is given for --steps beside its type.
    """
    add_sampler(parser)
    steps = {"help": "sampling steps (default: the sampler's own)"} | steps
    parser.add_argument("--steps", type=positive_int, metavar="N", **steps)
    add_seed(parser, "noise")
    add_device(parser)


def add_seed(parser: argparse.ArgumentParser, what: str) -> None:
    """--seed."""
    parser.add_argument(
        "--seed", type=integer, default=0, metavar="N", help=f"of the {what} (default: 0)"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """--device and --threads."""
    parser.add_argument(
        "--device",
        choices=["auto", "cpu", "cuda"],
        default="auto",
        help="auto uses a GPU if there is one (default: auto)",
    )
    parser.add_argument(
        "--threads", type=positive_int, metavar="N", help="CPU threads (default: one per core)"
    )


def require_model(arguments: argparse.Namespace) -> None:
    """See that the checkpoint, where one is given, and the sampler exist.

    Raises:
        UserError: where they do not.
    """
    if arguments.checkpoint is not None:
        find_checkpoint(arguments.checkpoint)
    if vars(arguments).get("sampler") is not None:
        find_sampler(arguments.sampler)


def device(arguments: argparse.Namespace) -> torch.device:
    """Return the device of --device, and set the number of threads to --threads.

    Raises:
        UserError: where there is no GPU and one is asked for.
    """
    import torch

    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    name = arguments.device
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no CUDA device that torch can use: give --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
