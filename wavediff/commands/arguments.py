"""What the commands share between their arguments and their work."""

import argparse
import difflib
import glob
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from wavediff.errors import UserError


class Parser(argparse.ArgumentParser):
    """With a description and an epilog as they are written, and a hint for a misspelt option."""

    def __init__(self, **options: Any) -> None:
        self._options: list[str] = []
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)

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


def whole(text: str) -> int:
    """An argparse type: a whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None


def positive(text: str) -> int:
    """An argparse type: 1 or more."""
    number = whole(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def guidance(text: str) -> str:
    """An argparse type: a guidance of series, but for an old name."""
    if text == "none":
        raise argparse.ArgumentTypeError("none is now called replace")
    return text


def natural(text: str) -> int:
    """An argparse type: 0 or more."""
    number = whole(text)
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


def names(text: str) -> list[str]:
    """An argparse type: names between commas."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError("needs a name, or several between commas")
    return found


def above_zero(text: str, what: str = "number") -> float:
    """An argparse type: a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no {what}") from None
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be above 0")
    return number


def seconds(text: str) -> float:
    """An argparse type: seconds above 0."""
    return above_zero(text, "number of seconds")


def add_series(parser: argparse.ArgumentParser) -> None:
    """What columns a table of series has, and the model: a checkpoint or one that is fitted."""
    add = parser.add_argument
    add("--time", metavar="COL", help="the column of stamps (default: found)")
    add("--item", metavar="COL", help="the column that names the series (default: found)")
    add("--targets", type=names, metavar="A,B", help="the variables (default: all numbers)")
    add("--known", type=names, default=[], metavar="A,B", help="columns whose future is known")
    add("--static", type=names, default=[], metavar="A,B", help="columns constant for an item")
    add("--freq", metavar="F", help="h, 15min, D, B, W-SUN, MS, ... (default: found)")
    add("--checkpoint", metavar="RUN", help="a trained model (default: one is fitted to the data)")
    add(
        "--fit-seconds",
        type=seconds,
        default=120.0,
        metavar="S",
        help="time to fit a model in, without a checkpoint (default: 120)",
    )
    add(
        "--fit-steps",
        type=positive,
        metavar="N",
        help="steps of training instead, so that the same seed gives the same result",
    )
    add("--context", type=positive, metavar="N", help="steps that a forecast sees")
    add(
        "--multivariate",
        action=argparse.BooleanOptionalAction,
        help="all variables in one window, or each by itself (default: together up to 16)",
    )
    add("--samples", type=positive, default=100, metavar="N", help="draws (default: 100)")
    add(
        "--guidance",
        type=guidance,
        choices=["replace", "mse", "quantile"],
        help="guide an unconditional model by the known cells (default: mse for an unconditional "
        "model; other models are conditioned on the known cells)",
    )
    add(
        "--guidance-scale",
        type=above_zero,
        metavar="S",
        help="strength of the guidance: one over the variance granted to what is known, where the "
        "data's is 1 (default: by the guidance)",
    )


def series_options(arguments: argparse.Namespace) -> dict:
    """Of ``add_series`` and ``add_sampling``, as ``wavediff.series.forecaster`` names them."""
    same = (
        "time", "item", "targets", "known", "static", "freq", "checkpoint", "fit_steps", "context",
        "multivariate", "samples", "sampler", "steps", "seed", "guidance", "guidance_scale",
    )  # fmt: skip
    options = {name: getattr(arguments, name) for name in same}
    return options | {
        "seconds": arguments.fit_seconds,
        "device": str(device(arguments.device)),
    }


def tell_fitting(arguments: argparse.Namespace, what: str) -> None:
    """Says on stderr that a model is trained first, where that is so."""
    if arguments.checkpoint is None:
        budget = (
            f"{arguments.fit_steps} steps (--fit-steps)"
            if arguments.fit_steps
            else f"about {arguments.fit_seconds:g} s (--fit-seconds)"
        )
        print(
            f"no checkpoint is given: training a small model on {what} first, for {budget}",
            file=sys.stderr,
        )


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


def outputs(
    files: Sequence[Path], given: Sequence[str], output: Path, suffixes: Sequence[str]
) -> list[tuple[Path, Path]]:
    """(input, output) for every file: OUT itself for one input, or below the folder OUT.

    A given folder's structure is kept; the first of ``suffixes`` is what goes into a folder.
    Raises UserError where outputs cannot be told apart, are inputs, or cannot be written.
    """
    output = output.expanduser()
    if output.suffix and not output.is_dir():
        if output.suffix.lower() not in suffixes:
            raise UserError(f"cannot write {output}: give the name of a {' or '.join(suffixes)}")
        if len(files) > 1:
            raise UserError(f"{len(files)} inputs cannot all go to {output}: give a folder")
        targets, folder = {output: files[0]}, output.parent
    else:
        targets, folder = {}, output
        roots = [root for path in given for root in folders(path)]
        for file in files:
            root = next((root for root in roots if file.is_relative_to(root)), file.parent)
            target = (folder / file.relative_to(root)).with_suffix(suffixes[0])
            if target in targets:
                raise UserError(
                    f"{targets[target]} and {file} would both be written to {target}: "
                    "give them in two calls with different outputs"
                )
            targets[target] = file
    inputs = {file.resolve() for file in files}
    for target in targets:
        if target.resolve() in inputs:
            raise UserError(f"{target} is an input and would be overwritten: give another output")
    require_writable(folder)
    return [(file, target) for target, file in targets.items()]


def each(
    targets: Sequence[tuple[Path, Path]], work: Callable[[Path, Path], None], overwrite: bool
) -> int:
    """Call ``work(input, output)`` for all whose output is not there yet, and print each output.

    Goes on past a bad input and lists it at the end. Returns the exit code.
    Raises UserError where there is only one input, and it fails.
    """
    missing = [(file, target) for file, target in targets if overwrite or not target.exists()]
    kept, failures = len(targets) - len(missing), []
    if kept:
        what = f"{targets[0][1]} exists" if len(targets) == 1 else f"{kept} outputs exist"
        print(f"{what} already and will be kept: give --overwrite to replace", file=sys.stderr)
    with ended_by_sigterm():
        for file, target in tqdm(missing, unit="file", delay=1, disable=len(missing) < 2):
            try:
                work(file, target)
            except UserError as error:
                if len(targets) == 1:
                    raise
                failures.append(str(error))
            else:
                tqdm.write(str(target))
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 2 if failures else 0
