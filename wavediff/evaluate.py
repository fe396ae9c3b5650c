"""`wavediff evaluate`: measure estimates against their references."""

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from wavediff.cli import run
from wavediff.errors import UserError
from wavediff.evaluation.measures import MEASURES
from wavediff.evaluation.pairs import Judgement, Pair, judge_all, match
from wavediff.evaluation.summary import Summary, summarize
from wavediff.files import atomic_path

_DESCRIPTION = """\
Measure estimates against their references, two folders of audio or two files. Files belong
together when their paths below the folders are equal, suffixes aside. Frames are compared where
they stand, several channels are averaged to one, an estimate at another sample rate is resampled
to its reference's, and the longer of the two is cut to the shorter.

measures (all of them unless --measures says which):
  pesq_wb        wide-band PESQ, ITU-T P.862.2, at 16 kHz, 1.04 to 4.64
  stoi, estoi    short-time objective intelligibility, and its extended form, up to 1
  si_sdr         scale-invariant signal-to-distortion ratio, means removed, dB
  mr_stft        multi-resolution STFT distance (Yamamoto et al. 2020)
  mcd            mel-cepstral distortion, coefficients 1 to 24, not warped in time, dB
  log_mel_error  mean absolute difference of natural-log mel magnitudes, 80 bands
  f0_rmse        root mean square of the F0 difference where both are voiced, cents

A file that a measure cannot judge is left out of that measure's mean only, and is listed."""

_EXAMPLES = """\
examples:
  wavediff evaluate --reference originals/ --estimate vocoded/
  wavediff evaluate --reference clean.wav --estimate enhanced.wav
  wavediff evaluate --reference a/ --estimate b/ --measures pesq_wb,estoi --csv files.csv
  wavediff evaluate --reference a/ --estimate b/ --per-file --json all.json
"""
_LISTED = 20  # lines on stderr per kind of trouble; --json has them all


def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    measures = _available(args.measures)
    pairs, references, estimates = match(args.reference, args.estimate)
    _list("references without an estimate", map(str, references))
    _list("estimates without a reference", map(str, estimates))
    with ExitStack() as stack:
        # Opened before the work: a place that cannot be written to should not cost an hour.
        csv_path = stack.enter_context(atomic_path(args.csv)) if args.csv else None
        json_path = stack.enter_context(atomic_path(args.json)) if args.json else None
        judgements = _judge(pairs, measures, args.jobs)
        summaries = {
            name: summarize([j.values[name] for j in judgements if name in j.values])
            for name in measures
        }
        if csv_path:
            _write_csv(csv_path, judgements, measures)
        if json_path:
            result = {
                "reference": str(args.reference),
                "estimate": str(args.estimate),
                "measures": {name: _summary_record(name, summaries[name]) for name in measures},
                "files": [_file_record(judgement) for judgement in judgements],
                "references_without_estimate": [str(path) for path in references],
                "estimates_without_reference": [str(path) for path in estimates],
            }
            json_path.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    _report(judgements)
    if args.per_file:
        print(_per_file_table(judgements, measures), end="\n\n")
    print(_summary_table(summaries, len(judgements)))
    return 2 if any(judgement.error for judgement in judgements) else 0


def _judge(pairs: Sequence[Pair], measures: Sequence[str], jobs: int) -> list[Judgement]:
    judgements = []
    with tqdm(total=len(pairs), desc="evaluate", unit="file", file=sys.stderr) as progress:
        for judgement in judge_all(pairs, measures, min(jobs, len(pairs))):
            judgements.append(judgement)
            progress.update()
    return sorted(judgements, key=lambda judgement: judgement.pair.name)


def _parse(argv: list[str] | None) -> argparse.Namespace:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parser = argparse.ArgumentParser(
        prog="wavediff evaluate",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--reference", type=Path, required=True, metavar="PATH", help="folder, or one audio file"
    )
    parser.add_argument(
        "--estimate", type=Path, required=True, metavar="PATH", help="folder, or one audio file"
    )
    parser.add_argument(
        "--measures", type=_measures, metavar="NAME,NAME", help=f"of {', '.join(MEASURES)}"
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
    return parser.parse_args(argv)


def _measures(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in MEASURES]
    if unknown or not names:
        raise argparse.ArgumentTypeError(
            f"no measure {', '.join(unknown) or 'named'}: choose from {', '.join(MEASURES)}"
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
        MEASURES[name].require()
    if chosen:
        return chosen
    names = []
    for name, measure in MEASURES.items():
        try:
            measure.require()
            names.append(name)
        except UserError as error:
            print(f"{measure.label} is left out: {error}", file=sys.stderr)
    return names


def _report(judgements: Sequence[Judgement]) -> None:
    """Tell stderr what a reader of the means has to know."""
    _list("could not be read", [j.error for j in judgements if j.error])
    _list("noticed", [f"{j.pair.name}: {note}" for j in judgements for note in j.notes])
    reasons: dict[tuple[str, str], list[str]] = {}  # (file, reason) -> labels of measures
    for judgement in judgements:
        for name, reason in judgement.unmeasurable.items():
            key = (judgement.pair.name, reason)
            reasons.setdefault(key, []).append(MEASURES[name].label)
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


def _summary_table(summaries: dict[str, Summary], n_files: int) -> str:
    rows = [["measure", "better", "mean", "95 % interval", "files"]]
    for name, summary in summaries.items():
        better = "higher" if MEASURES[name].higher_is_better else "lower"
        interval = "-" if summary.low is None else f"{summary.low:.3f} to {summary.high:.3f}"
        count = str(n_files) if summary.n == n_files else f"{summary.n} of {n_files}"
        rows.append([MEASURES[name].label, better, _number(summary.mean), interval, count])
    return _table(rows)


def _per_file_table(judgements: Sequence[Judgement], measures: Sequence[str]) -> str:
    rows = [["file", *(MEASURES[name].label for name in measures)]]
    for judgement in judgements:
        numbers = [_number(judgement.values.get(name)) for name in measures]
        rows.append([judgement.pair.name, *numbers])
    return _table(rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([f"{first:{widths[0]}}", *cells]))
    return "\n".join(lines)


def _write_csv(path: Path, judgements: Sequence[Judgement], measures: Sequence[str]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "sample_rate", "seconds", *measures, "remarks"])
        for judgement in judgements:
            remarks = [judgement.error] if judgement.error else list(judgement.notes)
            remarks += [f"{name}: {why}" for name, why in judgement.unmeasurable.items()]
            writer.writerow(
                [
                    judgement.pair.name,
                    judgement.sample_rate,
                    judgement.seconds,
                    *(judgement.values.get(name) for name in measures),
                    "; ".join(remarks),
                ]
            )


def _summary_record(name: str, summary: Summary) -> dict:
    measure = MEASURES[name]
    return {
        "label": measure.label,
        "higher_is_better": measure.higher_is_better,
        "mean": summary.mean,
        "ci95": None if summary.low is None else [summary.low, summary.high],
        "n": summary.n,
    }


def _file_record(judgement: Judgement) -> dict:
    record = asdict(judgement)
    pair = record.pop("pair")
    return {key: str(value) for key, value in pair.items()} | record


if __name__ == "__main__":
    sys.exit(run(main))
