"""The page, the figure and the table of tools/compare.py."""

import csv
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from compare_methods import MANY, METHODS, Run

from wavediff.files import atomic_path

matplotlib.use("Agg")
from matplotlib import pyplot as plt


@dataclass(frozen=True)
class Notes:
    """What held-out notes give: the values that a model can be expected to reach at best.

    Attributes:
        counts: of the notes that are compared with, and of others.
        frechet, density, coverage: of the others.
    """

    counts: tuple[int, int]
    frechet: float
    density: float
    coverage: float


def write_results(
    folder: Path, found: dict[Run, dict], notes: Notes, samples: int, command: str
) -> None:
    """Write RESULTS.md, comparison.png and comparison.csv.

    Args:
        found: what was measured of each run, see ``compare.measure``.
        command: a sentence on how it was made.
    """
    rows = [row for facts in found.values() for row in facts["rows"]]
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "comparison.csv") as path, open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    main = {run.method: facts for run, facts in found.items() if run == Run(run.method)}
    with atomic_path(folder / "comparison.png") as path:
        _draw(path, [row for facts in main.values() for row in facts["rows"]], notes.frechet)
    with atomic_path(folder / "RESULTS.md") as path:
        path.write_text(_page(main, found, notes, samples, command))


def _lines(rows: list[dict]) -> dict[tuple[str, str], dict[int, float]]:
    """Distances by network calls, for each method and sampler."""
    lines: dict[tuple[str, str], dict[int, float]] = {}
    for row in rows:
        lines.setdefault((row["method"], row["sampler"]), {})[row["calls"]] = row["frechet"]
    return lines


def _draw(path: Path, rows: list[dict], floor: float) -> None:
    figure, axis = plt.subplots(figsize=(9, 6), layout="constrained")
    colours = dict(zip(METHODS, plt.get_cmap("tab20").colors, strict=False))
    own = {}
    for (method, sampler), points in _lines(rows).items():
        style = "-" if own.setdefault(method, sampler) == sampler else "--"
        axis.plot(
            list(points), list(points.values()), style, marker="o", markersize=4,
            color=colours[method], label=f"{METHODS[method].label} ({sampler})",
        )  # fmt: skip
    axis.axhline(floor, color="black", linewidth=0.8, linestyle=":", label="other held-out notes")
    axis.set(xscale="log", yscale="log", xlabel="network calls", ylabel="Frechet distance")
    top = 3 * max(min(points.values()) for points in _lines(rows).values())
    axis.set_ylim(floor / 2, max(top, 10 * floor))
    ticks = sorted({row["calls"] for row in rows})
    axis.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
    axis.minorticks_off()
    axis.legend(fontsize=8)
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _page(
    found: dict[str, dict], all_runs: dict[Run, dict], notes: Notes, samples: int, command: str
) -> str:
    rows = [row for facts in found.values() for row in facts["rows"]]
    budgets = [b for b in MANY if any(row["calls"] <= b for row in rows)]
    header = ["method", "sampler", *map(str, budgets), "training"]
    table = [header, ["---", "---", *["---:"] * (len(budgets) + 1)]]
    for (method, sampler), points in _lines(rows).items():
        cells, left = [], dict(points)
        for budget in budgets:
            within = [calls for calls in left if calls <= budget]
            cells.append(_number(left[max(within)]) if within else "")
            left = {calls: value for calls, value in left.items() if calls > budget}
        trained = f"{found[method]['training_seconds']} s"
        table.append([METHODS[method].label, sampler, *cells, trained])
    sizes = sorted({facts["parameters"] for name, facts in found.items() if name != "vae"})
    steps = sorted({facts["steps"] for facts in found.values()})
    lines = [
        "# comparison: results",
        "",
        "Frechet distance of log-mel statistics to held-out notes (lower is better), by the "
        "maximum number of network calls per sound.",
        "",
        *("| " + " | ".join(row) + " |" for row in table),
        "",
        f"The distance of {min(samples, notes.counts[1])} other held-out notes is "
        f"{notes.frechet:.3g}: the best value that a model can be expected to reach.",
        "",
        *_distilled(rows),
        "![Frechet distance against network calls](comparison.png)",
        "",
        *_modes(rows, notes),
        "",
        *_study(all_runs),
        "",
        f"Each row: {samples} sounds, equally many per instrument, compared with {notes.counts[0]} "
        f"notes that were not used for training; {' or '.join(f'{s:,}' for s in steps)} training "
        f"steps; denoisers of {' or '.join(f'{s / 1e6:.2f}' for s in sizes)} M parameters, EMA "
        "weights. The consistency model is initialised from its teacher, EDM. The exact numbers "
        "of calls are in [comparison.csv](comparison.csv).",
        "",
        command,
        "",
    ]
    return "\n".join(lines)


def _modes(rows: list[dict], notes: Notes) -> list[str]:
    """Table of density and coverage, each method at its best coverage."""
    chosen: dict[tuple[str, str], dict] = {}
    for row in rows:
        key = row["method"], row["sampler"]
        if key not in chosen or row["coverage"] > chosen[key]["coverage"]:
            chosen[key] = row
    table = [["method", "sampler", "calls", "density", "coverage"], ["---", "---", *["---:"] * 3]]
    for (method, sampler), row in chosen.items():
        numbers = [str(row["calls"]), f"{row['density']:.2f}", f"{row['coverage']:.2f}"]
        table.append([METHODS[method].label, sampler, *numbers])
    table.append(["other held-out notes", "", "", f"{notes.density:.2f}", f"{notes.coverage:.2f}"])
    return [
        "Density (how typical the sounds are) and coverage (how much of the data comes out; Naeem "
        "et al. 2020) of log spectra, at the number of network calls with the best coverage:",
        "",
        *("| " + " | ".join(row) + " |" for row in table),
    ]


def _study(found: dict[Run, dict]) -> list[str]:
    """Table of the methods that were trained with several seeds, or on parts of the notes."""
    lines = []
    for title, chosen in (
        ("Seeds", [run for run in found if run.share == 1]),
        ("Share of the notes", [run for run in found if run.seed == 0]),
    ):
        methods = [m for m in METHODS if sum(run.method == m for run in chosen) > 1]
        for method in methods:
            for run in sorted((r for r in chosen if r.method == method), key=lambda r: r.share):
                best = max(found[run]["rows"], key=lambda row: row["coverage"])
                what = f"seed {run.seed}" if title == "Seeds" else f"{100 * run.share:g} %"
                values = (
                    f"{best['frechet']:.3g}",
                    f"{best['density']:.2f}",
                    f"{best['coverage']:.2f}",
                )
                lines.append(f"| {METHODS[method].label} | {what} | {' | '.join(values)} |")
    if not lines:
        return []
    return [
        "With other seeds, and trained on a part of the notes for as many steps; at the number of "
        "network calls with the best coverage:",
        "",
        "| method | | Frechet distance | density | coverage |",
        "| --- | --- | ---: | ---: | ---: |",
        *lines,
        "",
    ]


def _distilled(rows: list[dict]) -> list[str]:
    """Comparison of the distilled model with its teacher, if both are there."""
    lines = _lines(rows)
    student, teacher = lines.get(("consistency", "Renoise")), lines.get(("edm", "Heun"))
    if not student or not teacher or not {1, 2} <= student.keys():
        return []
    best = teacher[max(teacher)]
    return [
        f"With one call, the distilled consistency model has {student[1] / best:.2f} times the "
        f"distance of its teacher ({max(teacher)} calls), and with two calls "
        f"{student[2] / best:.2f} times.",
        "",
    ]


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1e4 else f"{value:.0e}"
