"""`wavediff forecast`: how the series of a table go on."""

import argparse
import sys
from pathlib import Path

import torch

from wavediff.cli import run
from wavediff.commands.arguments import (
    Parser,
    add_sampling,
    add_series,
    ended_by_sigterm,
    positive,
    require_new,
    series_options,
    tell_fitting,
)
from wavediff.errors import UserError
from wavediff.series.forecaster import Forecaster
from wavediff.series.plot import write_plot
from wavediff.series.writing import TABLES, write_table
from wavediff.tasks.sampler import sampler_names

PLOTS = (".png", ".pdf", ".svg")

DESCRIPTION = """\
Forecast the series of a CSV or Parquet file: quantiles of every variable for each of the steps that
follow the last row, at the file's frequency.
"""

EXAMPLES = """\
examples:
  wavediff forecast sales.csv --horizon 24 -o forecast.csv --plot forecast.png
  wavediff forecast sales.csv --horizon 12 --item shop --targets sales --fit-seconds 600 -o f.csv
  wavediff forecast ETTh1.csv --horizon 24 --checkpoint runs/etth1 --quantiles 0.05,0.95 -o f.csv

Without --checkpoint a small model is trained on the file itself first. OUT has a row for each item
and step: the time column, the item column where there is one, and for each variable and quantile a
column NAME_q0.1, NAME_q0.5, ... . A horizon longer than the model's is forecast block by block,
every sample path going on from its own past. Columns of --known must have values for the horizon,
in rows where the other columns are empty.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command and return the exit code."""
    arguments = parse(argv)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    output, plot = arguments.output.expanduser(), arguments.plot and arguments.plot.expanduser()
    if not output.name.lower().endswith(TABLES):
        raise UserError(f"cannot write {output}: give the name of a .csv or .parquet file")
    require_new(arguments.data, output, arguments.overwrite)
    if plot is not None:
        if plot.suffix.lower() not in PLOTS:
            raise UserError(f"cannot write {plot}: give the name of a .png, .pdf or .svg file")
        require_new(arguments.data, plot, arguments.overwrite)
    with ended_by_sigterm():
        forecaster = Forecaster(arguments.horizon, **series_options(arguments))
        forecaster.read(arguments.data)
        print(*forecaster.notes, sep="\n", file=sys.stderr)
        tell_fitting(arguments, str(arguments.data))
        forecaster.fit(forecaster.series)
        samples = forecaster.sample()
        write_table(forecaster.frame(samples, arguments.quantiles, as_written=True), output)
        print(output)
        if plot is not None:
            write_plot(forecaster.series, samples, plot)
            print(plot)
    return 0


def levels(text: str) -> list[float]:
    """An argparse type: quantiles between commas."""
    try:
        found = [float(level) for level in text.split(",")]
    except ValueError:
        found = [0.0]
    if not all(0 < level < 1 for level in found):
        raise argparse.ArgumentTypeError(
            f"{text!r} are no quantiles: give numbers between 0 and 1, as 0.1,0.5,0.9"
        )
    return list(dict.fromkeys(found))


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(
        prog="wavediff forecast",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="a CSV (.gz too) or Parquet file")
    add("--horizon", type=positive, metavar="N", help="steps (default: a season, or the model's)")
    add(
        "--quantiles",
        type=levels,
        default=[0.1, 0.5, 0.9],
        metavar="Q,Q",
        help="between commas (default: 0.1,0.5,0.9)",
    )
    add("-o", "--output", required=True, type=Path, metavar="OUT", help="a CSV or Parquet file")
    add("--plot", type=Path, metavar="PNG", help="draw the intervals of 50, 80 and 95 %%, too")
    add_series(parser)
    add_sampling(parser, sampler_names())
    add("--overwrite", action="store_true", help="replace outputs that exist")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(run(main))
