"""What the commands for time series share: options, checks, and messages."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wavediff.commands.arguments import (
    Parser,
    device,
    name_list,
    path,
    positive_float,
    positive_int,
    real,
)
from wavediff.commands.outputs import require_new
from wavediff.errors import UserError, sentence
from wavediff.inputs import TABLE_SUFFIXES, require_file


def guidance(text: str) -> str:
    """An argparse type: a guidance, but for an old name."""
    if text == "none":
        raise argparse.ArgumentTypeError("none is now called replace")
    return text


def add_table(parser: Parser) -> None:
    """The input."""
    parser.add_argument("data", type=path, metavar="DATA", help="a CSV (.gz too) or Parquet file")


def add_series(parser: Parser) -> None:
    """The columns of the table, the model (a checkpoint or one that is fitted), and sampling."""
    add = parser.add_option
    add("--time", str, "COL", "the column of timestamps, or A+B (default: detected)")
    add("--item", str, "COL", "the column that names the series (default: detected)")
    add("--targets", name_list, "A,B", "the variables (default: all numbers)")
    add("--known", name_list, "A,B", "columns with known future", default=[])
    add("--static", name_list, "A,B", "columns constant for an item", default=[])
    add("--freq", str, "F", "h, 15min, D, B, W-SUN, MS, ... (default: detected)")
    add("--date-format", str, "F", "of the timestamps, as %%d/%%m/%%Y (default: detected)")
    add("--tz", str, "ZONE", "of the timestamps, such as Europe/Berlin (default: their own)")
    add("--period", positive_int, "N", "seasonal period in time steps (default: the calendar's)")
    add("--checkpoint", str, "RUN", "a model (default: the bundled one)", default="forecaster")
    add("--fit-seconds", positive_float, "S", "fine-tune the model on the data first")
    add(
        "--fit-steps",
        positive_int,
        "N",
        "training steps instead, so that the same seed gives the same result",
    )
    parser.add_argument(
        "--kind",
        choices=["auto", "real", "positive", "count"],
        default="auto",
        help="what the values are: counts are whole and not negative (default: auto, by the data)",
    )
    add("--lower", real, "X", "least value (default: by the kind)")
    add("--upper", real, "X", "greatest value")
    add("--save", path, "MODEL", "save the model for --checkpoint: a folder or .safetensors file")
    add("--samples", positive_int, "N", "sample paths", default=100)
    parser.add_argument(
        "--guidance",
        type=guidance,
        choices=["replace", "mse", "quantile"],
        help="guide an unconditional model by the known cells (default: mse for an unconditional "
        "model; other models are conditioned on the known cells)",
    )
    add(
        "--guidance-scale",
        positive_float,
        "S",
        "strength of the guidance: one over the variance granted to the known cells, where "
        "the data's is 1 (default: by the guidance)",
    )
    parser.add_sampling()


def series_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of ``add_series`` as ``wavediff.series.forecaster`` names them."""
    same = (
        "time", "item", "targets", "known", "static", "freq", "date_format", "tz", "period",
        "checkpoint", "fit_steps", "kind", "lower", "upper", "samples", "sampler", "steps", "seed",
        "guidance", "guidance_scale",
    )  # fmt: skip
    options = {name: getattr(arguments, name) for name in same}
    return options | {"seconds": arguments.fit_seconds, "device": str(device(arguments))}


def report(sentences: Sequence[str]) -> None:
    """Print sentences on stderr, a line each."""
    for each in sentences:
        print(sentence(each), file=sys.stderr)


def require_table(source: Path) -> None:
    """See that a table exists.

    Raises:
        UserError: where it does not.
    """
    require_file(source, "a CSV or Parquet file")


def require_new_table(output: Path, overwrite: bool, source: Path) -> None:
    """See that a table can be written.

    Raises:
        UserError: for an output of another kind, or one that exists or cannot be written.
    """
    if not output.name.lower().endswith(TABLE_SUFFIXES):
        raise UserError(f"cannot write {output}: give the name of a .csv or .parquet file")
    require_new(output, overwrite, source)
