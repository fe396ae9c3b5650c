"""Table and figures of `tools/sweep.py`."""

import shlex
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib
import torch
from machine import machine
from sweep_list import AUDIO, USUAL, Record, Sweep, read_record, unmeasured

from wavediff.errors import UserError
from wavediff.evaluation.metrics import METRICS
from wavediff.evaluation.summary import summarize
from wavediff.files import atomic_path

matplotlib.use("Agg")
from matplotlib import pyplot as plt

TABLE, TIME, CALLS = FILES = ("table.md", "sweep_time.png", "sweep_calls.png")


def write_results(sweep: Sweep, failures: Mapping[str, str], typed: str) -> None:
    """Write table.md and both figures for all finished runs of the list."""
    done, begun, failures = {}, [], dict(failures)
    for name in sweep.runs:
        try:
            record = read_record(sweep, name)
        except UserError:
            continue
        if not unmeasured(sweep, record, 1.0):
            done[name] = record
        elif "failed" in record:
            failures.setdefault(name, record["failed"])
        elif record["measured"] and name not in failures:
            begun.append(name)
    if done:
        for file, x in ((TIME, "seconds"), (CALLS, "calls")):
            with atomic_path(sweep.out / file) as path:
                draw(path, sweep, done, x)
    with atomic_path(sweep.out / TABLE) as path:
        path.write_text(table(sweep, done, begun, failures, typed))


def measured(
    sweep: Sweep, record: Record, way: str, share: float | None = None, steps: int | None = None
) -> list[dict[str, Any]]:
    """Results of a run in one way, by default at all times and numbers of steps."""
    found = [m for m in record["measured"] if m["way"] == way]
    found = [m for m in found if share in (None, m["share"]) and steps in (None, m["steps"])]
    return sorted(found, key=lambda m: (m["share"], m["calls"]))


def table(
    sweep: Sweep,
    done: Mapping[str, Record],
    begun: Sequence[str],
    failures: Mapping[str, str],
    typed: str,
) -> str:
    """Markdown for RESULTS.md."""
    first = sweep.measure.measures[0]
    label = METRICS[first].label
    files = len(list((sweep.out / AUDIO / "reference").glob("*.wav")))
    cores = sweep.threads or torch.get_num_threads()
    where = machine(cores)
    if torch.cuda.is_available() and "trainer.device=cpu" not in sweep.overrides:
        where = f"{torch.cuda.get_device_name()}, {where}"
    lines = [
        "## Ablations at equal training time",
        "",
        f"    {typed}",
        "",
        f"Each run is `recipe={sweep.recipe}` with one change, trained for {sweep.minutes:g} "
        f"minutes, seed {sweep.seed}, on {where}. Only the time of the steps counts. The learning "
        f"rate is constant for the first {sweep.curve[0]:.3g} of the time and then decays to its "
        f"final value as in the recipe. Means over {files} validation files; in brackets the 95 % "
        "interval of the difference to the base over files (not over seeds).",
        "",
    ]
    for way, steps in product(sweep.measure.ways, sweep.measure.steps[:1]):
        rows = {name: measured(sweep, r, way, 1, steps)[0] for name, r in done.items()}
        lines += [f"{way[:1].upper()}{way[1:]}, {steps} step{'s' if steps > 1 else ''}:", ""]
        lines += _main_table(sweep, done, rows)
    for way in sweep.measure.ways:
        lines += [f"{label} against network calls, {way}:", ""]
        lines += _calls_table(sweep, done, way)
    if done:
        lines += [
            f"![{label} against training time]({TIME})",
            "",
            f"![{label} against network calls]({CALLS})",
            "",
        ]
        lines += _base_command(sweep, done)
    lines += [f"- {name} failed: {reason}" for name, reason in failures.items()]
    lines += [f"- {name} is not finished" for name in begun]
    return "\n".join(lines).rstrip() + "\n"


def _main_table(
    sweep: Sweep, done: Mapping[str, Record], rows: Mapping[str, dict[str, Any]]
) -> list[str]:
    measures = sweep.measure.measures
    labels = [METRICS[name].label for name in measures]
    labels.insert(1, f"against {sweep.base}")
    header = ["run", "change", "minutes", "steps", "M parameters", *labels]
    out = [header, ["---", "---", *["---:"] * (len(header) - 2)]]
    best = {m: _best(m, [row["means"][m] for row in rows.values()]) for m in measures}
    for name, row in rows.items():
        cells = [_cell(m, row["means"][m], best[m]) for m in measures]
        cells.insert(1, "" if name == sweep.base else _difference(row, rows.get(sweep.base)))
        change = ", ".join(f"`{word}`" for word in sweep.runs[name])
        size = f"{done[name]['parameters'] / 1e6:.2f}"
        out.append([name, change, f"{row['seconds'] / 60:.1f}", f"{row['step']:,}", size, *cells])
    return [*("| " + " | ".join(cells) + " |" for cells in out), ""]


