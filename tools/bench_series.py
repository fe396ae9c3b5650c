"""Time of a forecast, and its accuracy against network calls.

    python tools/bench_series.py --threads 2
    python tools/bench_series.py --recipe m4_hourly data.root=data --checkpoint runs/m4_hourly \\
        --calls 4,10,50,100 --windows 50

Without a checkpoint: median time of five forecasts of 100 paths, 24 steps and 8 hourly variables,
by the bundled forecaster, already loaded.
With a checkpoint: a line per number of network calls, over windows of the recipe's test span, those
of the largest series, which have the most weight in the pooled metrics.
"""

import argparse
import statistics
import sys
import time

import numpy as np
import pandas
import torch

from wavediff.cli import run
from wavediff.commands.arguments import positive_int
from wavediff.data.configured import dataset_of, settings_of
from wavediff.errors import UserError
from wavediff.series import backtest as rolling
from wavediff.series.forecaster import Forecaster
from wavediff.series.metrics import combined, sums
from wavediff.series.settings import SERIES, recipe_config

PATHS, HORIZON, VARIABLES, STEPS, REPEATS = 100, 24, 8, 500, 5
SHOWN = ("CRPS (9 deciles)", "coverage 50 %", "coverage 80 %", "coverage 95 %")


def seconds_of_a_forecast() -> float:
    """Median seconds of a forecast by the default model of a synthetic table."""
    index = pandas.date_range("2024-01-01", periods=STEPS, freq="h", name="time")
    values = np.random.default_rng(0).standard_normal((STEPS, VARIABLES)).cumsum(0)
    frame = pandas.DataFrame(values, index, [f"v{k}" for k in range(VARIABLES)]).reset_index()
    forecaster = Forecaster(HORIZON, samples=PATHS, assess=False, progress=False).read(frame)
    forecaster.sample()
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        forecaster.sample()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def calls_table(arguments: argparse.Namespace) -> None:
    """Print a line of metrics for each number of network calls."""
    config = recipe_config(arguments.recipe, arguments.settings)
    values, settings = settings_of(config["data"], SERIES, "series")
    series, horizon = dataset_of(values), settings["horizon"]
    origins = [
        rolling.rolling_origins(item.length, horizon, test=settings["test"])
        for item in series.items
    ]
    items = [item.values for item in series.items]
    windows = rolling.cut(items, horizon, origins, season=1)
    windows.sort(key=lambda window: -np.nansum(np.abs(window.target)))
    windows = windows[: arguments.windows]
    places = [(window.item, window.origin) for window in windows]
    print(f"{len(windows)} windows of {horizon} steps, {PATHS} samples, seed {arguments.seed}")
    print("calls, seconds, " + ", ".join(SHOWN))
    for calls in arguments.calls:
        forecaster = Forecaster(
            checkpoint=arguments.checkpoint, samples=PATHS, steps=calls, seed=arguments.seed
        ).read(series)
        began = time.perf_counter()
        paths = list(forecaster.paths(places, horizon))
        seconds = time.perf_counter() - began
        row = combined([sums(x, w.target) for x, w in zip(paths, windows, strict=True)])
        shown = ", ".join(f"{row[name]:.4f}" for name in SHOWN)
        print(f"{calls}, {seconds:.1f}, {shown}", flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="overrides of the recipe")
    parser.add_argument("--recipe", help="with the data and the test span")
    parser.add_argument("--checkpoint", help="a run folder or a file")
    parser.add_argument(
        "--calls",
        type=lambda text: [positive_int(part) for part in text.split(",")],
        default=[4, 10, 50, 100],
    )
    parser.add_argument("--windows", type=positive_int, default=50)
    parser.add_argument("--threads", type=positive_int)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    if (arguments.recipe is None) != (arguments.checkpoint is None):
        raise UserError("--recipe and --checkpoint need each other: give both or none")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.recipe is None:
        print(
            f"{PATHS} paths of {HORIZON} steps, {VARIABLES} variables, "
            f"{torch.get_num_threads()} threads: {seconds_of_a_forecast():.2f} s"
        )
    else:
        calls_table(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
