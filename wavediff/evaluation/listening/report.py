"""The results of a listening test: tables, JSON, CSV, a figure and a page."""

import csv
import html
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wavediff.evaluation.listening.analysis import Analysis, Comparison
from wavediff.evaluation.listening.answers import Answers
from wavediff.evaluation.listening.figure import draw
from wavediff.evaluation.listening.plan import CHOICES, identity
from wavediff.evaluation.web import STYLE, base64, joined, policy_hash
from wavediff.files import atomic_path

FILES = ("index.html", "results.json", "answers.csv", "figure.png")
Rows = list[list[str]]  # the first is the head


def write_report(folder: Path, analysis: Analysis, answers: Answers) -> None:
    """Write the files ``FILES`` into a folder.

    Raises:
        UserError: if one cannot be written.
    """
    picture = draw(analysis)
    with atomic_path(folder / "figure.png") as path:
        path.write_bytes(picture)
    with atomic_path(folder / "results.json") as path:
        everything = json.dumps(results(analysis, answers), indent=1, allow_nan=False)
        path.write_text(f"{everything}\n", encoding="utf-8")
    with atomic_path(folder / "answers.csv") as path:
        write_csv(path, analysis, answers)
    with atomic_path(folder / "index.html") as path:
        path.write_text(page(analysis, answers, picture), encoding="utf-8")


def condition_rows(analysis: Analysis) -> Rows:
    """A row per condition that was rated."""
    rows = [["condition", "mean", "95 % interval", "median", "listeners"]]
    for condition in analysis.conditions:
        summary = condition.summary
        mean = _number(summary.mean)
        between = _interval(summary.low, summary.high)
        rows.append([condition.name, mean, between, _number(condition.median), str(summary.n)])
    return rows


def comparison_rows(analysis: Analysis) -> Rows:
    """A row per comparison."""
    method = analysis.plan.method
    estimate = {"ab": "prefer the first", "abx": "right"}.get(method, "difference")
    head = ["comparison", estimate, "95 % interval", "n", "p", "p (Holm)", "significant"]
    rows = [[*head, "found at 80 % power"] if method in CHOICES else head]
    for c in analysis.comparisons:
        row = [
            f"{c.a} - {c.b}",
            _estimate(c.estimate, method),
            _interval(c.low, c.high, method),
            str(c.n),
            _p(c.p),
            _p(c.p_holm),
            "yes" if c.significant else "no",
        ]
        if method in CHOICES:
            row.append("-" if c.detectable is None else f"{100 * c.detectable:.0f} %")
        rows.append(row)
    return rows


def explanation(analysis: Analysis) -> str:
    """What the numbers are, in a few sentences."""
    if analysis.plan.method == "abx":
        what = (
            "Shares of right answers with Clopper-Pearson intervals; the exact binomial test, "
            "one-sided, against guessing."
        )
    elif analysis.plan.method == "ab":
        what = (
            "Shares of choices with Clopper-Pearson intervals; the exact binomial test, two-sided, "
            "against one half."
        )
    else:
        what = (
            "Means over listeners, of each listener's mean over the trials, with 95 % t intervals; "
            "Wilcoxon's signed-rank test over listeners, two-sided."
        )
    if analysis.plan.method in CHOICES:
        what += " It takes all choices as independent."
    return f"{what} p (Holm) is adjusted for all comparisons, and significant up to 0.05."


