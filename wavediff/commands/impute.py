"""`wavediff impute`: fill the gaps of a table of series."""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from wavediff.cli import run
from wavediff.commands.arguments import (
    Parser,
    add_sampling,
    add_series,
    ended_by_sigterm,
    require_new,
    series_options,
    tell_fitting,
)
from wavediff.errors import UserError
from wavediff.series.forecaster import Forecaster
from wavediff.series.series_set import SeriesSet
from wavediff.series.writing import TABLES, is_parquet, write_imputed
from wavediff.tasks.sampler import sampler_names

DESCRIPTION = """\
Fill the missing values in a CSV or Parquet file of series. Only empty cells change: all others,
other columns and the order of the rows stay as they are.
"""

EXAMPLES = """\
examples:
  wavediff impute sensors.csv -o filled.csv
  wavediff impute sensors.csv --targets temperature,humidity --fit-seconds 300 -o filled.csv
  wavediff impute ETTh1.csv --checkpoint runs/etth1 -o filled.csv

Without --checkpoint a small model is trained on the file itself first. A missing value becomes the
median of the samples; a column NAME_std beside each variable that had gaps holds their standard
deviation, 0 where the value was there. Rows that are absent stay absent.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command and return the exit code."""
    arguments = parse(argv)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    output = arguments.output.expanduser()
    if not output.name.lower().endswith(TABLES):
        raise UserError(f"cannot write {output}: give the name of a .csv or .parquet file")
    if is_parquet(output) != is_parquet(arguments.data):
        raise UserError(f"{output} must be of the format of {arguments.data}: give the same ending")
    require_new(arguments.data, output, arguments.overwrite)
    with ended_by_sigterm():
        forecaster = Forecaster(**series_options(arguments))
        forecaster.read(arguments.data)
        print(*forecaster.notes, sep="\n", file=sys.stderr)
        series = forecaster.series
        told(series)
        if any(np.isnan(item.values).any() for item in series.items):
            tell_fitting(arguments, str(arguments.data))
            forecaster.fit(series)
            filled = [(part.median, part.std) for part in forecaster.gaps()]
        else:
            filled = [(item.values, np.zeros(item.values.shape)) for item in series.items]
        unknown = sum(int(np.isnan(median).sum()) for median, _ in filled)
        if unknown:
            print(
                f"{unknown} missing values stay: an item has no value of their variable at all",
                file=sys.stderr,
            )
        medians, stds = zip(*filled, strict=True)
        write_imputed(series, medians, stds, output)
        print(output)
    return 0


def told(series: SeriesSet) -> None:
    """Says how many values are missing, and how many rows."""
    origin = series.origin
    missing = sum(int(np.isnan(item.values).sum()) for item in series.items)
    absent = sum(item.length for item in series.items) - len(origin.step)
    if not missing:
        print("nothing is missing: the file is copied", file=sys.stderr)
    if absent > 0:
        print(
            f"{absent} steps have no row: they stay so; add rows with their stamps and empty cells "
            "to have them filled",
            file=sys.stderr,
        )


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(
        prog="wavediff impute",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="a CSV (.gz too) or Parquet file")
    add("-o", "--output", required=True, type=Path, metavar="OUT", help="a file of the same format")
    add_series(parser)
    add_sampling(parser, sampler_names())
    add("--overwrite", action="store_true", help="replace OUT if it exists")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(run(main))