def _calls_table(sweep: Sweep, done: Mapping[str, Record], way: str) -> list[str]:
    first = sweep.measure.measures[0]
    found = {
        name: {m["calls"]: m["means"][first] for m in measured(sweep, record, way, 1)}
        for name, record in done.items()
    }
    calls = sorted({n for points in found.values() for n in points})
    out = [["run", *map(str, calls)], ["---", *["---:"] * len(calls)]]
    best = {n: _best(first, [points.get(n) for points in found.values()]) for n in calls}
    for name, points in found.items():
        out.append([name, *(_cell(first, points.get(n), best[n]) for n in calls)])
    return [*("| " + " | ".join(cells) + " |" for cells in out), ""]


def _base_command(sweep: Sweep, done: Mapping[str, Record]) -> list[str]:
    """Command that trains the base as a single run."""
    if sweep.base not in done:
        return []
    words = [word for word in sweep.overrides_of(sweep.base) if word not in USUAL]
    steps = done[sweep.base]["max_steps"]["1"]
    again = shlex.join(["wavediff", "train", *words, f"seed={sweep.seed}"])
    return ["The base as a single run, without pauses for evaluation:", "",
            f"    {again} trainer.max_steps={steps}", ""]  # fmt: skip


def _difference(row: Mapping[str, Any], base: Mapping[str, Any] | None) -> str:
    """Mean difference to the base on the same files, with its 95 % interval."""
    if base is None:
        return ""
    both = row["files"].keys() & base["files"].keys()
    found = summarize([row["files"][file] - base["files"][file] for file in sorted(both)])
    if found.low is None:
        return "" if found.mean is None else f"{found.mean:+.3f}"
    return f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def _best(measure: str, values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return (max if METRICS[measure].higher_is_better else min)(known, default=None)


def _cell(measure: str, value: float | None, best: float | None) -> str:
    if value is None:
        return ""
    text = f"{value:.2f}" if "dB" in METRICS[measure].label else f"{value:.3f}"
    return f"**{text}**" if value == best else text


def draw(path: Path, sweep: Sweep, done: Mapping[str, Record], x: str) -> None:
    """Plot the first metric against `seconds` of training or network `calls`, a panel per way."""
    first, steps = sweep.measure.measures[0], sweep.measure.steps[0]
    ways = list(sweep.measure.ways)
    figure, axes = plt.subplots(
        1, len(ways), figsize=(6 * len(ways) + 3, 6), layout="constrained", squeeze=False
    )
    styles = _styles(sweep)
    for axis, way in zip(axes[0], ways, strict=True):
        ticks = set()
        for name, record in done.items():
            at = {"share": 1.0} if x == "calls" else {"steps": steps}
            points = measured(sweep, record, way, **at)
            points = [(m[x], m["means"][first]) for m in points if m["means"][first] is not None]
            ticks |= {place for place, _ in points}
            places = [place if x == "calls" else place / 60 for place, _ in points]
            axis.plot(places, [value for _, value in points], label=name, **styles[name])
        axis.set(title=way, ylabel=METRICS[first].label)
        axis.grid(alpha=0.3)
        if x == "calls":
            axis.set(xscale="log", xlabel="network calls")
            axis.set_xticks(sorted(ticks), [str(tick) for tick in sorted(ticks)], minor=False)
            axis.minorticks_off()
        else:
            axis.set(xlabel="minutes of training", xlim=(0, None))
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _styles(sweep: Sweep) -> dict[str, dict[str, Any]]:
    """A colour per part of the names before the first hyphen, a marker per rest; base black."""
    groups: dict[str, list[str]] = {}
    for name in sweep.runs:
        if name != sweep.base:
            groups.setdefault(name.partition("-")[0], []).append(name)
    styles = {sweep.base: {"color": "black", "linewidth": 2.5, "marker": "o"}}
    for number, members in enumerate(groups.values()):
        colour = plt.get_cmap("tab10").colors[number % 10]
        for place, name in enumerate(members):
            styles[name] = {"color": colour, "linewidth": 1, "markersize": 5}
            styles[name]["marker"] = "s^vDPX*<>"[place % 9]
    return styles
