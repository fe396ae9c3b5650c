"""`wavediff backtest`: forecasts from many origins of a test span, beside simple ones."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from wavediff.cli import run
from wavediff.commands.arguments import (
    Parser,
    add_sampling,
    add_series,
    ended_by_sigterm,
    names,
    positive,
    series_options,
    tell_fitting,
)
from wavediff.data.configured import dataset_of, settings_of
from wavediff.errors import UserError
from wavediff.memory import keep_freed
from wavediff.series import backtest as rolling
from wavediff.series import calendar
from wavediff.series.baselines import FORECASTS
from wavediff.series.fitting import recipe_config
from wavediff.series.forecaster import Forecaster
from wavediff.series.series_set import SeriesSet
from wavediff.series.settings import SERIES
from wavediff.tasks.sampler import sampler_names

MODEL = "model"
SHORT = {name.lower().replace(" ", "_"): name for name in FORECASTS}
SHORT |= {"ets": "AutoETS", "theta": "AutoTheta", "arima": "AutoARIMA"}
DEFAULT = (MODEL, "seasonal_naive", "seasonal_naive_with_intervals", "random_walk")

DESCRIPTION = """\
Forecast from one origin after the other in the last part of the series, with nothing that comes
later in sight, and measure the forecasts against what came: the model and simple ones side by side.
"""

EXAMPLES = f"""\
examples:
  wavediff backtest sales.csv --horizon 12
  wavediff backtest ETTh1.csv --horizon 24 --checkpoint runs/etth1 --models model,seasonal_naive,ets
  wavediff backtest --recipe m4_hourly data.root=data --checkpoint runs/m4_hourly --json

Models: {MODEL}, {", ".join(SHORT)}. Those of ets, theta and arima need
pip install 'wavediff[baselines]' and time. Without --checkpoint a small model is trained first, on
what lies before the test span. --recipe takes data, horizon, context and test span from a recipe,
whose settings may follow as KEY=VALUE. Baselines see all of the history unless --history limits it.
The three kinds of CRPS are relative to mean |y|; MASE is in seasonal errors.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command and return the exit code."""
    arguments = parse(argv)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    chosen = models(arguments.models)
    with ended_by_sigterm():
        table = judged(arguments, chosen)
    if arguments.json:
        print(json.dumps(table, indent=2))
    else:
        print(rolling.table_text(table))
    return 0


def judged(arguments: argparse.Namespace, chosen: Sequence[str]) -> dict[str, rolling.Row]:
    """The measures of each model."""
    options = series_options(arguments)
    horizon, test, fitting = arguments.horizon, arguments.test, {}
    if arguments.recipe is None:
        if len(arguments.source) != 1:
            raise UserError("give one file, or --recipe NAME")
        source: Path | SeriesSet = Path(arguments.source[0])
    else:
        config = recipe_config(arguments.recipe, arguments.source)
        values, settings = settings_of(config["data"], SERIES, "series")
        source = dataset_of(values)
        horizon, test = horizon or settings["horizon"], test or settings["test"]
        for name in ("context", "multivariate"):
            options[name] = settings[name] if options[name] is None else options[name]
        fitting["config"] = config
    forecaster = Forecaster(horizon, **options).read(source)
    keep_freed()
    print(*forecaster.notes, sep="\n", file=sys.stderr)
    series = forecaster.series
    horizon = horizon or (forecaster.model.horizon if forecaster.model else None)
    if not horizon:
        raise UserError("say by --horizon how many steps to forecast")
    lengths = [item.length for item in series.items]
    spans = [whole(test or 0.2, length, horizon) for length in lengths]
    origins = [
        rolling.rolling_origins(length, horizon, test=span, stride=arguments.stride)
        for length, span in zip(lengths, spans, strict=True)
    ]
    season = calendar.season(series.freq)
    items = [item.values for item in series.items]
    windows = rolling.cut(items, horizon, origins, season, arguments.history)
    print(
        f"{len(windows)} window{'s' * (len(windows) > 1)} of {horizon} steps, season {season}, "
        f"{arguments.samples} samples",
        file=sys.stderr,
    )
    table = {}
    if MODEL in chosen:
        training = float(forecaster.model.extra.get("seconds", np.nan)) if forecaster.model else 0.0
        if forecaster.model is None:
            tell_fitting(arguments, "what lies before the test span")
            began = time.perf_counter()
            forecaster.fit(series, stops=[own[0] for own in origins], **fitting)
            training = time.perf_counter() - began
        began = time.perf_counter()
        places = [(window.item, window.origin) for window in windows]
        row = rolling.evaluate(windows, forecaster.paths(places, horizon))
        table[MODEL] = {**row, "seconds": time.perf_counter() - began}
        table[MODEL]["training seconds"] = training
    others = {SHORT[name]: FORECASTS[SHORT[name]] for name in chosen if name != MODEL}
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


def whole(test: float, length: int, horizon: int) -> int:
    """The test span in steps, one horizon at least."""
    return max(int(test) if test >= 1 else round(test * length), horizon)


def models(chosen: Sequence[str]) -> list[str]:
    """Their names, checked. Raises UserError for one that does not exist."""
    for name in chosen:
        if name != MODEL and name not in SHORT:
            raise UserError(f"there is no model {name!r}; choose from {MODEL}, {', '.join(SHORT)}")
    return list(dict.fromkeys(chosen))


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(
        prog="wavediff backtest",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add("source", nargs="*", metavar="DATA", help="a CSV or Parquet file, or settings of --recipe")
    add("--recipe", metavar="NAME", help="data and protocol of a recipe for series")
    add("--horizon", type=positive, metavar="N", help="steps of a forecast")
    add(
        "--test",
        type=float,
        metavar="N",
        help="the last steps of each item, or a part of it (default: 0.2, or the recipe's)",
    )
    add("--stride", type=positive, metavar="N", help="between origins (default: the horizon)")
    add("--history", type=positive, metavar="N", help="steps that baselines see (default: all)")
    add(
        "--models",
        type=names,
        default=list(DEFAULT),
        metavar="A,B",
        help=f"between commas (default: {','.join(DEFAULT)})",
    )
    add("--json", action="store_true", help="as JSON")
    add_series(parser)
    add_sampling(parser, sampler_names())
    return parser.parse_intermixed_args(argv)  # settings before and after options


if __name__ == "__main__":
    sys.exit(run(main))
