"""`wavediff forecast`: forecast the time series of a table."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from wavediff.cli import run
from wavediff.commands.arguments import Parser, path, positive_int, require_model
from wavediff.commands.corpus import Outcome, Shard, add_corpus, require_corpus
from wavediff.commands.forecast_parts import on_ray
from wavediff.commands.manifest import Manifest
from wavediff.commands.outputs import interruptible, require_new
from wavediff.commands.series_arguments import (
    add_series,
    add_table,
    report,
    require_new_table,
    require_table,
    series_options,
)
from wavediff.errors import UserError
from wavediff.tasks.names import model_file

if TYPE_CHECKING:
    from wavediff.series.series_set import SeriesSet

PLOTTED = 8  # panels of a plot, as in wavediff.series.plot
PLOTS = (".png", ".pdf", ".svg")

DESCRIPTION = """\
Forecast the time series of a CSV or Parquet file: quantiles of each variable for each of the time
steps that follow the last row, at the file's frequency.
"""

EXAMPLES = """\
examples:
  wavediff forecast sales.csv --horizon 24 -o forecast.csv --plot forecast.png
  wavediff forecast sales.csv --horizon 12 --item shop --targets sales --kind count -o f.csv
  wavediff forecast sales.csv --horizon 12 --fit-seconds 120 --save shop-model -o forecast.csv
  wavediff forecast items.csv --horizon 24 --shard 3/16 -o forecast-3.csv
  wavediff forecast items.csv --horizon 24 --ray auto -o forecast.csv --manifest results.jsonl
  wavediff forecast ETTh1.csv --horizon 24 --checkpoint runs/etth1 --quantiles 0.05,0.95 -o f.csv

The bundled model was trained on synthetic series and forecasts any others at once. Two lines on
stderr say how it does on the last windows of the file beside seasonal naive (repeat the last
season), whose forecast is given for the series where that is better. --fit-seconds fine-tunes it,
and keeps the result only where it is better on windows held back.

OUT has a row for each item and time step: the time column, the item column if there is one, and for
each variable and quantile a column NAME_q0.1, NAME_q0.5, ... . A horizon longer than 64 steps is
forecast block by block, each sample path conditioned on its own past. Columns of --known must have
values for the horizon, in rows where the other columns are empty.

The items of a large table are shared among the jobs of a scheduler by --shard K/N, or among the
machines of a Ray cluster by --ray, 16 at a time: they are compared with seasonal naive and
calibrated together, so a part's intervals differ a little from those of the whole table. The same
command resumes. --manifest gets a line of JSON for each item. More in docs/clusters.md.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command and return the exit code."""
    arguments = parse(argv)
    require_corpus(arguments)
    in_parts = arguments.shard is not None or arguments.ray is not None
    if in_parts:
        require_parts(arguments)
    require_new_table(arguments.output, arguments.overwrite or in_parts, arguments.data)
    if in_parts and arguments.output.exists() and not arguments.overwrite:
        kept = f"{arguments.output} exists already and will be kept: give --overwrite to replace"
        print(kept, file=sys.stderr)
        return 0
    manifest = Manifest(arguments.manifest)
    manifest.require([arguments.data])
    plot = arguments.plot
    if plot is not None:
        if plot.suffix.lower() not in PLOTS:
            raise UserError(f"cannot write {plot}: give the name of a .png, .pdf or .svg file")
        require_new(plot, arguments.overwrite, arguments.data)
    if arguments.save is not None:
        require_new(model_file(arguments.save), arguments.overwrite, arguments.data)
    require_table(arguments.data)
    require_model(arguments)

    from wavediff.series.forecaster import Forecaster
    from wavediff.series.writing import as_columns, write_table

    with interruptible():
        forecaster = Forecaster(arguments.horizon, **series_options(arguments))
        forecaster.read(arguments.data)
        report(forecaster.notes)
        assert forecaster.series is not None
        items = chosen_items(forecaster.series, arguments.shard)
        if not items:
            return 0
        if arguments.ray is not None:
            return on_ray(arguments, forecaster, items, manifest)
        begun = time.monotonic()
        lines = [(Path(forecaster.series.items[k].name), arguments.output) for k in items]
        manifest.begin(lines, lines)
        if arguments.fit_seconds or arguments.fit_steps:
            told = len(forecaster.notes)
            report(forecaster.fit(forecaster.series).notes[told:])
        told = len(forecaster.notes)
        samples = forecaster.sample(items=items)
        report(forecaster.notes[told:])
        if forecaster.assessment is not None:
            report(forecaster.assessment.sentences())
        frame = forecaster.frame(samples, arguments.quantiles, items=items, as_written=True)
        write_table(as_columns(frame, forecaster.series), arguments.output)
        for item, output in lines:
            manifest.add(item, output, Outcome(None, (time.monotonic() - begun) / len(items)))
        print(arguments.output)
        if arguments.plot is not None:
            forecaster.plot(samples, arguments.plot)
            count = samples.shape[1] * samples.shape[3]
            if count > PLOTTED:
                report([f"the plot shows the first {PLOTTED} of {count} series"])
            print(arguments.plot)
        if arguments.save is not None:
            forecaster.save(arguments.save)
            print(arguments.save)
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser("forecast", DESCRIPTION, EXAMPLES)
    add = parser.add_option
    add_table(parser)
    add(
        "--horizon", positive_int, "N", "time steps to forecast (default: a season, or the model's)"
    )
    add(
        "--quantiles",
        quantiles,
        "Q,Q",
        "separated by commas (default: 0.1,0.5,0.9)",
        default=[0.1, 0.5, 0.9],
    )
    parser.add_output("a CSV or Parquet file")
    add("--plot", path, "PNG", "plot the intervals of 50, 80 and 95 %%, too")
    add_series(parser)
    add_corpus(parser, "items")
    return parser.parse_args(argv)


def require_parts(arguments: argparse.Namespace) -> None:
    """See that what is chosen goes with a part of the items.

    Raises:
        UserError: where it does not.
    """
    option = "--ray" if arguments.ray is not None else "--shard"
    if arguments.fit_seconds or arguments.fit_steps:
        raise UserError(
            f"a model is fitted to all items, not with {option}: fit it before, --save MODEL, and "
            "give --checkpoint MODEL"
        )
    if arguments.plot is not None or arguments.save is not None:
        raise UserError(f"--plot and --save are not for {option}: leave them out")


def chosen_items(series: SeriesSet, chosen: Shard | None) -> list[int]:
    """The numbers of the items of a shard, which is of their sorted names; all without one."""
    numbers = range(len(series))
    if chosen is None:
        return list(numbers)
    kept = sorted(chosen.of(sorted(numbers, key=lambda k: series.items[k].name)))
    print(f"shard {chosen}: {len(kept)} of {len(series)} items", file=sys.stderr)
    return kept


def quantiles(text: str) -> list[float]:
    """An argparse type: quantiles separated by commas."""
    try:
        found = [float(level) for level in text.split(",")]
    except ValueError:
        found = [0.0]
    if not all(0 < level < 1 for level in found):
        raise argparse.ArgumentTypeError(
            f"{text!r} is invalid: give numbers between 0 and 1, as in 0.1,0.5,0.9"
        )
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    sys.exit(run(main))
