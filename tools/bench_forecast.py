"""The forecaster beside classical methods, on series that it was never trained on.

    python tools/bench_forecast.py
    python tools/bench_forecast.py --data series/ --m4 data/m4 --ett data/ett/ETTh1.csv \\
        --exchange data/exchange_rate.txt.gz --fit-seconds 120 --json results.json

Series: those of the statsmodels package, every CSV file of --data (one column a series), M4-Hourly
(Hourly-train.csv and Hourly-test.csv, or M4-Hourly-*.csv), ETTh1 and exchange rates (one column a
series). The last --windows windows of each series are forecast, each from what precedes it, with
the horizons of the M4 competition: 6 years, 8 quarters, 18 months, 13 weeks, 14 days, 48 hours.

Methods: `default` is what `wavediff forecast` gives (compared with seasonal naive, calibrated),
`zero-shot` the model's own paths, `fine-tuned` the default after --fit-seconds on each collection.

Columns: relative wQL and MASE are geometric means over series of the loss over that of seasonal
naive; then the shares of targets inside the 50, 80 and 95 % intervals, the share of series that are
better than seasonal naive, the ratio of the worst series, the pooled CRPS (9 deciles), seconds.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas
import torch

from wavediff.errors import UserError
from wavediff.series.baselines import FORECASTS
from wavediff.series.forecaster import Forecaster
from wavediff.series.metrics import coverage, decile_losses, mae, weighted_quantile_loss
from wavediff.series.period import estimated, of_frequency
from wavediff.series.reading import read_series
from wavediff.series.series_set import SeriesSet

HORIZONS = {"YS": 6, "QS": 8, "MS": 18, "W": 13, "D": 14, "B": 14, "h": 48, "min": 48}
PLAIN = 24  # steps ahead where there is no calendar
SAMPLES, LONGEST = 100, 1500  # what classical methods see at most
CLASSICAL = ("AutoETS", "AutoTheta", "AutoARIMA")
INTERVALS = (0.5, 0.8, 0.95)


def collections(arguments: argparse.Namespace) -> Iterator[tuple[str, list[SeriesSet]]]:
    """(name, sets of one series each or more) of every collection that is there."""
    yield "statsmodels", statsmodels_series()
    if arguments.data:
        yield (
            "files",
            [series for path in sorted(arguments.data.glob("*.csv")) for series in table(path)],
        )
    if arguments.m4:
        yield "M4-Hourly", [m4_hourly(arguments.m4)]
    if arguments.ett:
        yield "ETTh1", [read_series(arguments.ett, progress=False)]
    if arguments.exchange:
        frame = pandas.read_csv(arguments.exchange, header=None)
        yield "exchange rates", [read_series(frame.to_numpy(float)[None], freq="B")]


def statsmodels_series() -> list[SeriesSet]:
    """The series of the package, one column each."""
    from statsmodels import datasets

    def monthly(values: np.ndarray, name: str) -> SeriesSet:
        stamps = pandas.date_range("1950-01-01", periods=len(values), freq="MS")
        return read_series(pandas.Series(values, stamps, name=name))

    years = datasets.sunspots.load_pandas().data
    nile = datasets.nile.load_pandas().data
    macro = datasets.macrodata.load_pandas().data
    quarters = pandas.date_range("1959-01-01", periods=len(macro), freq="QS")
    found = [
        read_series(datasets.co2.load_pandas().data["co2"]),
        monthly(datasets.elnino.load_pandas().data.iloc[:, 1:].to_numpy().ravel(), "elnino"),
    ]
    for name, frame, column in (("sunspots", years, "SUNACTIVITY"), ("nile", nile, "volume")):
        stamps = pandas.date_range("1700-01-01", periods=len(frame), freq="YS", unit="s")
        found.append(read_series(pandas.Series(frame[column].to_numpy(), stamps, name=name)))
    return found + [
        read_series(pandas.Series(macro[name].to_numpy(), quarters, name=name))
        for name in macro.columns[2:]
    ]


def table(path: Path) -> list[SeriesSet]:
    """The columns of a file; as plain arrays where it has no time column."""
    try:
        series = read_series(path, progress=False)
    except UserError:
        frame = pandas.read_csv(path).apply(pandas.to_numeric, errors="coerce")
        frame = frame.dropna(axis=1, thresh=20)
        series = read_series({f"{path.stem} {name}": frame[name] for name in frame})
    return [series]


def m4_hourly(folder: Path) -> SeriesSet:
    """The 414 series with their test values at the end."""
    parts = []
    for part in ("train", "test"):
        (path,) = [*folder.glob(f"*Hourly-{part}.csv")][:1]
        rows = pandas.read_csv(path, index_col=0).to_numpy(float)
        parts.append([row[~np.isnan(row)] for row in rows])
    stamps = {}
    frames = []
    for number, (past, future) in enumerate(zip(*parts, strict=True)):
        values = np.concatenate([past, future])
        if len(values) not in stamps:
            stamps[len(values)] = pandas.date_range("2020-01-01", periods=len(values), freq="h")
        frames.append(
            pandas.DataFrame(
                {"ds": stamps[len(values)], "unique_id": f"H{number + 1}", "y": values}
            )
        )
    return read_series(pandas.concat(frames, ignore_index=True), progress=False)


def horizon_of(series: SeriesSet) -> int:
    """Steps of a window."""
    if series.freq is None:
        return PLAIN
    unit = series.freq.lstrip("0123456789").partition("-")[0].replace("E", "S")
    return HORIZONS.get(unit, PLAIN)


class Scores:
    """Losses of each series by method, over windows."""

    def __init__(self) -> None:
        self.losses: dict[str, dict[str, list[tuple[float, float]]]] = {}
        self.inside: dict[str, list[list[float]]] = {}
        self.pooled: dict[str, list[tuple[float, float]]] = {}
        self.seconds: dict[str, float] = {}

    def add(self, method: str, names: list[str], samples: np.ndarray, target: np.ndarray) -> None:
        """``samples [S, series, horizon]`` of a window."""
        losses = decile_losses(samples, target)
        for k, name in enumerate(names):
            if np.isfinite(target[k]).any():
                pair = float(losses[k]), mae(samples[:, k], target[k])
                self.losses.setdefault(method, {}).setdefault(name, []).append(pair)
                inside = [coverage(samples[:, k], target[k], level) for level in INTERVALS]
                self.inside.setdefault(method, []).append(inside)
        level = float(np.nansum(np.abs(target)))
        crps = weighted_quantile_loss(samples, target)
        self.pooled.setdefault(method, []).append((crps * level, level))

    def rows(self) -> dict[str, dict[str, float]]:
        """The columns of the table by method."""
        naive = self.losses["seasonal naive"]
        found = {}
        for method, losses in self.losses.items():
            ratios = []
            for name, pairs in losses.items():
                one, other = np.array(pairs).sum(0), np.array(naive[name]).sum(0)
                ratios.append((one + 1e-12 * other + 1e-300) / (other + 1e-300))
            logs = np.log(np.array(ratios))
            total = np.array(self.pooled[method]).sum(0)
            found[method] = {
                "series": float(len(ratios)),
                "relative wQL": float(np.exp(logs[:, 0].mean())),
                "relative MASE": float(np.exp(logs[:, 1].mean())),
                **{
                    f"{100 * level:.0f} %": float(share)
                    for level, share in zip(INTERVALS, np.mean(self.inside[method], 0), strict=True)
                },
                "better": float((logs[:, 0] < 0).mean()),
                "worst": float(np.exp(logs[:, 0].max())),
                "CRPS": float(total[0] / total[1]),
                "seconds": self.seconds.get(method, 0.0),
            }
        return found


def evaluate(sets: list[SeriesSet], scores: Scores, arguments: argparse.Namespace) -> None:
    """Add the windows of a collection to ``scores``."""
    for series in sets:
        horizon = arguments.horizon or horizon_of(series)
        tuned: Forecaster | None = None
        for window in reversed(range(arguments.windows)):
            ends = [item.length - window * horizon for item in series.items]
            if min(ends) < horizon + 8:
                continue
            past = series.until([end - horizon for end in ends])
            target = np.stack(
                [
                    row[end - horizon : end]
                    for item, end in zip(series.items, ends, strict=True)
                    for row in item.values
                ]
            )
            names = [
                f"{item.name} {variable}" for item in series.items for variable in series.variables
            ]
            options = {"samples": SAMPLES, "seed": arguments.seed, "progress": False}
            forecaster = Forecaster(checkpoint=arguments.checkpoint, **options).read(past)
            made: dict[str, Callable[[], np.ndarray]] = {
                "default": partial(_default, forecaster, horizon),
                "zero-shot": partial(_own, forecaster, past, horizon),
            }
            if arguments.fit_seconds:
                if tuned is None:
                    began = time.perf_counter()
                    tuned = Forecaster(
                        horizon,
                        checkpoint=arguments.checkpoint,
                        seconds=arguments.fit_seconds,
                        **options,
                    ).fit(past)
                    print(f"{names[0]}: {tuned.notes[-1]}", file=sys.stderr)
                    _count(scores, "fine-tuned", began)
                made["fine-tuned"] = partial(_default, tuned.read(past), horizon)
            made |= _classical(past, horizon, arguments)
            for method, forecast in made.items():
                began = time.perf_counter()
                samples = forecast()
                _count(scores, method, began)
                scores.add(method, names, samples, target)


def _default(forecaster: Forecaster, horizon: int) -> np.ndarray:
    """What a user gets, ``[samples, series, horizon]``."""
    samples = np.moveaxis(forecaster.sample(horizon=horizon), 3, 2)
    return samples.reshape(len(samples), -1, horizon)


def _own(forecaster: Forecaster, past: SeriesSet, horizon: int) -> np.ndarray:
    """The model's own paths, ``[samples, series, horizon]``."""
    ends = [(number, item.length) for number, item in enumerate(past.items)]
    return np.concatenate(list(forecaster.paths(ends, horizon)), axis=1)


