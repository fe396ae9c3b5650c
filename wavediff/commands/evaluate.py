"""`wavediff evaluate`: measure estimates against their references."""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm import tqdm

from wavediff.cli import run
from wavediff.commands.arguments import Parser
from wavediff.data.audio import BadAudio, find_audio, read_audio
from wavediff.errors import UserError
from wavediff.evaluation.frechet import embedding, frechet, log_mel_statistics
from wavediff.evaluation.manifest import Manifest, groups, read_manifest
from wavediff.evaluation.metrics import METRICS
from wavediff.evaluation.pairs import Pair, PairResult, evaluate_pairs, match, with_noisy
from wavediff.evaluation.summary import Scores, Summary, summarize_files
from wavediff.evaluation.tables import breakdown_table, per_file_table, summary_table, write_csv
from wavediff.files import atomic_path

_DESCRIPTION = """\
Measure estimates against their references, two folders of audio or two files. Files belong
together when their paths below the folders are equal, suffixes aside. Frames are compared where
they stand, several channels are averaged to one, an estimate at another sample rate is resampled
to its reference's, and the longer of the two is cut to the shorter.

With --noisy the same is measured of what the estimates were made from, and how much better the
estimates are: improvements are positive for the better, whichever way a measure goes. With
--manifest the means are given for each value of its columns, too: for each SNR, if not told --by
which.

measures (all of them unless --measures says which):
  pesq_wb        wide-band PESQ, ITU-T P.862.2, at 16 kHz, 1.04 to 4.64
  csig, cbak, covl  composite ratings (Hu and Loizou 2008) of the distortion of the speech, the
                 intrusiveness of the background, and overall, with pesq_wb, 1 to 5
  stoi, estoi    short-time objective intelligibility, and its extended form, up to 1
  si_sdr         scale-invariant signal-to-distortion ratio, means removed, dB
  mr_stft        multi-resolution STFT distance (Yamamoto et al. 2020)
  mcd            mel-cepstral distortion, coefficients 1 to 24, not warped in time, dB
  log_mel_error  mean absolute difference of natural-log mel magnitudes, 80 bands
  f0_rmse        root mean square of the F0 difference where both are voiced, cents

A file that a measure cannot judge is left out of that measure's mean only, and is listed.

With --frechet the folders are compared as sets, for sounds that have no reference of their own:
the squared Frechet distance of the two Gaussians of their features. Features are the mean, standard
deviation and mean absolute change of 20 log-mel bands, or what a TorchScript model gives. It
depends on the number of files: compare values of equally many, a thousand or more."""

_EXAMPLES = """\
examples:
  wavediff evaluate --reference originals/ --estimate vocoded/
  wavediff evaluate --reference clean.wav --estimate enhanced.wav --noisy noisy.wav
  wavediff evaluate --reference clean/ --estimate enhanced/ --noisy noisy/ --manifest set.csv
  wavediff evaluate --reference a/ --estimate b/ --measures pesq_wb,estoi --csv files.csv
  wavediff evaluate --reference a/ --estimate b/ --per-file --json all.json
  wavediff evaluate --reference recordings/ --estimate generated/ --frechet
"""
LOG_MEL = "log-mel statistics"
_LISTED = 20  # lines on stderr per kind of trouble; --json has them all


