"""The command line of `wavediff evaluate`."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from wavediff.commands.arguments import Parser, name_list, path, whole

LOG_MEL = "log-mel statistics"
MOST_JOBS = 256
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
NO_REFERENCE_HELP = {  # those of wavediff.evaluation.no_reference
    "speech_level": "active speech level, ITU-T P.56 method B, dBFS",
    "activity": "share of the time with speech, ITU-T P.56, per cent",
    "noise_floor": "median level in the pauses of speech, dBFS, at least -100",
    "wada_snr": "estimated SNR (Kim and Stern 2008), for noisy speech, -20 to 100 dB",
    "bandwidth": "highest frequency with content above the floor, Hz",
    "clipped": "samples in flat runs at the extremes, per cent",
    "clipped_runs": "number of these runs",
    "dc_offset": "magnitude of the mean, per cent of full scale",
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

With --no-reference the estimates are evaluated by themselves, at their own sample rates; a value is
the mean over the channels. Level, noise floor and WADA-SNR are made for recordings of speech.

metrics with --no-reference:
{chr(10).join(f"  {name:14} {what}" for name, what in NO_REFERENCE_HELP.items())}

--onnx-metric NAME=FILE adds what an ONNX model of a waveform gives, as DNSMOS (sig_bak_ovr.onnx:
NAME_sig, NAME_bak and NAME_ovr on the scale of P.835) or UTMOS. Its input is [1, time] at the rate
of NAME=FILE@HZ, of sample_rate in its metadata, or 16 kHz; higher counts as better. Nothing is
downloaded.

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
  wavediff evaluate --no-reference --estimate recordings/ --per-file
  wavediff evaluate --no-reference --estimate enhanced/ --noisy noisy/ \\
    --onnx-metric dnsmos=sig_bak_ovr.onnx
"""


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parser = Parser("evaluate", DESCRIPTION, EXAMPLES)
    add = parser.add_option
    one = "folder, or one audio file"
    add("--reference", path, "PATH", one)
    add("--estimate", path, "PATH", one, required=True)
    parser.add_argument(
        "--no-reference", action="store_true", help="evaluate the estimates by themselves"
    )
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
        type=name_list,
        metavar="NAME,NAME",
        help=f"of {', '.join(METRIC_HELP)}; without a reference of {', '.join(NO_REFERENCE_HELP)}",
    )
    parser.add_argument(
        "--onnx-metric",
        type=onnx_metric,
        metavar="NAME=FILE[@HZ]",
        action="append",
        default=[],
        help="with --no-reference, also what an ONNX model gives; may be repeated",
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
    if args.reference is None and not args.no_reference:
        parser.error("--reference is missing: give it, or --no-reference")
    if args.no_reference and (args.reference is not None or args.frechet is not None):
        parser.error("--no-reference evaluates the estimates by themselves: give --estimate alone")
    if args.onnx_metric and not args.no_reference:
        parser.error("--onnx-metric has no use for references: give --no-reference")
    known = NO_REFERENCE_HELP if args.no_reference else METRIC_HELP
    unknown = [name for name in args.metrics or [] if name not in known]
    if unknown:
        parser.error(
            f"argument --metrics/--measures: there is no metric {', '.join(unknown)}"
            f"{' without a reference' * args.no_reference}; choose from {', '.join(known)}"
        )
    if args.by and not args.manifest:
        parser.error("--by names columns of a --manifest: give that too")
    pairs = [args.noisy, args.manifest, args.metrics, args.csv, args.per_file]
    if args.frechet is not None and any(pairs):
        parser.error("--frechet compares sets, not pairs: leave the other options out but --json")
    if args.by is None:
        args.by = ["snr_db"] if args.manifest else []
    return args


def onnx_metric(text: str) -> tuple[str, Path, int | None]:
    """An argparse type: NAME=FILE or NAME=FILE@HZ."""
    found = re.fullmatch(r"([A-Za-z]\w*)=(.+?)(?:@(\d+))?", text)
    if not found:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=FILE, with a name of letters, digits and _"
        )
    name, file, rate = found.groups()
    return name, path(file), None if rate is None else whole(1000, 768_000)(rate)