def results(analysis: Analysis, answers: Answers) -> dict[str, Any]:
    """Return what ``results.json`` has."""
    plan = analysis.plan
    return {
        "test": identity(plan.encoded()),
        "method": plan.method,
        "title": plan.title,
        "question": plan.question,
        "loudness_lufs": plan.loudness,
        "systems": list(plan.systems),
        "items": sorted({trial.item for trial in plan.trials}),
        "trials": len(plan.trials),
        "listeners": analysis.listeners,
        "excluded": analysis.excluded,
        "repeated": answers.repeated,
        "explanation": explanation(analysis),
        "conditions": [
            {
                "name": condition.name,
                "mean": condition.summary.mean,
                "ci95": _pair(condition.summary.low, condition.summary.high),
                "median": condition.median,
                "by_listener": condition.by_listener,
            }
            for condition in analysis.conditions
        ],
        "comparisons": [_comparison(c) for c in analysis.comparisons],
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    found = dict(vars(comparison))
    found["ci95"] = _pair(found.pop("low"), found.pop("high"))
    return found | {"significant": comparison.significant}


def write_csv(path: Path, analysis: Analysis, answers: Answers) -> None:
    """Write a row per rating or choice, for other programs."""
    trials = {trial.id: trial for trial in analysis.plan.trials}
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        head = ["listener", "excluded", "device", "position", "trial", "item", "check"]
        writer.writerow([*head, "condition", "place", "rating", "chosen", "is_x", "seconds"])
        for session in answers.sessions:
            reason = analysis.excluded.get(session.listener, "")
            for position, answer in enumerate(session.answers, 1):
                trial = trials[answer.trial]
                about = [_cell(session.listener), reason, session.device, position, trial.id]
                about += [_cell(trial.item), int(trial.check)]
                for place, stimulus in enumerate(answer.order, 1):
                    chosen = None if answer.choice is None else int(answer.choice == stimulus)
                    is_x = None if answer.x is None else int(answer.x == stimulus)
                    rating = (answer.ratings or {}).get(stimulus)
                    name = _cell(trial.condition(stimulus))
                    row = [*about, name, place, rating, chosen, is_x, answer.seconds]
                    writer.writerow(row)


def _cell(text: str) -> str:
    """A text that spreadsheets do not take for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def page(analysis: Analysis, answers: Answers, picture: bytes) -> str:
    """Return the HTML of the report, which needs no other file."""
    plan, out = analysis.plan, io.StringIO()
    title = html.escape(plan.title)
    style = joined(STYLE)
    out.write(_HEAD.format(title=title, style=style, style_hash=policy_hash(style)))
    facts = [
        plan.method.upper(),
        f"{len(plan.trials)} trials",
        f"{len(analysis.listeners)} listeners",
        "levels of the files"
        if plan.loudness is None
        else f"all sounds at {plan.loudness:.1f} LUFS (ITU-R BS.1770-4)",
    ]
    out.write(f"<p>{html.escape(plan.question)}</p>\n<p>{', '.join(facts)}.</p>\n")
    shown = [c.name for c in analysis.conditions] or [
        f"{c.a} - {c.b}" for c in analysis.comparisons
    ]
    alt = html.escape(f"Figure: {', '.join(shown)}; the numbers are in the tables")
    out.write(f'<img alt="{alt}" src="data:image/png;base64,{base64(picture)}">\n')
    if analysis.conditions:
        out.write(_html_table("Ratings", condition_rows(analysis)))
    out.write(_html_table("Comparisons", comparison_rows(analysis)))
    out.write(f"<p>{html.escape(explanation(analysis))}</p>\n")
    if analysis.excluded:
        rows = [["listener", "reason"], *map(list, analysis.excluded.items())]
        out.write(_html_table("Excluded by post-screening", rows))
    comments = [[s.listener, s.comment] for s in answers.sessions if s.comment]
    if comments:
        out.write(_html_table("Comments", [["listener", "comment"], *comments]))
    out.write("</main></body></html>\n")
    return out.getvalue()


def _html_table(heading: str, rows: Rows) -> str:
    head, *body = [[html.escape(cell) for cell in row] for row in rows]
    lines = [f"<h2>{heading}</h2>", '<div class="wide"><table><thead><tr>']
    lines += [f'<th scope="col">{cell}</th>' for cell in head]
    lines.append("</tr></thead><tbody>")
    for first, *others in body:
        cells = "".join(f"<td>{cell}</td>" for cell in others)
        lines.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
    return "\n".join([*lines, "</tbody></table></div>\n"])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _estimate(value: float, method: str) -> str:
    return f"{100 * value:.1f} %" if method in CHOICES else f"{value:+.2f}"


def _interval(low: float | None, high: float | None, method: str = "") -> str:
    if low is None or high is None:
        return "-"
    if method in CHOICES:
        return f"{100 * low:.1f} to {100 * high:.1f} %"
    return f"{low:.2f} to {high:.2f}"


def _pair(low: float | None, high: float | None) -> Sequence[float | None] | None:
    return None if low is None else [low, high]


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else "<0.0001"


_HEAD = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src '{style_hash}'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: results</title>
<style>{style}</style></head><body><main>
<h1>{title}: results</h1>
"""
