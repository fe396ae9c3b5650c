"""The figure of tools/compare.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib
from compare_methods import METHODS, Run

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

COLOURS = dict(zip(METHODS, plt.get_cmap("tab20").colors, strict=False))


def draw(
    path: Path,
    lines: Mapping[tuple[str, str], Mapping[int, float]],
    rows: Mapping[Run, dict],
    floor: float,
) -> None:
    """Draw distances against network calls, and coverage of the seeds and shares of the notes.

    Args:
        path: of the PNG file.
        lines: distances by network calls, for each method and sampler.
        rows: of each run, by which it is compared.
        floor: the distance of other held-out notes.
    """
    figure, axes = plt.subplot_mosaic("aab;aac", figsize=(13, 6.5), layout="constrained")
    _by_calls(axes["a"], lines, floor)
    _by_seed(axes["b"], rows)
    _by_share(axes["c"], rows)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _by_calls(
    axis: Axes, lines: Mapping[tuple[str, str], Mapping[int, float]], floor: float
) -> None:
    own: dict[str, str] = {}
    for (method, sampler), points in lines.items():
        style = "-" if own.setdefault(method, sampler) == sampler else "--"
        axis.plot(
            list(points), list(points.values()), style, marker="o", markersize=4,
            color=COLOURS[method], label=f"{METHODS[method].label} ({sampler})",
        )  # fmt: skip
    axis.axhline(floor, color="black", linewidth=0.8, linestyle=":", label="other held-out notes")
    axis.set(xscale="log", yscale="log", xlabel="network calls", ylabel="Frechet distance")
    top = 3 * max(min(points.values()) for points in lines.values())
    axis.set_ylim(floor / 2, max(top, 10 * floor))
    ticks = sorted({calls for points in lines.values() for calls in points})
    axis.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
    axis.minorticks_off()
    axis.legend(fontsize=8)
    axis.grid(alpha=0.3)


def _by_seed(axis: Axes, rows: Mapping[Run, dict]) -> None:
    """A point for each seed."""
    names = [name for name in METHODS if Run(name) in rows]
    for place, name in enumerate(names):
        values = [
            row["frechet"] for run, row in rows.items() if (run.method, run.share) == (name, 1)
        ]
        axis.plot(values, [place] * len(values), "o", color=COLOURS[name], alpha=0.7)
    axis.set(xscale="log", xlabel="Frechet distance, each seed")
    axis.set_yticks(range(len(names)), [METHODS[name].label for name in names], fontsize=8)
    axis.invert_yaxis()
    axis.grid(alpha=0.3)


def _by_share(axis: Axes, rows: Mapping[Run, dict]) -> None:
    """A line over the shares of the notes."""
    for name in METHODS:
        runs = sorted((run for run in rows if (run.method, run.seed) == (name, 0)),
                      key=lambda run: run.share)  # fmt: skip
        if len(runs) > 1:
            shares = [100 * run.share for run in runs]
            values = [rows[run]["frechet"] for run in runs]
            axis.plot(shares, values, "o-", color=COLOURS[name], label=METHODS[name].label)
    axis.set(xscale="log", yscale="log", xlabel="% of the notes", ylabel="Frechet distance")
    axis.grid(alpha=0.3)
    if axis.lines:
        ticks = sorted({100 * run.share for run in rows})
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
        axis.minorticks_off()
        axis.legend(fontsize=8)
