"""The figure of a listening test."""

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from wavediff.evaluation.listening.analysis import Analysis
from wavediff.evaluation.listening.plan import CHOICES, SCALES

COLOUR = "#1f6fb2"
WORDS = {"mushra": ["bad", "poor", "fair", "good", "excellent"]}


def draw(analysis: Analysis) -> bytes:
    """Return a PNG: each listener's means with the mean and its interval, or shares of choices."""
    choices = analysis.plan.method in CHOICES
    rows = len(analysis.comparisons if choices else analysis.conditions)
    figure = Figure(figsize=(7.2, 1.4 + 0.5 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    labels = _draw_choices(axes, analysis) if choices else _draw_ratings(axes, analysis)
    axes.set_yticks(range(rows), labels)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.4)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120)
    return drawn.getvalue()


def _draw_ratings(axes: Axes, analysis: Analysis) -> list[str]:
    """One row per condition."""
    rng = np.random.default_rng(0)
    for row, condition in enumerate(analysis.conditions):
        values = list(condition.by_listener.values())
        spread = row + rng.uniform(-0.18, 0.18, len(values))
        axes.plot(values, spread, "o", color="grey", alpha=0.5, markersize=4, markeredgewidth=0)
        _draw_interval(axes, row, condition.summary.mean, condition.summary.low)
    low, high = SCALES[analysis.plan.method]
    margin = 0.02 * (high - low)
    axes.set_xlim(low - margin, high + margin)
    words = WORDS.get(analysis.plan.method)
    axes.set_xlabel("mean rating and 95 % interval; dots are listeners")
    if words:
        top = axes.secondary_xaxis("top")
        top.set_xticks([10, 30, 50, 70, 90], words)
        top.tick_params(length=0)
        top.spines["top"].set_visible(False)
    return [_plain(condition.name) for condition in analysis.conditions]


def _draw_choices(axes: Axes, analysis: Analysis) -> list[str]:
    """One row per comparison."""
    for row, comparison in enumerate(analysis.comparisons):
        low, high = comparison.low, comparison.high
        error = None
        if low is not None and high is not None:
            share = comparison.estimate
            error = 100 * np.array([[share - low], [high - share]])
        axes.errorbar(100 * comparison.estimate, row, xerr=error, fmt="D", color=COLOUR, capsize=4)
    axes.axvline(50, color="black", lw=1, ls="--")
    axes.set_xlim(-2, 102)
    right = analysis.plan.method == "abx"
    what = "right answers in %" if right else "choices for the first in %"
    axes.set_xlabel(f"{what}, and 95 % interval; dashed: guessing")
    return [_plain(f"{c.a} - {c.b}") for c in analysis.comparisons]


def _draw_interval(axes: Axes, row: int, mean: float | None, low: float | None) -> None:
    if mean is None:
        return
    error = None if low is None else mean - low
    axes.errorbar(mean, row, xerr=error, fmt="D", color=COLOUR, capsize=4)


def _plain(text: str) -> str:
    """A text in which matplotlib finds no formula."""
    return text.replace("$", r"\$")
