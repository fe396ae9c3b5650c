"""Rolling backtests: forecasts from many origins in the test span, compared with the data.

A window is one item and one origin, the index of the first step to forecast: a model sees the steps
before the origin and nothing after. ``evaluate`` scores any forecasts of windows, ``backtest``
those of models that forecast one history at a time (``wavediff.series.baselines``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from wavediff.errors import UserError
from wavediff.series.baselines import Forecast
from wavediff.series.metrics import combined, seasonal_error, sums

Row = dict[str, float]
ERRORS = ("CRPS", "MAE", "RMSE", "MASE")  # metrics of which the least is the best
Progress = Callable[[str, int, int], None]  # the model's name, windows done, windows in all


@dataclass(frozen=True)
class Window:
    """The history that a model sees, and the target.

    Attributes:
        item: the number of the item.
        origin: index into it of the first step to forecast.
        history: ``[V, <= context]``, the steps before the origin, NaN where missing.
        target: ``[V, horizon]``, NaN where missing, and of a variable without a known past.
        scale: ``[V]``, the seasonal error of all steps before the origin, for MASE.
    """

    item: int
    origin: int
    history: np.ndarray
    target: np.ndarray
    scale: np.ndarray


def rolling_origins(
    length: int,
    horizon: int,
    *,
    windows: int | None = None,
    test: int | float | None = None,
    stride: int | None = None,
) -> list[int]:
    """Origins of the windows of one item, in order of time.

    Args:
        length: steps of the item.
        horizon: steps that are forecast from each origin; all lie inside the item.
        windows: number of windows, the last one ending with the item (GluonTS's rolling split).
            One where neither this nor ``test`` is given.
        test: instead, all windows inside the last ``test`` steps (an int) or the last share of
            steps (a float in (0, 1]), from the beginning of that span on. A rest that is shorter
            than a horizon is not used.
        stride: steps between origins, the horizon by default, so that windows do not overlap.

    Raises:
        UserError: where the item is too short for the windows and one step before them.
        ValueError: for numbers out of range.
    """
    stride = horizon if stride is None else stride
    if horizon < 1 or stride < 1 or (windows is not None and windows < 1):
        raise ValueError("horizon, stride and windows are at least 1")
    if windows is not None and test is not None:
        raise ValueError("give windows or test, not both")
    if test is None:
        n = windows or 1
        found = [length - horizon - stride * k for k in reversed(range(n))]
        wanted = f"{n} test window{'s' * (n > 1)} of {horizon} steps"
    else:
        if isinstance(test, float):
            if not 0 < test <= 1:
                raise ValueError(f"a share of the steps lies in (0, 1], not {test}")
            start = length - round(length * test)
        else:
            start = length - test
        found = list(range(max(start, 1), length - horizon + 1, stride))
        wanted = f"a test span of {length - start} steps with windows of {horizon}"
    if not found or found[0] < 1:
        raise UserError(
            f"a series of {length} steps has no room for {wanted} and a step before them: "
            "take a shorter horizon or fewer windows"
        )
    return found


def cut(
    items: Sequence[np.ndarray],
    horizon: int,
    origins: Sequence[Sequence[int]],
    season: int,
    context: int | None = None,
) -> list[Window]:
    """The windows of items at their origins.

    Args:
        items: ``[V, T]`` each; T may differ.
        horizon: steps of a forecast.
        origins: of each item.
        season: in steps, for MASE.
        context: steps of history that a model sees at most; all of them where None.

    Raises:
        ValueError: for an origin with nothing before it or without a whole horizon after it.
    """
    found = []
    for i, (values, starts) in enumerate(zip(items, origins, strict=True)):
        values = np.asarray(values, dtype=np.float64)
        for origin in starts:
            if not 1 <= origin <= values.shape[1] - horizon:
                raise ValueError(
                    f"origin {origin} of item {i} needs a step before it and {horizon} from it "
                    f"on, of {values.shape[1]}"
                )
            first = 0 if context is None else max(origin - context, 0)
            scale = seasonal_error(values[:, :origin], season)
            history = values[:, first:origin]
            known = ~np.isnan(history).all(1, keepdims=True)
            target = np.where(known, values[:, origin : origin + horizon], np.nan)
            found.append(Window(i, origin, history, target, scale))
    return found


def evaluate(windows: Iterable[Window], forecasts: Iterable[np.ndarray]) -> Row:
    """All metrics of forecasts, over all windows.

    Args:
        windows: to forecast.
        forecasts: ``[S, V, horizon]`` of each window; of a generator only one is held at a time.

    Raises:
        ValueError: for a forecast of another shape, or not finite where there is a target, or
            another number of forecasts than of windows.
    """
    return combined(
        sums(samples, window.target, window.scale)
        for window, samples in zip(windows, forecasts, strict=True)
    )


def backtest(
    items: Sequence[np.ndarray],
    models: Mapping[str, Forecast],
    context: int | None,
    horizon: int,
    origins: Sequence[Sequence[int]],
    *,
    season: int,
    samples: int = 100,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Row]:
    """Compare models on the same windows: name -> metric -> value.

    Args:
        items: each ``[V, T]`` with NaN where missing; T may differ, V may not.
        models: forecast functions by name. Each window has its own seed, a function of ``seed``,
            the item and the origin.
        context: steps of history that a model sees at most; all of them where None.
        horizon: steps of a forecast.
        origins: of each item (``rolling_origins``).
        season: in steps, for the models and for MASE.
        samples: paths of each forecast.
        seed: of the samples.
        progress: called after every forecast.

    Returns:
        The metrics of ``wavediff.series.metrics.combined`` and ``seconds``, the time that the
        forecasts took.
    """
    windows = cut(items, horizon, origins, season, context)
    table = {}
    for name, model in models.items():
        seconds = [0.0]

        def forecasts(
            name: str = name, model: Forecast = model, seconds: list[float] = seconds
        ) -> Iterator[np.ndarray]:
            for done, window in enumerate(windows, 1):
                own = np.random.SeedSequence([seed, window.item, window.origin])
                start = time.perf_counter()
                yield model(window.history, horizon, season, samples, int(own.generate_state(1)[0]))
                seconds[0] += time.perf_counter() - start
                if progress is not None:
                    progress(name, done, len(windows))

        table[name] = {**evaluate(windows, forecasts()), "seconds": seconds[0]}
    return table


def table_text(table: Mapping[str, Mapping[str, float]]) -> str:
    """The table as text: a row for each metric, a column for each model; a star marks the least
    error."""
    frame = pd.DataFrame({name: pd.Series(dict(row)) for name, row in table.items()})
    found = dict.fromkeys(metric for row in table.values() for metric in row)
    order = sorted(found, key=("points", "seconds").__contains__)  # these last
    cells = frame.loc[order].map(_cell)
    for metric in order:
        if metric.startswith(ERRORS) and frame.loc[metric].notna().sum() > 1:
            cells.loc[metric, frame.loc[metric].idxmin()] += " *"
    for metric in [name for name in order if name.startswith("coverage")]:
        cells.loc[metric] = [
            "-" if pd.isna(value) else f"{100 * value:.3g} %" for value in frame.loc[metric]
        ]
    starred = cells.apply(lambda column: column.str.endswith("*").any())
    for name in cells.columns[starred]:  # numbers below each other
        cells[name] = [cell if cell.endswith("*") else f"{cell}  " for cell in cells[name]]
    return cells.to_string()


def _cell(value: float) -> str:
    """Four digits, without an exponent where that is short."""
    if pd.isna(value):
        return "-"
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"
