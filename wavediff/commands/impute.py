"""`wavediff impute`: impute the missing values of a table of time series."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from wavediff.cli import run
from wavediff.commands.arguments import Parser, require_model
from wavediff.commands.outputs import interruptible
from wavediff.commands.series_arguments import (
    add_series,
    add_table,
    report,
    require_new_table,
    require_table,
    series_options,
)
from wavediff.errors import UserError
from wavediff.inputs import is_parquet

if TYPE_CHECKING:
    from wavediff.series.series_set import SeriesSet

DESCRIPTION = """\
Impute the missing values in a CSV or Parquet file of time series. Only empty cells change: all
others, other columns and the order of the rows stay as they are.
"""

EXAMPLES = """\
examples:
  wavediff impute sensors.csv -o filled.csv
  wavediff impute sensors.csv --targets temperature,humidity --fit-seconds 300 -o filled.csv
  wavediff impute ETTh1.csv --checkpoint runs/etth1 -o filled.csv

The bundled model forecasts each gap from its past and backwards from its future. Known values are
hidden first to compare it with linear and seasonal interpolation, and the best of the three is used
(two lines on stderr). A missing value becomes the median of the samples, or in a column of counts
their mean, rounded so that sums keep. A column NAME_std beside each variable with missing values
holds their standard deviation, 0 where the value was observed. Absent rows stay absent.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command and return the exit code."""
    arguments = parse(argv)
    source, output = arguments.data, arguments.output
    require_new_table(output, arguments.overwrite, source)
    if is_parquet(output) != is_parquet(source):
        raise UserError(f"{output} must be of the format of {source}: give the same ending")
    require_table(source)
    require_model(arguments)

    import numpy as np

    from wavediff.series.forecaster import Forecaster
    from wavediff.series.writing import write_imputed

    with interruptible():
        forecaster = Forecaster(**series_options(arguments))
        forecaster.read(arguments.data)
        report(forecaster.notes)
        told = len(forecaster.notes)
        series = forecaster.series
        assert series is not None
        report_missing(series)
        if any(np.isnan(item.values).any() for item in series.items):
            forecaster.fit(series)
            filled = [(part.median, part.std) for part in forecaster.gaps()]
            report(forecaster.notes[told:])
        else:
            filled = [(item.values, np.zeros(item.values.shape)) for item in series.items]
        unknown = sum(int(np.isnan(median).sum()) for median, _ in filled)
        if unknown:
            print(
                f"{unknown} missing values stay: an item has no value of their variable at all",
                file=sys.stderr,
            )
        medians, stds = zip(*filled, strict=True)
        write_imputed(series, medians, stds, arguments.output)
        print(arguments.output)
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser("impute", DESCRIPTION, EXAMPLES)
    add_table(parser)
    parser.add_output("a file of the same format")
    add_series(parser)
    return parser.parse_args(argv)


def report_missing(series: SeriesSet) -> None:
    """Say on stderr how many rows are absent, and whether no value is missing."""
    import numpy as np

    assert series.origin is not None
    missing = sum(int(np.isnan(item.values).sum()) for item in series.items)
    absent = sum(item.length for item in series.items) - len(series.origin.step)
    if not missing:
        print("nothing is missing: the file is copied", file=sys.stderr)
    if absent > 0:
        print(
            f"{absent} steps have no row and stay absent: add rows with their timestamps and empty "
            "cells to have them imputed",
            file=sys.stderr,
        )


if __name__ == "__main__":
    sys.exit(run(main))
