"""The tables of ``wavediff evaluate``, as text and as CSV."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from wavediff.evaluation.manifest import Manifest
from wavediff.evaluation.pairs import Metrics, PairResult
from wavediff.evaluation.summary import Scores, Summary
from wavediff.evaluation.text_table import text_table


def summary_table(scores: Mapping[str, Scores], metrics: Metrics, n_files: int, noisy: bool) -> str:
    """Return a row per metric; with ``noisy`` also the input, the improvement and its interval."""
    head = ["noisy", "estimate", "improvement"] if noisy else ["mean"]
    rows = [["metric", "better", *head, "95 % interval", "files"]]
    for name, score in scores.items():
        direction = metrics[name].higher_is_better
        better = "-" if direction is None else "higher" if direction else "lower"
        last = score.improvement if noisy else score.estimate
        interval = "-" if last.low is None else f"{last.low:.3f} to {last.high:.3f}"
        count = _count(score.estimate if direction is None else last, n_files)
        row = [metrics[name].label, better, *_means(score, noisy), interval, count]
        rows.append(row)
    return text_table(rows)


def breakdown_table(
    column: str,
    groups: Mapping[str, tuple[Mapping[str, Scores], int]],
    metrics: Metrics,
    noisy: bool,
) -> str:
    """Return a row per metric and group of files.

    Args:
        column: the manifest's column by which files are grouped.
        groups: value of the column -> (scores by metric, number of files).
        metrics: by name.
        noisy: whether the noisy input is scored too.
    """
    head = ["noisy", "estimate", "improvement"] if noisy else ["mean"]
    rows = [["metric", column, *head, "files"]]
    for name, metric in metrics.items():
        compared = noisy and metric.higher_is_better is not None
        for value, (scores, n_files) in groups.items():
            last = scores[name].improvement if compared else scores[name].estimate
            means = _means(scores[name], noisy)
            rows.append([metric.label, value, *means, _count(last, n_files)])
    return text_table(rows)


def per_file_table(results: Sequence[PairResult], metrics: Metrics, noisy: bool) -> str:
    """Return a row per file; with ``noisy`` also the input and the improvement."""
    labels = [metric.label for metric in metrics.values()]
    if noisy:
        labels = [text for label in labels for text in (f"noisy {label}", label, "improvement")]
    rows = [["file", *labels]]
    for result in results:
        numbers = map(_number, _values(result, metrics, noisy))
        rows.append([result.pair.name, *numbers])
    return text_table(rows)


def write_csv(
    path: Path,
    results: Sequence[PairResult],
    metrics: Metrics,
    noisy: bool,
    manifest: Manifest,
    columns: Sequence[str],
) -> None:
    """Write a row per file: name, the manifest's ``columns``, values and remarks."""
    heads = list(metrics)
    if noisy:
        heads = [head for m in metrics for head in (f"noisy_{m}", m, f"{m}_improvement")]
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(["name", *columns, "sample_rate", "seconds", *heads, "remarks"])
        for result in results:
            row = manifest.get(result.pair.name, {})
            remarks = [result.error] if result.error else list(result.notes)
            for reasons in (result.unmeasurable, result.noisy_unmeasurable):
                remarks += [f"{name}: {why}" for name, why in reasons.items()]
            writer.writerow(
                [
                    result.pair.name,
                    *(row.get(column) for column in columns),
                    result.sample_rate,
                    result.seconds,
                    *_values(result, metrics, noisy),
                    "; ".join(remarks),
                ]
            )


def _values(result: PairResult, metrics: Iterable[str], noisy: bool) -> list[float | None]:
    kinds = [result.values]
    if noisy:
        kinds = [result.noisy_values, result.values, result.improvements]
    return [kind.get(name) for name in metrics for kind in kinds]


def _means(score: Scores, noisy: bool) -> list[str]:
    kinds = (score.noisy, score.estimate, score.improvement) if noisy else (score.estimate,)
    return [_number(kind.mean) for kind in kinds]


def _count(summary: Summary, n_files: int) -> str:
    return str(n_files) if summary.n == n_files else f"{summary.n} of {n_files}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