def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    if args.frechet is not None:
        return _compare_sets(args)
    measures = _available(args.measures)
    pairs, references, estimates = match(args.reference, args.estimate)
    noisy = args.noisy is not None
    without = []
    if noisy:
        pairs, without = with_noisy(pairs, args.reference, args.noisy)
    manifest: Manifest = {}
    if args.manifest:
        manifest = read_manifest(args.manifest, args.by, [pair.name for pair in pairs])
    _list("references without an estimate", map(str, references))
    _list("estimates without a reference", map(str, estimates))
    _list("references without a noisy input", map(str, without))
    if manifest:
        _list("not in the manifest", [pair.name for pair in pairs if pair.name not in manifest])
    with ExitStack() as stack:
        # Opened before the work: a place that cannot be written to should not cost an hour.
        csv_path = stack.enter_context(atomic_path(args.csv)) if args.csv else None
        json_path = stack.enter_context(atomic_path(args.json)) if args.json else None
        judgements = _judge(pairs, measures, args.jobs)
        scores = {name: summarize_files(judgements, name) for name in measures}
        breakdown = {
            column: {
                value: _score_group(judgements, names, measures)
                for value, names in groups(manifest, column).items()
            }
            for column in args.by
        }
        if csv_path:
            write_csv(csv_path, judgements, measures, noisy, manifest, args.by)
        if json_path:
            result = {
                "reference": str(args.reference),
                "estimate": str(args.estimate),
                **({"noisy": str(args.noisy)} if noisy else {}),
                "measures": _records(scores, noisy),
                "breakdown": {
                    column: {value: _records(parts, noisy) for value, (parts, _) in rows.items()}
                    for column, rows in breakdown.items()
                },
                "files": [_file_record(j, manifest.get(j.pair.name)) for j in judgements],
                "references_without_estimate": [str(path) for path in references],
                "estimates_without_reference": [str(path) for path in estimates],
                "references_without_noisy": [str(path) for path in without],
            }
            json_path.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    _report(judgements)
    if args.per_file:
        print(per_file_table(judgements, measures, noisy), end="\n\n")
    for column, rows in breakdown.items():
        if rows:
            print(breakdown_table(column, rows, noisy), end="\n\n")
    print(summary_table(scores, len(judgements), noisy))
    return 2 if any(judgement.error for judgement in judgements) else 0


def _compare_sets(args: argparse.Namespace) -> int:
    """The Frechet distance of two folders. Returns 2 where a file could not be read."""
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
                        found.append(features(audio, rate))
                    except BadAudio as error:
                        unread.append(str(error))
                sets.append(found)
        _list("could not be read", unread)
        reference, estimate = sets
        if min(len(reference), len(estimate)) < 2:
            raise UserError(
                f"{len(reference)} references and {len(estimate)} estimates could be read: a set "
                "needs at least 2 files, and a thousand for a figure to trust"
            )
        try:
            distance = frechet(torch.cat(reference), torch.cat(estimate))
        except (ValueError, RuntimeError) as error:
            raise UserError(f"{args.frechet}: {error}") from error
        if json_path:
            result = {
                "reference": str(args.reference),
                "estimate": str(args.estimate),
                "features": args.frechet,
                "frechet": distance,
                "references": len(reference),
                "estimates": len(estimate),
            }
            json_path.write_text(json.dumps(result, indent=1) + "\n")
    few = min(len(reference), len(estimate))
    if few <= reference[0].shape[1]:
        print(
            f"{few} files cannot tell the covariance of {reference[0].shape[1]} features: the "
            "distance is rough",
            file=sys.stderr,
        )
    print(f"Frechet distance  {distance:.4g}  ({len(reference)} references, {len(estimate)} files)")
    return 2 if unread else 0


def _score_group(
    judgements: Sequence[PairResult], names: set[str], measures: Sequence[str]
) -> tuple[dict[str, Scores], int]:
    chosen = [judgement for judgement in judgements if judgement.pair.name in names]
    return {name: summarize_files(chosen, name) for name in measures}, len(chosen)


def _judge(pairs: Sequence[Pair], measures: Sequence[str], jobs: int) -> list[PairResult]:
    judgements = []
    with tqdm(total=len(pairs), desc="evaluate", unit="file", file=sys.stderr) as progress:
        for judgement in evaluate_pairs(pairs, measures, min(jobs, len(pairs))):
            judgements.append(judgement)
            progress.update()
    return sorted(judgements, key=lambda judgement: judgement.pair.name)


