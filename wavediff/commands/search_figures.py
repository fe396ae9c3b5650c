"""The figures of `wavediff search`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

from wavediff.commands.search_setting import Setting, last_standing
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
        _save(setting.folder / PARALLEL, _parallel(study, setting))
        drawn[PARALLEL] = "Settings of the finished trials"
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


def _parallel(study: Study, setting: Setting) -> Any:
    from optuna.visualization.matplotlib import plot_parallel_coordinate

    axis = plot_parallel_coordinate(study, target_name=setting.label)
    figure: Any = axis.get_figure()
    figure.set_size_inches(3 + 1.6 * len(setting.space.parameters), 5)
    return figure


def _save(path: Path, figure: Any) -> None:
    from matplotlib import pyplot as plt

    try:
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=110, bbox_inches="tight")
    finally:
        plt.close(figure)
