"""`wavediff backtest`: evaluate forecasts at rolling origins, beside baselines."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from wavediff.cli import run
from wavediff.commands.arguments import (
    Parser,
    name_list,
    positive_float,
    positive_int,
    require_model,
)
from wavediff.commands.outputs import interruptible
from wavediff.commands.series_arguments import (
    add_series,
    report,
    require_table,
    series_options,
)
from wavediff.errors import UserError
from wavediff.inputs import expanded

if TYPE_CHECKING:
    from wavediff.series.backtest import Row
    from wavediff.series.series_set import SeriesSet

MODEL = "model"
BASELINES = {  # what they are called in wavediff.series.baselines
    "seasonal_naive": "seasonal naive",
    "seasonal_naive_with_intervals": "seasonal naive with intervals",
    "random_walk": "random walk",
    "quantile_regression": "quantile regression",
    "ets": "AutoETS",
    "theta": "AutoTheta",
    "arima": "AutoARIMA",
}
DEFAULT = (MODEL, "seasonal_naive", "seasonal_naive_with_intervals", "random_walk")

DESCRIPTION = """\
Evaluate forecasts at rolling origins in the last part of the series, each made without what comes
after its origin: the model and baselines side by side.
"""

EXAMPLES = f"""\
examples:
  wavediff backtest sales.csv --horizon 12
  wavediff backtest ETTh1.csv --horizon 24 --checkpoint runs/etth1 --models model,seasonal_naive,ets
  wavediff backtest --recipe m4_hourly data.root=data --checkpoint runs/m4_hourly --json