def _parse(argv: list[str] | None) -> argparse.Namespace:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parser = Parser(
        prog="wavediff evaluate",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
    )
    parser.add_argument(
        "--reference", type=Path, required=True, metavar="PATH", help="folder, or one audio file"
    )
    parser.add_argument(
        "--estimate", type=Path, required=True, metavar="PATH", help="folder, or one audio file"
    )
    parser.add_argument(
        "--noisy", type=Path, metavar="PATH", help="what the estimates were made from, measured too"
    )
    parser.add_argument(
        "--manifest",
        type=Path,
        metavar="CSV",
        help="a table of the files, with a column name, for a breakdown --by its other columns",
    )
    parser.add_argument(
        "--by",
        type=_columns,
        metavar="COLUMN,COLUMN",
        help="columns of the manifest by which to break the means down (default: snr_db)",
    )
    parser.add_argument(
        "--measures", type=_measures, metavar="NAME,NAME", help=f"of {', '.join(METRICS)}"
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
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a row for each file")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything")
    parser.add_argument(
        "--jobs",
        type=_positive,
        default=min(cores or 1, 16),
        help="processes at a time (default: one for each core, here %(default)s)",
    )
    args = parser.parse_args(argv)
    if args.by and not args.manifest:
        parser.error("--by names columns of a --manifest: give that too")
    pairs = [args.noisy, args.manifest, args.measures, args.csv, args.per_file]
    if args.frechet is not None and any(pairs):
        parser.error("--frechet compares sets, not pairs: leave the other options out but --json")
    if args.by is None:
        args.by = ["snr_db"] if args.manifest else []
    return args


def _columns(text: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _measures(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in METRICS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(
            f"no measure {', '.join(unknown) or 'named'}: choose from {', '.join(METRICS)}"
        )
    return list(dict.fromkeys(names))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _available(chosen: list[str] | None) -> list[str]:
    """The measures to take: those chosen, or all whose package is there, saying which are not."""
    for name in chosen or []:
        METRICS[name].require()
    if chosen:
        return chosen
    names = []
    for name, measure in METRICS.items():
        try:
            measure.require()
            names.append(name)
        except UserError as error:
            print(f"{measure.label} is left out: {error}", file=sys.stderr)
    return names


def _report(judgements: Sequence[PairResult]) -> None:
    """Tell stderr what a reader of the means has to know."""
    _list("could not be read", [j.error for j in judgements if j.error])
    _list("noticed", [f"{j.pair.name}: {note}" for j in judgements for note in j.notes])
    reasons: dict[tuple[str, str], list[str]] = {}  # (file, reason) -> labels of measures
    for judgement in judgements:
        for found in (judgement.unmeasurable, judgement.noisy_unmeasurable):
            for name, reason in found.items():
                labels = reasons.setdefault((judgement.pair.name, reason), [])
                labels += [label for label in [METRICS[name].label] if label not in labels]
    _list(
        "not measurable",
        [f"{file}: {', '.join(labels)}: {why}" for (file, why), labels in reasons.items()],
    )


def _list(heading: str, lines: Iterable[str]) -> None:
    lines = list(lines)
    if not lines:
        return
    print(f"{heading} ({len(lines)}):", *lines[:_LISTED], sep="\n  ", file=sys.stderr)
    if len(lines) > _LISTED:
        print(f"  and {len(lines) - _LISTED} more (--json lists all)", file=sys.stderr)


def _records(scores: dict[str, Scores], noisy: bool) -> dict[str, dict]:
    records = {}
    for name, score in scores.items():
        measure = METRICS[name]
        record = {"label": measure.label, "higher_is_better": measure.higher_is_better}
        record |= _summary_record(score.estimate)
        if noisy:
            record["noisy"] = _summary_record(score.noisy)
            record["improvement"] = _summary_record(score.improvement)
        records[name] = record
    return records


def _summary_record(summary: Summary) -> dict:
    interval = None if summary.low is None else [summary.low, summary.high]
    return {"mean": summary.mean, "ci95": interval, "n": summary.n}


def _file_record(judgement: PairResult, row: dict[str, str] | None) -> dict:
    record = asdict(judgement)
    pair = {key: str(value) for key, value in record.pop("pair").items() if value is not None}
    if judgement.pair.noisy is None:
        del record["noisy_values"], record["noisy_unmeasurable"]
    else:
        record["improvements"] = judgement.improvements
    if row is not None:
        record["manifest"] = row
    return pair | record


if __name__ == "__main__":
    sys.exit(run(main))
