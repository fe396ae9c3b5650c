"""`wavediff evaluate`: compute metrics of estimates against their references."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from wavediff.cli import run
from wavediff.commands.arguments import Parser, name_list, path, whole
from wavediff.commands.outputs import interruptible, require_results
from wavediff.commands.pipes import piped
from wavediff.errors import UserError, named
from wavediff.files import atomic_path
from wavediff.inputs import find_audio

if TYPE_CHECKING:
    from wavediff.evaluation.manifest import Manifest
    from wavediff.evaluation.pairs import Pair, PairResult
    from wavediff.evaluation.summary import Scores, Summary

METRIC_HELP = {  # those of wavediff.evaluation.metrics, by name
    "pesq_wb": "wide-band PESQ, ITU-T P.862.2, at 16 kHz, 1.04 to 4.64",
    "csig": "composite rating (Hu and Loizou 2008) of the speech distortion, 1 to 5",
    "cbak": "composite rating of the intrusiveness of the background, 1 to 5",
    "covl": "composite rating of the overall quality, 1 to 5",
    "stoi": "short-time objective intelligibility, up to 1",
    "estoi": "extended short-time objective intelligibility, up to 1",
    "si_sdr": "scale-invariant signal-to-distortion ratio, means removed, dB",
    "mr_stft": "multi-resolution STFT distance (Yamamoto et al. 2020)",
    "lsd": "log-spectral distance, dB",
    "mcd": "mel-cepstral distortion, coefficients 1 to 24, not time-warped, dB",
    "log_mel_error": "mean absolute difference of natural-log mel magnitudes, 80 bands",
    "f0_rmse": "root mean square F0 error where both signals are voiced, cents",
}

DESCRIPTION = f"""\
Compute metrics of estimates against their references, two folders of audio or two files. Files are
paired by their paths below the folders, up to the suffix. Signals are not aligned in time. Several
channels are averaged to one, an estimate at another sample rate is resampled to its reference's,
and the longer signal of a pair is cut to the shorter; below 0.1 s nothing is compared.

With --noisy the same metrics are computed for the noisy inputs, and the improvement of the
estimates over them, positive if an estimate is better, for each metric. With --manifest the means
are broken down by the values of its columns, too: by SNR, unless --by names others.

metrics (all unless --metrics names some):
{chr(10).join(f"  {name:14} {what}" for name, what in METRIC_HELP.items())}

A file for which a metric is undefined is left out of that metric's mean only, and is listed.

With --frechet the folders are compared as sets, for sounds without references of their own: the
squared Frechet distance between the Gaussians of their features. Features are the mean, standard
deviation and mean absolute difference of 20 log-mel bands, or the output of a TorchScript model.
The distance depends on the number of files: compare results of equally many, a thousand or more."""

EXAMPLES = """\
examples:
  wavediff evaluate --reference originals/ --estimate vocoded/
  wavediff evaluate --reference clean.wav --estimate enhanced.wav --noisy noisy.wav
  wavediff evaluate --reference clean/ --estimate enhanced/ --noisy noisy/ --manifest set.csv
  wavediff evaluate --reference a/ --estimate b/ --metrics pesq_wb,estoi --csv files.csv
  wavediff evaluate --reference a/ --estimate b/ --per-file --json all.json
  wavediff evaluate --reference recordings/ --estimate generated/ --frechet
