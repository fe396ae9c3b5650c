"""The report of `wavediff search`: a page, a table, figures and the best recipe."""

from __future__ import annotations

import csv
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from wavediff.commands.composing import as_recipe
from wavediff.commands.search_figures import draw
from wavediff.commands.search_setting import Setting, last_standing
from wavediff.commands.search_space import merged
from wavediff.commands.search_study import counted
from wavediff.files import atomic_path

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

PAGE, TABLE, BEST = "report.md", "trials.csv", "best.yaml"


def write_report(study: Study, setting: Setting, refused: Mapping[str, str]) -> list[Path]:
    """Write the report of the trials so far, and of settings that were refused, with the reasons.

    Returns:
        The paths of its files, none without any trial.
    """
    trials = [trial for trial in counted(study) if trial.user_attrs.get("overrides") is not None]
    if not trials:
        return []
    done = [trial for trial in trials if trial.state.name == "COMPLETE"]
    paths = [setting.folder / PAGE, setting.folder / TABLE]
    figures = draw(study, setting, trials)
    best = study.best_trial if done else None
    if best is not None:
        paths.append(setting.folder / BEST)
        with atomic_path(paths[-1]) as path:
            path.write_text(best_recipe(setting, best))
    with atomic_path(paths[1]) as path, open(path, "w", newline="") as file:
        csv.writer(file).writerows(_rows(setting, trials))
    lines = _page(setting, study, trials, best, figures)
    lines += [f"- {name} cannot be trained: {reason}" for name, reason in refused.items()]
    with atomic_path(paths[0]) as path:
        path.write_text("\n".join(lines).rstrip() + "\n")
    return paths + [setting.folder / name for name in figures]


def best_recipe(setting: Setting, trial: FrozenTrial) -> str:
    """Return the settings of a trial as a recipe."""
    usual = set(setting.usual)
    words = [word for word in setting.words[1:] if word not in usual]
    words += trial.user_attrs["overrides"]
    if setting.seconds is not None:
        words += [f"trainer.max_steps={last_standing(trial)['step']}", "trainer.max_minutes=null"]
    values = as_recipe(setting.recipe, merged(words))
    where = trial.user_attrs["place"]
    text = yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=100)
    result = f"{setting.label} {trial.value:.4g}"
    return f"# @package _global_\n# {result}: trials/{where} of a search\n{text}"


def _state(setting: Setting, trial: FrozenTrial) -> str:
    names = {"COMPLETE": "finished", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}
    if trial.state.name == "PRUNED" and last_standing(trial):
        return f"pruned after 1/{round(1 / setting.shares[last_standing(trial)['rung']])}"
    return names.get(trial.state.name, trial.state.name.lower())


def _rows(setting: Setting, trials: Sequence[FrozenTrial]) -> list[list[Any]]:
    measures = _measured(setting, trials)
    names = [] if setting.space.listed else [p.name for p in setting.space.parameters]
    rows = [["trial", "state", *measures, "minutes", "steps", "parameters", *names, "overrides"]]
    for trial in trials:
        last = last_standing(trial)
        scores = last.get("scores", {})
        rows.append([
            trial.user_attrs["place"], _state(setting, trial),
            *(scores.get(name, "") for name in measures),
            round(last.get("seconds", 0) / 60, 3), last.get("step", 0), last.get("parameters", ""),
            *(trial.params.get(name, "") for name in names),
            shlex.join(trial.user_attrs["overrides"]),
        ])  # fmt: skip
    return rows


def _measured(setting: Setting, trials: Sequence[FrozenTrial]) -> list[str]:
    found = dict.fromkeys(name for t in trials for name in last_standing(t).get("scores", {}))
    return [setting.metric, *(name for name in found if name != setting.metric)]


