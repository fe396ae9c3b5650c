"""`wavediff evaluate`: compute metrics of estimates, with and without references."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from wavediff.cli import run
from wavediff.commands.evaluate_arguments import LOG_MEL, parse
from wavediff.commands.outputs import interruptible, require_results
from wavediff.commands.pipes import piped
from wavediff.errors import UserError, named
from wavediff.files import atomic_path
from wavediff.inputs import find_audio, require_file

if TYPE_CHECKING:
    from wavediff.evaluation.manifest import Manifest
    from wavediff.evaluation.pairs import Metrics, Pair, PairResult
    from wavediff.evaluation.summary import Scores

LISTED = 20  # lines on stderr per kind of trouble; --json has them all


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code is 2 when a file could not be read."""
    args = parse(argv)
    with interruptible(), piped(args, json=".json", csv=".csv"):
        return compare(args)


def compare(args: argparse.Namespace) -> int:
    """Evaluate pairs or sets; the exit code."""
    for given in (args.reference, args.estimate, args.noisy):
        if given is not None and not given.exists():
            raise UserError(f"{given} does not exist: give a folder, or an audio file")
    inputs = [args.reference, args.estimate, args.noisy, args.manifest]
    inputs += [Path(args.frechet)] if args.frechet else []
    for _, model, _ in args.onnx_metric:
        require_file(model, "an ONNX model")
        inputs.append(model)
    require_results({"--csv": args.csv, "--json": args.json}, filter(None, inputs))
    return evaluate(args) if args.frechet is None else compare_sets(args)


def evaluate(args: argparse.Namespace) -> int:
    """Compute the metrics of the pairs, and report them."""
    from wavediff.evaluation.manifest import groups, read_manifest
    from wavediff.evaluation.pairs import alone, match, with_noisy
    from wavediff.evaluation.records import file_record, records
    from wavediff.evaluation.summary import summarize_files
    from wavediff.evaluation.tables import breakdown_table, per_file_table, summary_table, write_csv

    metrics = no_reference_metrics(args) if args.no_reference else available(args.metrics)
    references: list[Path] = []
    estimates: list[Path] = []
    if args.no_reference:
        pairs = alone(args.estimate)
    else:
        pairs, references, estimates = match(args.reference, args.estimate)
    noisy = args.noisy is not None
    without: list[Path] = []
    if noisy:
        pairs, without = with_noisy(pairs, args.reference or args.estimate, args.noisy)
    manifest: Manifest = {}
    if args.manifest:
        manifest = read_manifest(args.manifest, args.by, [pair.name for pair in pairs])
    list_lines("references without an estimate", map(str, references))
    list_lines("estimates without a reference", map(str, estimates))
    what = "estimates" if args.no_reference else "references"
    list_lines(f"{what} without a noisy input", map(str, without))
    if manifest:
        list_lines(
            "not in the manifest", [pair.name for pair in pairs if pair.name not in manifest]
        )
    with ExitStack() as stack:
        # opened before the work, which is lost where nothing can be written
        csv_path = stack.enter_context(atomic_path(args.csv)) if args.csv else None
        json_path = stack.enter_context(atomic_path(args.json)) if args.json else None
        results = evaluate_all(pairs, metrics, args.jobs)
        scores = {name: summarize_files(results, name) for name in metrics}
        breakdown = {
            column: {
                value: score_group(results, names, metrics)
                for value, names in groups(manifest, column).items()
            }
            for column in args.by
        }
        if csv_path:
            write_csv(csv_path, results, metrics, noisy, manifest, args.by)
        if json_path:
            unpaired = {
                "references_without_estimate": list(map(str, references)),
                "estimates_without_reference": list(map(str, estimates)),
            }
            everything = {
                **({} if args.no_reference else {"reference": named(args.reference)}),
                "estimate": named(args.estimate),
                **({"noisy": named(args.noisy)} if noisy else {}),
                "measures": records(scores, metrics, noisy),
                "breakdown": {
                    column: {
                        value: records(parts, metrics, noisy) for value, (parts, _) in rows.items()
                    }
                    for column, rows in breakdown.items()
                },
                "files": [file_record(r, manifest.get(r.pair.name)) for r in results],
                **({} if args.no_reference else unpaired),
                f"{what}_without_noisy": list(map(str, without)),
            }
            json_path.write_text(json.dumps(everything, indent=1, allow_nan=False) + "\n")
    report(results, metrics)
    if args.per_file:
        print(per_file_table(results, metrics, noisy), end="\n\n")
    for column, rows in breakdown.items():
        if rows:
            print(breakdown_table(column, rows, metrics, noisy), end="\n\n")
    print(summary_table(scores, metrics, len(results), noisy))
    return 2 if any(result.error for result in results) else 0


