"""The page, the figure and the table of tools/compare.py."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from compare_figure import draw
from compare_methods import MANY, METHODS, Run

from wavediff.files import atomic_path

Found = dict[Run, dict]


@dataclass(frozen=True)
class HeldOut:
    """What held-out notes give: the values that a model can be expected to reach at best.

    Attributes:
        counts: of the notes that are compared with, and of others.
        frechet, density, coverage, kinds, pitches: of the others.
    """

    counts: tuple[int, int]
    frechet: float
    density: float
    coverage: float
    kinds: float
    pitches: float


def write_results(
    folder: Path, found: Found, notes: HeldOut | None, samples: int, command: str
) -> None:
    """Write RESULTS.md, comparison.png and comparison.csv.

    Args:
        found: what was measured of each run, see ``compare_measure.measure``.
        notes: None where no run is of notes.
        command: a sentence on how it was made.
    """
    rows = [row for facts in found.values() for row in facts["rows"]]
    keys = list(dict.fromkeys(key for row in rows for key in row))
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "comparison.csv") as path, open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, keys)
        writer.writeheader()
        writer.writerows(rows)
    of_notes = {run: facts for run, facts in found.items() if not METHODS[run.method].vocoder}
    vocoders = {run: facts for run, facts in found.items() if METHODS[run.method].vocoder}
    lines = ["# comparison: results", ""]
    if notes is not None:
        with atomic_path(folder / "comparison.png") as path:
            draw(path, _calls(of_notes), judged(of_notes), notes.frechet)
        lines += _families(of_notes, notes, samples) + _budgets(of_notes)
    lines += [*_vocoders(vocoders), command, ""]
    with atomic_path(folder / "RESULTS.md") as path:
        path.write_text("\n".join(lines))


def judged(found: Found) -> dict[Run, dict]:
    """The row of each run by which it is compared: of its method's sampler and budget."""
    chosen = {}
    for run, facts in found.items():
        name, budget = METHODS[run.method].judged
        rows = [row for row in facts["rows"] if row["sampler"] == name and row["calls"] <= budget]
        chosen[run] = max(rows or facts["rows"], key=lambda row: row["calls"])
    return chosen


def _methods(found: Found) -> list[str]:
    return [name for name in METHODS if Run(name) in found]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> list[str]:
    """Lines of a table whose first columns are texts, the others numbers."""
    line = ["---"] * texts + ["---:"] * (len(header) - texts)
    return ["| " + " | ".join(row) + " |" for row in (header, line, *rows)]


def _families(found: Found, notes: HeldOut, samples: int) -> list[str]:
    """The table of all methods: modes, seeds and shares of the notes."""
    rows_of = judged(found)
    shares = sorted({run.share for run in found if run.share < 1})
    header = ["method", "calls", "training", "Frechet", "density", "coverage", "kinds", "pitches"]
    header += ["seeds", "Frechet of the seeds", "coverage of the seeds"]
    header += [f"Frechet, {100 * share:g} %" for share in shares]
    header += [f"coverage, {100 * share:g} %" for share in shares]
    table = []
    for name in _methods(found):
        row, facts = rows_of[Run(name)], found[Run(name)]
        cells = [METHODS[name].label, str(row["calls"]), f"{facts['training_seconds']} s"]
        cells += _quality(row)
        seeds = [r for run, r in rows_of.items() if run.method == name and run.share == 1]
        if len(seeds) > 1:
            cells += [str(len(seeds)), _spread([r["frechet"] for r in seeds], "{:.3g}")]
            cells += [_spread([r["coverage"] for r in seeds], "{:.2f}")]
        else:
            cells += ["1", "", ""]
        parts = [rows_of.get(Run(name, share=share)) for share in shares]
        cells += [_number(part["frechet"]) if part else "" for part in parts]
        cells += [f"{part['coverage']:.2f}" if part else "" for part in parts]
        table.append(cells)
    best = {key: getattr(notes, key) for key in ("frechet", "density", "coverage", "kinds")}
    best["pitches"] = notes.pitches
    empty = [""] * (len(header) - 8)
    table.append(["other held-out notes", "", "", *_quality(best), *empty])
    sizes = sorted({facts["parameters"] for run, facts in found.items() if run.method != "vae"})
    steps = sorted({facts["steps"] for facts in found.values()})
    return [
        "Frechet distance of log-mel statistics to held-out notes (lower is better). Density "
        "(how typical the sounds are) and coverage (how much of the data comes out; Naeem et "
        "al. 2020) of log spectra down to -20 dB. Kinds: the share of the ten instruments that "
        "come out, with half as many sounds as each has or more. Pitches: the share of the 25 "
        "pitches of each instrument. Seeds: mean ± standard deviation (worst). The last "
        "columns: trained on a share of the notes, for as many steps.",
        "",
        *_table(header, table),
        "",
        "![Frechet distance against network calls, seeds and the size of the data](comparison.png)",
        "",
        f"Each row: {samples} sounds, equally many per instrument, compared with {notes.counts[0]} "
        f"notes that were not used for training; {' or '.join(f'{s:,}' for s in steps)} training "
        f"steps; denoisers and the GAN's generator of "
        f"{' or '.join(f'{s / 1e6:.2f}' for s in sizes)} M parameters, EMA weights. The VAE is not "
        "told an instrument. The consistency model is initialised from its teacher, EDM. The last "
        f"row, {min(samples, notes.counts[1])} other held-out notes, is the best that a model can "
        "be expected to reach. Each run by itself is in [comparison.csv](comparison.csv).",
        "",
        *_claims(found),
    ]