def _page(
    setting: Setting,
    study: Study,
    trials: Sequence[FrozenTrial],
    best: FrozenTrial | None,
    figures: Mapping[str, str],
) -> list[str]:
    argv = sys.argv[2:] if setting.argv is None else setting.argv
    states = [trial.state.name for trial in trials]
    what = "higher" if setting.higher else "lower"
    lines = [
        f"# {study.study_name}",
        "",
        f"    {shlex.join(['wavediff', 'search', *argv])}",
        "",
        f"{len(trials)} trials of `recipe={setting.recipe}`, up to {setting.budget} each: "
        f"{states.count('COMPLETE')} finished, {states.count('PRUNED')} pruned, "
        f"{states.count('FAIL')} failed. Validation {setting.label}, {what} is better, of the "
        "averaged weights at the end of a trial. Only the time of the steps counts as minutes.",
        "",
    ]
    if best is not None:
        lines += _best_lines(setting, trials, best)
    lines += _table(setting, trials, best)
    lines += [line for name, title in figures.items() for line in (f"![{title}]({name})", "")]
    failed = [trial for trial in trials if trial.state.name == "FAIL"]
    lines += [f"- {t.user_attrs['place']} failed: {t.user_attrs.get('reason', '')}" for t in failed]
    return lines


def _best_lines(setting: Setting, trials: Sequence[FrozenTrial], best: FrozenTrial) -> list[str]:
    lines = [f"Best: {setting.label} {best.value:.4g}, trial {best.user_attrs['place']}."]
    own = _base(setting, trials)
    if own is not None and own.state.name == "COMPLETE" and own.number != best.number:
        lines[0] += f" {'The first' if setting.space.listed else 'The recipe'}: {own.value:.4g}."
    again = shlex.join(["wavediff", "train", f"recipe={setting.folder / BEST}"])
    return [*lines, "", f"    {again}", ""]


def _base(setting: Setting, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The trial that others are compared with: the recipe, or the first of a list."""
    if not setting.space.listed:
        return next((t for t in trials if t.user_attrs.get("recipe")), None)
    first = next(iter(setting.space.parameters[0].cases()))
    return next((t for t in trials if t.user_attrs["place"] == first), None)


def _table(setting: Setting, trials: Sequence[FrozenTrial], best: FrozenTrial | None) -> list[str]:
    measures = _measured(setting, trials)
    labels = [setting.label_of(name) for name in measures]
    if setting.space.listed:
        labels.insert(1, f"against {next(iter(setting.space.parameters[0].cases()))}")
    header = ["trial", "change", "state", "minutes", "steps", "M parameters", *labels]
    lines = [header, ["---", "---", "---", *["---:"] * (len(header) - 3)]]
    base = _base(setting, trials)
    for trial in sorted(trials, key=lambda t: _rank(setting, t)):
        last = last_standing(trial)
        scores = last.get("scores", {})
        cells = [f"{scores[m]:.4g}" if m in scores else "" for m in measures]
        if best is not None and trial.number == best.number:
            cells[0] = f"**{cells[0]}**"
        if setting.space.listed:
            cells.insert(1, _difference(trial, base))
        change = ", ".join(f"`{_short(word)}`" for word in trial.user_attrs["overrides"])
        lines.append([
            trial.user_attrs["place"], change, _state(setting, trial),
            f"{last.get('seconds', 0) / 60:.3g}", f"{last.get('step', 0):,}",
            f"{last['parameters'] / 1e6:.2f}" if last else "", *cells,
        ])  # fmt: skip
    return [*("| " + " | ".join(cells) + " |" for cells in lines), ""]


def _short(word: str) -> str:
    """An override with four digits of its number, of which the table (CSV) has all."""
    key, _, value = word.partition("=")
    return f"{key}={float(value):.4g}" if re.fullmatch(r"\d+\.\d{4,}(e-?\d+)?", value) else word


def _difference(trial: FrozenTrial, base: FrozenTrial | None) -> str:
    known = [t for t in (trial, base) if t is not None and t.state.name == "COMPLETE"]
    if len(known) < 2 or known[0].number == known[1].number:
        return ""
    return f"{known[0].value - known[1].value:+.4g}"  # type: ignore[operator]


def _rank(setting: Setting, trial: FrozenTrial) -> tuple[Any, ...]:
    """As in a list; of a space finished trials first, the best before others, then the pruned."""
    if setting.space.listed:
        names, name = list(setting.space.parameters[0].cases()), trial.user_attrs["place"]
        return (names.index(name) if name in names else len(names), trial.number)
    last = last_standing(trial)
    score = last.get("score") or 0.0
    order = {"COMPLETE": 0, "PRUNED": 1}.get(trial.state.name, 2)
    return order, -last.get("rung", -1), -score if setting.higher else score, trial.number
