"""What ``wavediff evaluate --json`` has of metrics and files."""

from collections.abc import Mapping
from dataclasses import asdict

from wavediff.errors import named
from wavediff.evaluation.pairs import Metrics, PairResult
from wavediff.evaluation.summary import Scores, Summary


def records(scores: Mapping[str, Scores], metrics: Metrics, noisy: bool) -> dict[str, dict]:
    """Return a record for each metric; with ``noisy`` also of the input and the improvement."""
    found = {}
    for name, score in scores.items():
        metric = metrics[name]
        record: dict = {"label": metric.label, "higher_is_better": metric.higher_is_better}
        record |= _summary_record(score.estimate)
        if noisy:
            record["noisy"] = _summary_record(score.noisy)
            record["improvement"] = _summary_record(score.improvement)
        found[name] = record
    return found


def file_record(result: PairResult, row: dict[str, str] | None) -> dict:
    """Return the record of a pair of files, with its row of the manifest."""
    record = asdict(result)
    pair = {key: named(value) for key, value in record.pop("pair").items() if value is not None}
    if result.pair.noisy is None:
        del record["noisy_values"], record["noisy_unmeasurable"], record["improvements"]
    if row is not None:
        record["manifest"] = row
    return pair | record


def _summary_record(summary: Summary) -> dict:
    interval = None if summary.low is None else [summary.low, summary.high]
    return {"mean": summary.mean, "ci95": interval, "n": summary.n}