Models: {MODEL}, {", ".join(BASELINES)}.
ets, theta and arima need pip install 'wavediff[baselines]', and time. The model's own paths are
evaluated, neither calibrated nor replaced by seasonal naive where that is better; --fit-seconds
fine-tunes it on what precedes the test span. --recipe takes data, horizon, context and
test span from a recipe, whose settings may follow as KEY=VALUE. Baselines see the whole history
unless --history limits it. The three kinds of CRPS are relative to mean |y|; MASE is in units of
the seasonal naive error.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command and return the exit code."""
    arguments = parse(argv)
    if arguments.recipe is None:
        if len(arguments.source) != 1:
            raise UserError("give one file, or --recipe NAME")
        require_table(expanded(arguments.source[0]))
    require_model(arguments)

    from wavediff.series.backtest import table_text

    with interruptible():
        table = evaluate(arguments)
    print(json.dumps(table, indent=2) if arguments.json else table_text(table))
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser("backtest", DESCRIPTION, EXAMPLES)
    add = parser.add_option
    parser.add_argument(
        "source", nargs="*", metavar="DATA", help="a CSV or Parquet file, or settings of --recipe"
    )
    add("--recipe", str, "NAME", "data and protocol of a recipe for time series")
    add("--horizon", positive_int, "N", "time steps of a forecast")
    add(
        "--test",
        positive_float,
        "N",
        "the last steps of each item, or a share of it (default: 0.2, or the recipe's)",
    )
    add("--stride", positive_int, "N", "between origins (default: the horizon)")
    add("--history", positive_int, "N", "that baselines see (default: all)")
    add(
        "--models",
        models,
        "A,B",
        f"separated by commas (default: {','.join(DEFAULT)})",
        default=list(DEFAULT),
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_series(parser)
    return parser.parse_intermixed_args(argv)  # settings before and after options


def models(text: str) -> list[str]:
    """An argparse type: names of models separated by commas."""
    names = name_list(text)
    for name in names:
        if name != MODEL and name not in BASELINES:
            known = ", ".join(BASELINES)
            raise argparse.ArgumentTypeError(
                f"there is no model {name!r}; choose from model, {known}"
            )
    return names


def evaluate(arguments: argparse.Namespace) -> dict[str, Row]:
    """Return the metrics of each model."""

    import numpy as np

    from wavediff.data.configured import dataset_of, settings_of
    from wavediff.memory import keep_freed
    from wavediff.series import backtest as rolling
    from wavediff.series.baselines import FORECASTS
    from wavediff.series.forecaster import Forecaster
    from wavediff.series.settings import SERIES, recipe_config

    chosen = arguments.models
    options = series_options(arguments)
    horizon, test = arguments.horizon, arguments.test
    if arguments.recipe is None:
        source: Path | SeriesSet = expanded(arguments.source[0])
    else:
        config = recipe_config(arguments.recipe, arguments.source)
        values, settings = settings_of(config["data"], SERIES, "series")
        source = dataset_of(values)
        horizon, test = horizon or settings["horizon"], test or settings["test"]
    forecaster = Forecaster(horizon, **options).read(source)
    keep_freed()
    report(forecaster.notes)
    series = forecaster.series
    assert series is not None
    horizon = horizon or forecaster.default_horizon
    if not horizon:
        raise UserError("give --horizon, how many steps to forecast")
    lengths = [item.length for item in series.items]
    spans = [test_steps(test or 0.2, length, horizon) for length in lengths]
    origins = [
        rolling.rolling_origins(length, horizon, test=span, stride=arguments.stride)
        for length, span in zip(lengths, spans, strict=True)
    ]
    season = forecaster.season
    items = [item.values for item in series.items]
    windows = rolling.cut(items, horizon, origins, season, arguments.history)
    print(
        f"{len(windows)} window{'s' * (len(windows) > 1)} of {horizon} steps, season {season}, "
        f"{arguments.samples} samples",
        file=sys.stderr,
    )
    report([span_text(test, horizon, lengths, origins)])
    empty = sum(bool(np.isnan(window.target).all()) for window in windows)
    if empty == len(windows):
        raise UserError(
            "no window has values both before its origin and after it: give a longer --test, or "
            "more data"
        )
    if empty:
        print(
            f"{empty} of them have no value before or none after their origin, and do not count",
            file=sys.stderr,
        )
    table = {}
    if MODEL in chosen:
        training = forecaster.training_seconds
        if arguments.fit_seconds or arguments.fit_steps:
            began = time.perf_counter()
            told = len(forecaster.notes)
            forecaster.fit(series.until([own[0] for own in origins]))
            report(forecaster.notes[told:])
            forecaster.read(series)
            training = time.perf_counter() - began
        began = time.perf_counter()
        places = [(window.item, window.origin) for window in windows]
        row = rolling.evaluate(windows, forecaster.paths(places, horizon))
        table[MODEL] = {**row, "seconds": time.perf_counter() - began}
        if training is not None:
            table[MODEL]["training seconds"] = training
    baselines = [BASELINES[name] for name in chosen if name != MODEL]
    others = {name: FORECASTS[name] for name in baselines}
    with tqdm(total=len(windows) * len(others), desc="baselines", delay=1, leave=False) as bar:
        table |= rolling.backtest(
            items,
            others,
            arguments.history,
            horizon,
            origins,
            season=season,
            samples=arguments.samples,
            seed=arguments.seed,
            progress=lambda name, done, total: bar.update(),
        )
    return table


def span_text(
    test: float | None, horizon: int, lengths: Sequence[int], origins: Sequence[Sequence[int]]
) -> str:
    """Return a sentence about the steps that are forecast, where ``test`` asks for others too."""
    spans = [length - own[0] for length, own in zip(lengths, origins, strict=True)]
    rests = [length - own[-1] - horizon for length, own in zip(lengths, origins, strict=True)]
    text = f"test span: the last {_range(spans)} steps of each item"
    if test is not None and any(
        test_steps(test, length, 1) != span or (test >= 1 and test != span)
        for length, span in zip(lengths, spans, strict=True)
    ):
        text += f" (of --test {test:g}: whole steps, one window or more, after a step at least)"
    if any(rests):
        text += f"; the last {_range(rests)} of them are in no window of {horizon}"
    return text


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def test_steps(test: float, length: int, horizon: int) -> int:
    """Return the length of the test span, at least one horizon."""
    return max(int(test) if test >= 1 else round(test * length), horizon)


if __name__ == "__main__":
    sys.exit(run(main))
