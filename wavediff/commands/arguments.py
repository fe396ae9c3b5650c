"""The parser, the types of arguments, and the options that several commands have."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from wavediff.errors import UserError
from wavediff.inputs import expanded
from wavediff.tasks.names import find_checkpoint, find_sampler, sampler_names

if TYPE_CHECKING:
    import torch

    from wavediff.tasks.task import Task

    Placed = TypeVar("Placed", bound=Task)

ANY_MODEL = "a run folder, a model.safetensors or a bundled model (default: %(default)s)"
MOST_THREADS = 1024
MOST_ITERATIONS = 10_000
SEEDS = 1 << 63
MOST_STRENGTH = 200
LIVE_MODEL = "enhancer-live-16k"
A_GENERATOR = "a generator: a run folder or a model.safetensors"


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

    def parse_args(self, *args: Any, **options: Any) -> argparse.Namespace:  # type: ignore[override]
        """As argparse's."""
        arguments, unknown = self.parse_known_args(*args, **options)
        if unknown:
            close = difflib.get_close_matches(unknown[0].split("=")[0], self._options, n=1)
            hint = f": did you mean {close[0]}?" if close else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return arguments

    def error(self, message: str) -> NoReturn:
        """As argparse's, without repeating a long argument."""
        super().error(str(UserError(message)))

    def add_option(
        self, name: str, kind: Callable[[str], Any], metavar: str, what: str, **options: Any
    ) -> None:
        """An option with a value.

        Args:
            kind: its argparse type.
            metavar: stands for the value in the help.
            what: the help, to which a default number is added.
            options: others of ``add_argument``.
        """
        if isinstance(options.get("default"), int | float):
            what = f"{what} (default: {options['default']:g})".strip()
        self.add_argument(name, type=kind, metavar=metavar, help=what, **options)

    def add_paths(self, what: str) -> None:
        """One or more inputs."""
        what = f"{what}, folders, quoted globs or - (stdin)"
        self.add_argument("paths", nargs="+", metavar="PATH", help=what)

    def add_output(self, what: str, metavar: str = "OUT") -> None:
        """--output, which is required, and --overwrite."""
        kind = new_folder if metavar == "DIR" else path
        self.add_argument("-o", "--output", required=True, type=kind, metavar=metavar, help=what)
        self.add_argument("--overwrite", action="store_true", help="replace outputs that exist")

    def add_checkpoint(self, what: str, **options: Any) -> None:
        """--checkpoint. ``options`` as for ``add_argument``."""
        self.add_argument("--checkpoint", metavar="MODEL", help=what, **options)

    def add_sampler(self) -> None:
        """--sampler."""
        self.add_option(
            "--sampler",
            str,
            "NAME",
            f"one of {', '.join(sampler_names())} (default: the checkpoint's own)",
        )

    def add_mel_iterations(self) -> None:
        """--mel-iterations."""
        self.add_option(
            "--mel-iterations",
            whole(0, MOST_ITERATIONS),
            "N",
            "iterations that project the estimate towards the mel; 0 leaves the network's own "
            "(default: the checkpoint's)",
        )

    def add_sampling(self, **steps: Any) -> None:
        """--sampler, --steps, --seed, --device and --threads.

        Args:
            steps: what ``add_argument`` is given for --steps beside its type.
        """
        self.add_sampler()
        steps = {"help": "sampling steps (default: the sampler's own)"} | steps
        self.add_argument("--steps", type=positive_int, metavar="N", **steps)
        self.add_seed("noise")
        self.add_device()

    def add_precision(self) -> None:
        """--precision and --cuda-graphs, see ``placed``."""
        self.add_argument(
            "--precision",
            choices=["float32", "bfloat16"],
            default="float32",
            help="bfloat16 is faster on CPUs and GPUs that compute in it, and coarser "
            "(default: %(default)s)",
        )
        self.add_argument(
            "--cuda-graphs",
            action="store_true",
            help="on a GPU, start all kernels of a network call at once: for short signals",
        )

    def add_seed(self, what: str) -> None:
        """--seed."""
        self.add_option("--seed", whole(-SEEDS, SEEDS - 1), "N", f"of the {what}", default=0)

    def add_device(self, default: str = "auto", threads: int | None = None) -> None:
        """--device and --threads, with their defaults; None is a thread per core."""
        self.add_argument(
            "--device",
            choices=["auto", "cpu", "cuda"],
            default=default,
            help="auto uses a GPU if there is one (default: %(default)s)",
        )
        what = "CPU threads" if threads else "CPU threads (default: one per core)"
        self.add_option("--threads", whole(1, MOST_THREADS), "N", what, default=threads)

    def add_strength(self) -> None:
        """--strength, see ``dry_share``."""
        self.add_option(
            "--strength",
            real_between(0, MOST_STRENGTH),
            "DB",
            "attenuate noise by at most so many dB: 12 leaves a quarter of it (default: no limit)",
        )

    def add_backend(self) -> None:
        """--backend."""
        self.add_argument(
            "--backend",
            choices=("torch", "onnx"),
            default="torch",
            help="onnx: onnxruntime, for which the model is exported at its first use",
        )

    def add_bit_rate(self) -> None:
        """--bit-rate."""
        what = "of mp3, ogg and opus, in kbit/s (default: the input's)"
        self.add_option("--bit-rate", positive_float, "KBIT", what)

    def add_bits(self) -> None:
        """--bits."""
        self.add_argument(
            "--bits",
            type=int,
            choices=[16, 24, 32],
            default=16,
            help="per sample; 32 is floating point, for wav only (default: 16)",
        )