"""
LOG_MEL = "log-mel statistics"
MOST_JOBS = 256
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
    require_results({"--csv": args.csv, "--json": args.json}, filter(None, inputs))
    return evaluate(args) if args.frechet is None else compare_sets(args)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parser = Parser("evaluate", DESCRIPTION, EXAMPLES)
    add = parser.add_option
    one = "folder, or one audio file"
    add("--reference", path, "PATH", one, required=True)
    add("--estimate", path, "PATH", one, required=True)
    add("--noisy", path, "PATH", "the inputs of the estimates, evaluated too")
    add(
        "--manifest",
        path,
        "CSV",
        "a table of the files, with a column name, for a breakdown --by its other columns",
    )
    add(
        "--by",
        name_list,
        "COLUMN,COLUMN",
        "columns of the manifest by which to break the means down (default: snr_db)",
    )
    parser.add_argument(
        "--metrics",
        "--measures",
        type=metric_names,
        metavar="NAME,NAME",
        help=f"of {', '.join(METRIC_HELP)}",
    )
    parser.add_argument(
        "--frechet",
        nargs="?",
        const=LOG_MEL,
        metavar="MODEL",
        help="compare the folders as sets, by a TorchScript MODEL (audio [n, time] to [n, d]) if "
        "given",
    )
    parser.add_argument("--per-file", action="store_true", help="print a row for each file, too")
    add("--csv", path, "FILE", "write a row for each file; - is stdout")
    add("--json", path, "FILE", "write everything; - is stdout")
    add(
        "--jobs",
        whole(1, MOST_JOBS),
        "N",
        "processes at a time, one per core",
        default=min(cores or 1, 16),
    )
    args = parser.parse_args(argv)
    if args.by and not args.manifest:
        parser.error("--by names columns of a --manifest: give that too")
    pairs = [args.noisy, args.manifest, args.metrics, args.csv, args.per_file]
    if args.frechet is not None and any(pairs):
        parser.error("--frechet compares sets, not pairs: leave the other options out but --json")
    if args.by is None:
        args.by = ["snr_db"] if args.manifest else []
    return args


def metric_names(text: str) -> list[str]:
    """An argparse type: names of metrics separated by commas."""
    names = name_list(text)
    unknown = [name for name in names if name not in METRIC_HELP]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"there is no metric {', '.join(unknown)}; choose from {', '.join(METRIC_HELP)}"
        )
    return names


def evaluate(args: argparse.Namespace) -> int:
    """Compute the metrics of the pairs, and report them."""
    from wavediff.evaluation.manifest import groups, read_manifest
    from wavediff.evaluation.pairs import match, with_noisy
    from wavediff.evaluation.summary import summarize_files
    from wavediff.evaluation.tables import breakdown_table, per_file_table, summary_table, write_csv

    metrics = available(args.metrics)
    pairs, references, estimates = match(args.reference, args.estimate)
    noisy = args.noisy is not None
    without: list[Path] = []
    if noisy:
        pairs, without = with_noisy(pairs, args.reference, args.noisy)
    manifest: Manifest = {}
    if args.manifest:
        manifest = read_manifest(args.manifest, args.by, [pair.name for pair in pairs])
    list_lines("references without an estimate", map(str, references))
    list_lines("estimates without a reference", map(str, estimates))
    list_lines("references without a noisy input", map(str, without))
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
            everything = {
                "reference": named(args.reference),
                "estimate": named(args.estimate),
                **({"noisy": named(args.noisy)} if noisy else {}),
                "measures": records(scores, noisy),
                "breakdown": {
                    column: {value: records(parts, noisy) for value, (parts, _) in rows.items()}
                    for column, rows in breakdown.items()
                },
                "files": [file_record(r, manifest.get(r.pair.name)) for r in results],
                "references_without_estimate": [str(path) for path in references],
                "estimates_without_reference": [str(path) for path in estimates],
                "references_without_noisy": [str(path) for path in without],
            }
            json_path.write_text(json.dumps(everything, indent=1, allow_nan=False) + "\n")
    report(results)
    if args.per_file:
        print(per_file_table(results, metrics, noisy), end="\n\n")
    for column, rows in breakdown.items():
        if rows:
            print(breakdown_table(column, rows, noisy), end="\n\n")
    print(summary_table(scores, len(results), noisy))
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
    results: Sequence[PairResult], names: set[str], metrics: Sequence[str]
) -> tuple[dict[str, Scores], int]:
    """Return the metrics of some of the files, and how many there are."""
    from wavediff.evaluation.summary import summarize_files

    chosen = [result for result in results if result.pair.name in names]
    return {name: summarize_files(chosen, name) for name in metrics}, len(chosen)


def evaluate_all(pairs: Sequence[Pair], metrics: Sequence[str], jobs: int) -> list[PairResult]:
    """Compute the metrics of all pairs, sorted by name."""
    from wavediff.evaluation.pairs import evaluate_pairs

    results = []
    with tqdm(total=len(pairs), desc="evaluate", unit="file", file=sys.stderr) as progress:
        for result in evaluate_pairs(pairs, metrics, min(jobs, len(pairs))):
            results.append(result)
            progress.update()
    return sorted(results, key=lambda result: result.pair.name)


def available(chosen: list[str] | None) -> list[str]:
    """Return the chosen metrics, or all whose package is installed, saying which are not."""
    from wavediff.evaluation.metrics import METRICS

    for name in chosen or []:
        METRICS[name].require()
    if chosen:
        return chosen
    names = []
    for name, metric in METRICS.items():
        try:
            metric.require()
            names.append(name)
        except UserError as error:
            print(f"{metric.label} is left out: {error}", file=sys.stderr)
    return names


def report(results: Sequence[PairResult]) -> None:
    """Say on stderr what a reader of the means has to know."""
    from wavediff.evaluation.metrics import METRICS

    list_lines("could not be read", [r.error for r in results if r.error])
    list_lines("noted", [f"{r.pair.name}: {note}" for r in results for note in r.notes])
    reasons: dict[tuple[str, str], list[str]] = {}  # (file, reason) -> labels of metrics
    for result in results:
        for found in (result.unmeasurable, result.noisy_unmeasurable):
            for name, reason in found.items():
                labels = reasons.setdefault((result.pair.name, reason), [])
                labels += [label for label in [METRICS[name].label] if label not in labels]
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


def records(scores: dict[str, Scores], noisy: bool) -> dict[str, dict]:
    """Return what --json has of the metrics."""
    from wavediff.evaluation.metrics import METRICS

    found = {}
    for name, score in scores.items():
        metric = METRICS[name]
        record = {"label": metric.label, "higher_is_better": metric.higher_is_better}
        record |= summary_record(score.estimate)
        if noisy:
            record["noisy"] = summary_record(score.noisy)
            record["improvement"] = summary_record(score.improvement)
        found[name] = record
    return found


def summary_record(summary: Summary) -> dict:
    """Return what --json has of a mean."""
    interval = None if summary.low is None else [summary.low, summary.high]
    return {"mean": summary.mean, "ci95": interval, "n": summary.n}


def file_record(result: PairResult, row: dict[str, str] | None) -> dict:
    """Return what --json has of a pair of files."""
    record = asdict(result)
    pair = {key: named(value) for key, value in record.pop("pair").items() if value is not None}
    if result.pair.noisy is None:
        del record["noisy_values"], record["noisy_unmeasurable"]
    else:
        record["improvements"] = result.improvements
    if row is not None:
        record["manifest"] = row
    return pair | record


if __name__ == "__main__":
    sys.exit(run(main))
