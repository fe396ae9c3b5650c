"""Plots of forecasts: the history and a fan chart of quantiles."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from wavediff.files import atomic_path
from wavediff.series.metrics import quantiles
from wavediff.series.series_set import SeriesSet

PANELS = 8
# intervals of 95, 80 and 50 %, drawn in this order
FANS = {(0.025, 0.975): "#d3e3f1", (0.1, 0.9): "#a6c8e4", (0.25, 0.75): "#6fa6d2"}


def write_plot(series: SeriesSet, samples: np.ndarray, path: Path) -> None:
    """Plot the first ``PANELS`` variables of items with central intervals of 50, 80 and 95 %.

    Args:
        series: the history.
        samples: ``[S, items, V, horizon]``, the forecast.
        path: of the picture; PNG, PDF or SVG by its name.
    """
    horizon = samples.shape[-1]
    panels = [
        (number, variable)
        for number in range(len(series))
        for variable in range(len(series.variables))
    ][:PANELS]
    figure = Figure(figsize=(9, 1 + 2.4 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (number, v) in enumerate(panels, 1):
        axes = figure.add_subplot(len(panels), 1, place)
        item = series.items[number]
        first = max(0, item.length - max(6 * horizon, 60))
        axes.plot(_axis(series, number, first, item.length), item.values[v, first:], color="black")
        ahead = _axis(series, number, item.length, item.length + horizon)
        for (low, high), colour in FANS.items():
            bounds = quantiles(samples[:, number, v], [low, high])
            label = f"{100 * (high - low):.0f} %"
            axes.fill_between(ahead, *bounds, color=colour, lw=0, label=label)
        (median,) = quantiles(samples[:, number, v], [0.5])
        axes.plot(ahead, median, color="#1f4e79", label="median")
        axes.set_title(_title(series, number, v), loc="left")
        axes.margins(x=0)
        if place == 1:
            axes.legend(loc="upper left", frameon=False, ncols=4)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _axis(series: SeriesSet, number: int, start: int, stop: int) -> Sequence[Any]:
    times = series.times(number, start, stop)
    return times if series.freq is None else times.tz_localize(None).to_numpy()


def _title(series: SeriesSet, number: int, v: int) -> str:
    name = series.variables[v]
    return f"{series.items[number].name}: {name}" if len(series) > 1 else name
