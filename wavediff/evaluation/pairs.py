"""Estimates beside their references: which files belong together, and what they measure.

Files of two folders belong together when their paths below the folders are equal up to the suffix:
``estimates/p225/a.flac`` goes with ``references/p225/a.wav``.
"""

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from wavediff.data.audio import find_audio, read_audio
from wavediff.errors import UserError
from wavediff.evaluation.metrics import METRICS, UndefinedMetric

LENGTH_TOLERANCE = 0.05  # seconds; files whose lengths differ by more get a note


@dataclass(frozen=True)
class Pair:
    name: str  # the common relative path, without suffix
    reference: Path
    estimate: Path
    noisy: Path | None = None  # what the estimate was made from


@dataclass
class PairResult:
    """What the measures say of one pair."""

    pair: Pair
    sample_rate: int | None = None  # Hz, the reference's
    seconds: float | None = None  # what was compared
    values: dict[str, float] = field(default_factory=dict)  # measure -> value
    unmeasurable: dict[str, str] = field(default_factory=dict)  # measure -> reason
    noisy_values: dict[str, float] = field(default_factory=dict)  # the same of the noisy input
    noisy_unmeasurable: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # what was done to compare them
    error: str | None = None  # the pair could not be read

    @property
    def improvements(self) -> dict[str, float]:
        """How much better than the noisy input, positive for better, where both are measurable."""
        return {
            name: (1 if METRICS[name].higher_is_better else -1) * (value - self.noisy_values[name])
            for name, value in self.values.items()
            if name in self.noisy_values
        }


def match(reference: Path, estimate: Path) -> tuple[list[Pair], list[Path], list[Path]]:
    """Pairs by relative path without suffix, references without an estimate, and the reverse.

    Two files (not folders) are one pair, whatever their names. Raises ``UserError`` where there is
    no audio, no pair, or two files of one folder that differ by their suffix alone.
    """
    if reference.is_file() and estimate.is_file():
        return [Pair(reference.stem, reference, estimate)], [], []
    if reference.is_file() or estimate.is_file():
        raise UserError(
            f"{reference} and {estimate} must both be folders, or both audio files: name two alike"
        )
    references, estimates = _by_stem(reference), _by_stem(estimate)
    common = sorted(references.keys() & estimates.keys())
    if not common:
        raise UserError(
            f"no file below {estimate} has the name of one below {reference} (suffixes aside), as "
            f"{next(iter(estimates.values()))} beside {next(iter(references.values()))}: "
            "name the estimates like their references"
        )
    return (
        [Pair(stem, references[stem], estimates[stem]) for stem in common],
        [path for stem, path in sorted(references.items()) if stem not in estimates],
        [path for stem, path in sorted(estimates.items()) if stem not in references],
    )


def with_noisy(
    pairs: Sequence[Pair], reference: Path, noisy: Path
) -> tuple[list[Pair], list[Path]]:
    """The pairs with their noisy inputs, and the references that have none below ``noisy``.

    Raises ``UserError`` where ``noisy`` and ``reference`` are not both folders or both files, or where
    no pair has a noisy input.
    """
    if noisy.is_file() != reference.is_file():
        raise UserError(
            f"{reference} and {noisy} must both be folders, or both audio files: name two alike"
        )
    if noisy.is_file():
        return [replace(pair, noisy=noisy) for pair in pairs], []
    files = _by_stem(noisy)
    absent = [pair.reference for pair in pairs if pair.name not in files]
    if len(absent) == len(pairs):
        raise UserError(
            f"no file below {noisy} has the name of one below {reference} (suffixes aside), as "
            f"{next(iter(files.values()))}: name the noisy inputs like their references"
        )
    return [replace(pair, noisy=files.get(pair.name)) for pair in pairs], absent


def _by_stem(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in find_audio([folder]):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in files:
            raise UserError(
                f"{files[stem]} and {path} differ by their suffix alone: keep one of the two"
            )
        files[stem] = path
    return files


def judge(pair: Pair, measures: Sequence[str]) -> PairResult:
    """Read a pair and apply the measures (names in ``METRICS``) to it, and to its noisy input.

    Several channels are averaged to one. An estimate at another sample rate is resampled to the
    reference's, and what is longer is cut to the shortest. A file that cannot be read gives a
    ``PairResult`` with ``error`` set.
    """
    judgement = PairResult(pair)
    try:
        reference, sample_rate = read_audio(pair.reference)
        estimate = _read_beside(pair.estimate, "estimate", reference, sample_rate, judgement)
        signals = [reference, estimate]
        if pair.noisy:
            signals.append(
                _read_beside(pair.noisy, "noisy input", reference, sample_rate, judgement)
            )
    except UserError as error:
        judgement.error = str(error)
        return judgement
    length = min(signal.shape[-1] for signal in signals)
    judgement.sample_rate, judgement.seconds = sample_rate, length / sample_rate
    reference, *others = (signal[0, :length] for signal in signals)
    results = (
        ("the estimate", judgement.values, judgement.unmeasurable),
        ("the noisy input", judgement.noisy_values, judgement.noisy_unmeasurable),
    )
    for audio, (what, values, unmeasurable) in zip(others, results, strict=False):
        for name in measures:
            try:
                values[name] = METRICS[name](audio, reference, sample_rate)
            except UndefinedMetric as reason:
                unmeasurable[name] = str(reason).replace("the estimate", what)
    return judgement


def _read_beside(
    path: Path, what: str, reference: Tensor, sample_rate: int, judgement: PairResult
) -> Tensor:
    """The file at the reference's rate, with notes on what was not as it should be."""
    audio, rate = read_audio(path)
    if rate != sample_rate:
        audio, _ = read_audio(path, sample_rate)
        judgement.notes.append(f"the {what} was resampled from {rate} Hz to {sample_rate} Hz")
    excess = (audio.shape[-1] - reference.shape[-1]) / sample_rate
    if abs(excess) > LENGTH_TOLERANCE:
        kind = "longer" if excess > 0 else "shorter"
        judgement.notes.append(f"the {what} is {abs(excess):.2f} s {kind} than the reference")
    return audio


def evaluate_pairs(
    pairs: Sequence[Pair], measures: Sequence[str], jobs: int
) -> Iterator[PairResult]:
    """``judge`` each pair, in ``jobs`` processes (this one, if 1), yielding each as it is done."""
    if jobs == 1:
        yield from (judge(pair, measures) for pair in pairs)
        return
    # Not forked from here, because torch's threads do not survive a fork, but from a process that
    # has done the slow imports and nothing else.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "librosa.core", "librosa.filters"])
    with ProcessPoolExecutor(jobs, context, _start_worker) as executor:
        futures = [executor.submit(judge, pair, measures) for pair in pairs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a process of the evaluation died, perhaps for want of memory: use fewer --jobs"
            ) from error
        finally:
            executor.shutdown(wait=False, cancel_futures=True)


def _start_worker() -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
