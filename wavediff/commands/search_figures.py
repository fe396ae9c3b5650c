"""The figures of `wavediff search`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

from wavediff.commands.search_setting import Setting, last_standing
from wavediff.commands.search_space import Parameter, Range
from wavediff.files import atomic_path

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

CURVES, IMPORTANCE, PARALLEL = ("curves.png", "importance.png", "parallel.png")


def draw(study: Study, setting: Setting, trials: Sequence[FrozenTrial]) -> dict[str, str]:
    """Draw the figures that the trials suffice for. Returns their titles by file."""
    done = [trial for trial in trials if trial.state.name == "COMPLETE"]
    matplotlib.use("Agg")
    drawn = {}
    if any(last_standing(trial) for trial in trials):
        _save(setting.folder / CURVES, _curves(setting, trials))
        drawn[CURVES] = f"{setting.label} against training time"
    varied = [
        p.name for p in setting.space.parameters
        if len({t.params[p.name] for t in done if p.name in t.params}) > 1
    ]  # fmt: skip
    full = [trial for trial in done if trial.params]
    if setting.space.listed or len(full) < 2 or not varied:
        return drawn
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if len({trial.value for trial in full}) > 1:
            _save(setting.folder / IMPORTANCE, _importance(study, setting, varied))
            drawn[IMPORTANCE] = "Importance of the parameters (fANOVA, finished trials)"
        _save(setting.folder / PARALLEL, _parallel(setting, trials))
        drawn[PARALLEL] = "Settings of the trials, and their results"
    return drawn


def _curves(setting: Setting, trials: Sequence[FrozenTrial]) -> Any:
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(9, 5), layout="constrained")
    colours = plt.get_cmap("tab20")
    for number, trial in enumerate(trials):
        points = trial.user_attrs.get("standings") or []
        pruned = trial.state.name == "PRUNED"
        axis.plot(
            [point["seconds"] / 60 for point in points], [point["score"] for point in points],
            marker="so^vDPX"[number // 20 % 7], markersize=4, color=colours(number % 20),
            label=trial.user_attrs["place"], alpha=0.5 if pruned else 1.0,
        )  # fmt: skip
    axis.set(xlabel="minutes of training", ylabel=setting.label, xlim=(0, None))
    axis.grid(alpha=0.3)
    if len(trials) <= 40:
        figure.legend(loc="outside right upper", fontsize=7, ncols=1 + len(trials) // 21)
    return figure


def _importance(study: Study, setting: Setting, varied: Sequence[str]) -> Any:
    from matplotlib import pyplot as plt
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    shares = get_param_importances(
        study, evaluator=FanovaImportanceEvaluator(seed=0), params=list(varied)
    )
    figure, axis = plt.subplots(figsize=(7, 1 + 0.4 * len(shares)), layout="constrained")
    names = list(shares)[::-1]
    bars = axis.barh(names, [shares[name] for name in names])
    axis.bar_label(bars, fmt="%.2f", padding=3)
    axis.set(xlabel=f"share of the variance of {setting.label}", xlim=(0, 1.1))
    return figure


def _parallel(setting: Setting, trials: Sequence[FrozenTrial]) -> Any:
    """A line per trial, finished ones coloured by the metric, and an axis per parameter."""
    import numpy as np
    from matplotlib import pyplot as plt

    parameters = setting.space.parameters
    done = [trial for trial in trials if trial.state.name == "COMPLETE" and trial.params]
    others = [trial for trial in trials if trial.state.name == "PRUNED" and trial.params]
    scores: dict[int, float] = {trial.number: trial.values[0] for trial in done}
    norm = plt.Normalize(min(scores.values()), max(scores.values()))
    colours = plt.get_cmap("viridis" if setting.higher else "viridis_r")
    figure, axis = plt.subplots(figsize=(3 + 1.8 * len(parameters), 5), layout="constrained")
    columns = range(len(parameters) + 1)
    ranked = sorted(
        done, key=lambda t: scores[t.number], reverse=not setting.higher
    )  # the best on top
    for trial in [*others, *ranked]:
        finished = trial.state.name == "COMPLETE"
        places = [_place(parameter, trial.params[parameter.name]) for parameter in parameters]
        end = norm(scores[trial.number]) if finished else np.nan
        colour = colours(norm(scores[trial.number])) if finished else "0.8"
        axis.plot(columns, [*places, end], color=colour, linewidth=1.8 if finished else 0.8)
    for column, parameter in enumerate(parameters):
        values = _marked(parameter)
        axis.axvline(column, color="black", linewidth=0.8)
        for value in values:
            box = {"facecolor": "white", "alpha": 0.7, "pad": 1, "linewidth": 0}
            text = f"{value:.3g}" if isinstance(value, float) else str(value)
            axis.annotate(text, (column, _place(parameter, value)), (4, 0), va="center", fontsize=8,
                          textcoords="offset points", bbox=box)  # fmt: skip
    axis.set_xticks(columns, [*(parameter.name for parameter in parameters), setting.label])
    axis.set(yticks=[], xlim=(-0.1, len(parameters)), title="grey: pruned")
    figure.colorbar(plt.cm.ScalarMappable(norm, colours), ax=axis, label=setting.label, pad=0.01)
    return figure


def _place(parameter: Parameter, value: Any) -> float:
    """Where a value lies on the axis of its parameter, 0 to 1."""
    if isinstance(parameter, Range):
        low, high, at = (
            math.log(x) if parameter.log else x for x in (parameter.low, parameter.high, value)
        )
        return (at - low) / (high - low)
    names = parameter.values()
    return names.index(value) / (len(names) - 1) if value in names else math.nan


def _marked(parameter: Parameter) -> list[Any]:
    """The values that are written at the axis of a parameter."""
    if not isinstance(parameter, Range):
        return parameter.values()
    low, high = parameter.low, parameter.high
    return [low, math.sqrt(low * high) if parameter.log else (low + high) / 2, high]


def _save(path: Path, figure: Any) -> None:
    from matplotlib import pyplot as plt

    try:
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=110, bbox_inches="tight")
    finally:
        plt.close(figure)