def _claims(found: Found) -> list[str]:
    """What seeds and shares change, in numbers."""
    rows_of, table = judged(found), []
    shares = sorted({run.share for run in found if run.share < 1})
    for name in _methods(found):
        seeds = [r for run, r in rows_of.items() if run.method == name and run.share == 1]
        parts = [rows_of.get(Run(name, share=share)) for share in shares]
        if len(seeds) < 2 and not any(parts):
            continue
        whole, distances = rows_of[Run(name)], [r["frechet"] for r in seeds]
        cells = [METHODS[name].label]
        cells += [f"{100 * stdev(distances) / mean(distances):.0f} %" if len(seeds) > 1 else ""]
        cells += [f"{max(distances) / min(distances):.2f}"]
        cells += [f"{min(r[key] for r in seeds):.0%}" for key in ("kinds", "pitches")]
        cells += [f"{p['frechet'] / whole['frechet']:.2f}" if p else "" for p in parts]
        cells += [f"{p['pitches']:.0%}" if p else "" for p in parts]
        table.append(cells)
    if not table:
        return []
    header = [
        "method",
        "spread of the seeds",
        "worst by best seed",
        "kinds, worst",
        "pitches, worst",
    ]
    header += [f"Frechet, {100 * share:g} % by all" for share in shares]
    header += [f"pitches, {100 * share:g} %" for share in shares]
    return ["What seeds and less data change:", "", *_table(header, table), ""]


def _quality(row: dict) -> list[str]:
    two = [f"{row[key]:.2f}" for key in ("density", "coverage")]
    return [_number(row["frechet"]), *two, *(f"{row[key]:.0%}" for key in ("kinds", "pitches"))]


def _spread(values: Sequence[float], form: str) -> str:
    worst_of = max if form == "{:.3g}" else min  # of a distance, and of a share
    texts = [form.format(x) for x in (mean(values), stdev(values), worst_of(values))]
    return f"{texts[0]} ± {texts[1]} ({texts[2]})"


def _calls(found: Found) -> dict[tuple[str, str], dict[int, float]]:
    """Distances by network calls, for each method and sampler."""
    lines: dict[tuple[str, str], dict[int, float]] = {}
    for name in _methods(found):
        for row in found[Run(name)]["rows"]:
            lines.setdefault((name, row["sampler"]), {})[row["calls"]] = row["frechet"]
    return lines


def _budgets(found: Found) -> list[str]:
    """Table of the distances by network calls."""
    lines = _calls(found)
    most = max(calls for points in lines.values() for calls in points)
    budgets = [b for b in MANY if b <= most]
    rows = []
    for (method, sampler), points in lines.items():
        cells, left = [], dict(points)
        for budget in budgets:
            within = [calls for calls in left if calls <= budget]
            cells.append(_number(left[max(within)]) if within else "")
            left = {calls: value for calls, value in left.items() if calls > budget}
        rows.append([METHODS[method].label, sampler, *cells])
    return [
        "Frechet distance by the maximum number of network calls per sound:",
        "",
        *_table(["method", "sampler", *map(str, budgets)], rows, texts=2),
        "",
        *_distilled(lines),
    ]


def _distilled(lines: dict[tuple[str, str], dict[int, float]]) -> list[str]:
    """Comparison of the distilled model with its teacher, if both are there."""
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


def _vocoders(found: Found) -> list[str]:
    """Table of the vocoders, over their seeds."""
    rows = []
    for name in _methods(found):
        runs = [facts for run, facts in found.items() if run.method == name]
        for row in found[Run(name)]["rows"]:
            same = [other for facts in runs for other in facts["rows"]
                    if other["calls"] == row["calls"]]  # fmt: skip
            cells = [METHODS[name].label, str(row["calls"]), str(len(same))]
            for key in ("mr_stft", "log_mel_error"):
                values = [other[key] for other in same]
                several = len(values) > 1
                cells.append(f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if several else ""))
            seconds = mean(facts["training_seconds"] for facts in runs)
            rows.append([*cells, f"{runs[0]['steps']:,}", f"{seconds:.0f} s"])
    if not rows:
        return []
    header = ["vocoder", "calls", "seeds", "MR-STFT", "log-mel error", "steps", "training"]
    return [
        "Vocoders of one network on synthetic voices (8 kHz), copy synthesis of held-out ones "
        "(lower is better; mean ± standard deviation over the seeds):",
        "",
        *_table(header, rows),
        "",
    ]


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1e4 else f"{value:.0e}"