def integer(text: str) -> int:
    """An argparse type: an integer."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def whole(low: int, high: int) -> Callable[[str], int]:
    """An argparse type: an integer from ``low`` to ``high``."""

    def convert(text: str) -> int:
        number = integer(text)
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is out of range ({low} to {high})")
        return number

    return convert


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
    """An argparse type: a finite number."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not -inf < number < inf:
        raise argparse.ArgumentTypeError(f"{text!r} is invalid: must be a finite number")
    return number


def real_between(low: float, high: float) -> Callable[[str], float]:
    """An argparse type: a number from ``low`` to ``high``."""

    def convert(text: str) -> float:
        number = real(text)
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is out of range ({low:g} to {high:g})")
        return number

    return convert


def positive_float(text: str) -> float:
    """An argparse type: a finite number above 0."""
    number = real(text)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is invalid: must be above 0")
    return number


fraction = real_between(0, 1)


def name_list(text: str) -> list[str]:
    """An argparse type: names separated by commas, none twice."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError("give a name, or several separated by commas")
    return list(dict.fromkeys(found))


def path(text: str) -> Path:
    """An argparse type: a path, ``~`` expanded."""
    return expanded(text)


def new_folder(text: str) -> Path:
    """An argparse type: the path of a folder that is written."""
    if text == "-":
        raise UserError("- (stdout) is not a folder: give the name of a folder")
    return expanded(text)


def dry_share(strength: float | None) -> float:
    """The share of the input that limits the attenuation to ``strength`` dB; None is no limit."""
    return 0.0 if strength is None else 10 ** (-strength / 20)


def require_model(arguments: argparse.Namespace) -> None:
    """See that the checkpoint, where one is given, and the sampler exist.

    Raises:
        UserError: where they do not.
    """
    if arguments.checkpoint is not None:
        find_checkpoint(arguments.checkpoint)
    if vars(arguments).get("sampler") is not None:
        find_sampler(arguments.sampler)


def placed(task: Placed, arguments: argparse.Namespace) -> Placed:
    """Put a model on the device of --device, to compute in --precision, by --cuda-graphs.

    Raises:
        UserError: where there is no GPU and one is asked for, or onnxruntime is to compute.
    """
    from wavediff.networks.graphs import replay_graphs
    from wavediff.networks.precision import computes_in_bfloat16, in_bfloat16

    place = device(arguments)
    task = task.to(place)
    if arguments.precision == "bfloat16":
        if getattr(arguments, "backend", None) == "onnx":
            raise UserError("--precision bfloat16 is for torch: leave out --backend onnx")
        if computes_in_bfloat16(place):
            in_bfloat16(task.network)
        else:
            print("this CPU has no bfloat16 arithmetic: float32 is used", file=sys.stderr)
    if arguments.cuda_graphs:
        if place.type != "cuda" or getattr(arguments, "backend", None) == "onnx":
            raise UserError("--cuda-graphs is for torch on a GPU: leave it out")
        replay_graphs(task.network)
    return task


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