def compare_sets(args: argparse.Namespace) -> int:
    """Compute the Frechet distance of two folders. Returns 2 where a file could not be read."""
    import torch

    from wavediff.data.audio import read_audio
    from wavediff.evaluation.frechet import embedding, frechet, log_mel_statistics
    from wavediff.evaluation.pairs import MIN_SECONDS

    features = log_mel_statistics if args.frechet == LOG_MEL else embedding(args.frechet)
    with ExitStack() as stack:
        json_path = stack.enter_context(atomic_path(args.json)) if args.json else None
        files = [find_audio([folder]) for folder in (args.reference, args.estimate)]
        sets, rate, unread = [], None, []
        with tqdm(total=sum(map(len, files)), desc="evaluate", unit="file") as progress:
            for paths in files:
                found = []
                for path in paths:
                    progress.update()
                    try:
                        audio, rate = read_audio(path, rate)
                        if audio.shape[-1] < MIN_SECONDS * rate:
                            raise UserError(f"{path} is shorter than {1000 * MIN_SECONDS:g} ms")
                        found.append(features(audio, rate))
                    except UserError as error:
                        unread.append(str(error))
                sets.append(found)
        list_lines("could not be read", unread)
        reference, estimate = sets
        if min(len(reference), len(estimate)) < 2:
            raise UserError(
                f"{len(reference)} references and {len(estimate)} estimates could be read: a set "
                "needs at least 2 files, and a thousand for a reliable result"
            )
        try:
            distance = frechet(torch.cat(reference), torch.cat(estimate))
        except (ValueError, RuntimeError) as error:
            raise UserError(f"{args.frechet}: {error}") from error
        if json_path:
            result = {
                "reference": named(args.reference),
                "estimate": named(args.estimate),
                "features": args.frechet,
                "frechet": distance,
                "references": len(reference),
                "estimates": len(estimate),
            }
            json_path.write_text(json.dumps(result, indent=1) + "\n")
    few = min(len(reference), len(estimate))
    if few <= reference[0].shape[1]:
        print(
            f"{few} files are too few to estimate the covariance of {reference[0].shape[1]} "
            "features: the distance is inaccurate",
            file=sys.stderr,
        )
    print(f"Frechet distance  {distance:.4g}  ({len(reference)} references, {len(estimate)} files)")
    return 2 if unread else 0


def score_group(
    results: Sequence[PairResult], names: set[str], metrics: Iterable[str]
) -> tuple[dict[str, Scores], int]:
    """Return the metrics of some of the files, and how many there are."""
    from wavediff.evaluation.summary import summarize_files

    chosen = [result for result in results if result.pair.name in names]
    return {name: summarize_files(chosen, name) for name in metrics}, len(chosen)


def evaluate_all(pairs: Sequence[Pair], metrics: Metrics, jobs: int) -> list[PairResult]:
    """Compute the metrics of all pairs, sorted by name."""
    from wavediff.evaluation.pairs import evaluate_pairs

    results = []
    with tqdm(total=len(pairs), desc="evaluate", unit="file", file=sys.stderr) as progress:
        for result in evaluate_pairs(pairs, metrics, min(jobs, len(pairs))):
            results.append(result)
            progress.update()
    return sorted(results, key=lambda result: result.pair.name)


def available(chosen: list[str] | None) -> Metrics:
    """Return the chosen metrics, or all whose package is installed, saying which are not."""
    from wavediff.evaluation.metrics import METRICS

    for name in chosen or []:
        METRICS[name].require()
    if chosen:
        return {name: METRICS[name] for name in chosen}
    metrics = {}
    for name, metric in METRICS.items():
        try:
            metric.require()
            metrics[name] = metric
        except UserError as error:
            print(f"{metric.label} is left out: {error}", file=sys.stderr)
    return metrics


def no_reference_metrics(args: argparse.Namespace) -> Metrics:
    """Return the chosen metrics or all, and those of the models.

    Raises UserError for a model that is not a metric, or a name that is taken.
    """
    from wavediff.evaluation.no_reference import NO_REFERENCE
    from wavediff.evaluation.onnx_metric import OnnxModel, onnx_metrics

    metrics = {name: NO_REFERENCE[name] for name in args.metrics or NO_REFERENCE}
    for name, file, rate in args.onnx_metric:
        found, note = onnx_metrics(OnnxModel(name, file, rate))
        if taken := [name for name in found if name in NO_REFERENCE or name in metrics]:
            raise UserError(
                f"--onnx-metric {name}: there is a metric {', '.join(taken)} already: give the "
                "model another name"
            )
        if note:
            print(note, file=sys.stderr)
        metrics |= found
    return metrics


def report(results: Sequence[PairResult], metrics: Metrics) -> None:
    """Say on stderr what a reader of the means has to know."""
    list_lines("could not be read", [r.error for r in results if r.error])
    list_lines("noted", [f"{r.pair.name}: {note}" for r in results for note in r.notes])
    reasons: dict[tuple[str, str], list[str]] = {}  # (file, reason) -> labels of metrics
    for result in results:
        for found in (result.unmeasurable, result.noisy_unmeasurable):
            for name, reason in found.items():
                labels = reasons.setdefault((result.pair.name, reason), [])
                labels += [label for label in [metrics[name].label] if label not in labels]
    list_lines(
        "undefined",
        [f"{file}: {', '.join(labels)}: {why}" for (file, why), labels in reasons.items()],
    )


def list_lines(heading: str, lines: Iterable[str]) -> None:
    """Print lines under a heading on stderr, if there are any."""
    lines = list(lines)
    if not lines:
        return
    print(f"{heading} ({len(lines)}):", *lines[:LISTED], sep="\n  ", file=sys.stderr)
    if len(lines) > LISTED:
        print(f"  and {len(lines) - LISTED} more (--json lists all)", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run(main))