def _classical(
    past: SeriesSet, horizon: int, arguments: argparse.Namespace
) -> dict[str, Callable[[], np.ndarray]]:
    rows = [row for item in past.items for row in item.values]
    season = estimated(rows) if past.freq is None else of_frequency(past.freq).short

    def forecasts(name: str) -> np.ndarray:
        count = 1 if name == "seasonal naive" else SAMPLES
        found = []
        for row in rows:
            row = row[int(np.argmax(~np.isnan(row))) :][-LONGEST:]
            m = season if name == "seasonal naive" or season <= arguments.longest_season else 1
            found.append(FORECASTS[name](row[None], horizon, m, count, arguments.seed)[:, 0])
        return np.stack(found, axis=1)

    return {name: partial(forecasts, name) for name in ("seasonal naive", *arguments.methods)}


def _count(scores: Scores, method: str, began: float) -> None:
    scores.seconds[method] = scores.seconds.get(method, 0.0) + time.perf_counter() - began


def text(rows: dict[str, dict[str, float]]) -> str:
    frame = pandas.DataFrame(rows).T
    return frame.to_string(float_format=lambda x: f"{x:.3f}" if x < 100 else f"{x:.0f}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("data", "m4", "ett", "exchange", "json"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--checkpoint", default="forecaster")
    parser.add_argument("--methods", default="AutoETS,AutoTheta", help=f"of {', '.join(CLASSICAL)}")
    parser.add_argument("--windows", type=int, default=1)
    parser.add_argument("--horizon", type=int, help="instead of the M4 competition's")
    parser.add_argument("--fit-seconds", type=float)
    parser.add_argument("--longest-season", type=int, default=24, help="of classical methods")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    arguments.methods = [name for name in arguments.methods.split(",") if name]
    torch.set_num_threads(arguments.threads)
    found, together = {}, Scores()
    for name, sets in collections(arguments):
        scores = Scores()
        evaluate(sets, scores, arguments)
        found[name] = scores.rows()
        print(f"{name}\n{text(found[name])}\n", flush=True)
        if name in ("statsmodels", "files"):
            for method, losses in scores.losses.items():
                together.losses.setdefault(method, {}).update(losses)
                together.inside.setdefault(method, []).extend(scores.inside[method])
                together.pooled.setdefault(method, []).extend(scores.pooled[method])
                together.seconds[method] = (
                    together.seconds.get(method, 0.0) + scores.seconds[method]
                )
    if "files" in found:
        found["statsmodels and files"] = together.rows()
        print(f"statsmodels and files\n{text(found['statsmodels and files'])}\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
