"""Pairs of estimate and reference files, or estimates alone, and their metrics.

Files of two folders form a pair if their paths below the folders are equal up to the suffix:
``estimates/p225/a.flac`` goes with ``references/p225/a.wav``. Where a folder has ``a.wav`` beside
``a.flac``, their suffixes decide.
"""

import multiprocessing
import multiprocessing.forkserver
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from wavediff.data.audio import read_audio
from wavediff.errors import UserError
from wavediff.evaluation.metrics import Metric, UndefinedMetric, is_silent
from wavediff.inputs import distinct_names, find_audio

LENGTH_TOLERANCE = 0.05  # seconds; a larger difference in length is noted
MIN_SECONDS = 0.1  # of sound that is compared: the windows of most metrics are no shorter


Metrics = Mapping[str, Metric]  # by name


@dataclass(frozen=True)
class Pair:
    """The files of one recording."""

    name: str  # the common relative path, without suffix
    reference: Path | None  # None where the estimate is evaluated by itself
    estimate: Path
    noisy: Path | None = None  # the input of the enhancement


@dataclass
class PairResult:
    """The metrics of one pair. The field names are keys of ``wavediff evaluate --json``."""

    pair: Pair
    sample_rate: int | None = None  # Hz, of the reference
    seconds: float | None = None  # duration compared
    values: dict[str, float] = field(default_factory=dict)  # metric -> value
    unmeasurable: dict[str, str] = field(default_factory=dict)  # metric -> why it is undefined
    noisy_values: dict[str, float] = field(default_factory=dict)  # of the noisy input
    noisy_unmeasurable: dict[str, str] = field(default_factory=dict)
    improvements: dict[str, float] = field(default_factory=dict)  # positive for better
    notes: list[str] = field(default_factory=list)  # differences between the files
    error: str | None = None  # why the pair could not be read

    def improve(self, metrics: Metrics) -> None:
        """Set the improvements over the noisy input, for metrics that are defined for both."""
        for name, value in self.values.items():
            better = metrics[name].higher_is_better
            if name in self.noisy_values and better is not None:
                change = value - self.noisy_values[name]
                self.improvements[name] = change if better else -change


def match(reference: Path, estimate: Path) -> tuple[list[Pair], list[Path], list[Path]]:
    """Match the files of two folders by relative path without suffix.

    Two files (not folders) are one pair, whatever their names.

    Returns:
        The pairs, the references without an estimate, and the estimates without a reference.

    Raises:
        UserError: if there is no audio, or no pair.
    """
    if reference.is_file() and estimate.is_file():
        return [Pair(reference.stem, reference, estimate)], [], []
    if reference.is_file() or estimate.is_file():
        raise UserError(
            f"{reference} and {estimate}: one is a file, the other is not. Give two folders or two "
            "audio files."
        )
    references, estimates = _by_name(reference), _by_name(estimate)
    found = _counterparts(references, reference, estimates, estimate)
    if not found:
        raise UserError(
            f"{estimate}: no file has the name of a reference in {reference} up to the suffix; the "
            f"first are {next(iter(estimates.values()))} and {next(iter(references.values()))}. "
            "Name the estimates like their references."
        )
    return (
        [Pair(name, references[name], path) for name, path in sorted(found.items())],
        [path for name, path in sorted(references.items()) if name not in found],
        [path for _, path in sorted(estimates.items()) if path not in set(found.values())],
    )


def alone(estimate: Path) -> list[Pair]:
    """Return a file, or those of a folder sorted by name, as pairs without a reference.

    Raises:
        UserError: if there is no audio.
    """
    if estimate.is_file():
        return [Pair(estimate.stem, None, estimate)]
    return [Pair(name, None, path) for name, path in sorted(_by_name(estimate).items())]


def with_noisy(pairs: Sequence[Pair], folder: Path, noisy: Path) -> tuple[list[Pair], list[Path]]:
    """Add their noisy inputs to the pairs.

    Args:
        folder: of the references, or of the estimates that have none.

    Returns:
        The pairs, and the files of ``folder`` without a noisy input below ``noisy``.

    Raises:
        UserError: if ``noisy`` and ``folder`` are not both folders or both files, or no pair has a
            noisy input.
    """
    if noisy.is_file() != folder.is_file():
        raise UserError(
            f"{folder} and {noisy}: one is a file, the other is not. Give two folders or two "
            "audio files."
        )
    if noisy.is_file():
        return [replace(pair, noisy=noisy) for pair in pairs], []
    files = _by_name(noisy)
    originals = {pair.name: pair.reference or pair.estimate for pair in pairs}
    found = _counterparts(originals, folder, files, noisy)
    absent = [path for name, path in originals.items() if name not in found]
    if len(absent) == len(pairs):
        what = "reference" if pairs[0].reference else "estimate"
        raise UserError(
            f"{noisy}: no file has the name of a {what} in {folder} up to the suffix; the "
            f"first is {next(iter(files.values()))}. Name the noisy inputs like their {what}s."
        )
    return [replace(pair, noisy=found.get(pair.name)) for pair in pairs], absent


def _by_name(folder: Path) -> dict[str, Path]:
    """Audio below a folder by path without suffix; with it where nothing else differs."""
    files = {path.relative_to(folder): path for path in find_audio([folder])}
    names = distinct_names(list(files), lambda name: "")
    return {names[name].as_posix(): path for name, path in files.items()}


def _counterparts(
    files: dict[str, Path], folder: Path, others: dict[str, Path], other: Path
) -> dict[str, Path]:
    """For the names of ``files`` below ``folder``, the files below ``other`` of the same name.

    Where one of the two folders has a name with several suffixes, the suffix decides.
    """
    found = {name: others[name] for name in files if name in others}
    rest = {name: path for name, path in others.items() if path not in set(found.values())}
    whole = {path.relative_to(other).as_posix(): path for path in rest.values()}
    for name, path in files.items():
        full = path.relative_to(folder).as_posix()
        if name not in found and (match := rest.get(full) or whole.get(full)):
            found[name] = match
    return found


def evaluate_pair(pair: Pair, metrics: Metrics) -> PairResult:
    """Compute the metrics of a pair, and of its noisy input.

    With a reference, channels are averaged to one, other signals are resampled to the reference's
    rate, and all are cut to the shortest. Without one, files are taken as they are. If a file
    cannot be read, the result has ``error`` set.
    """
    result = PairResult(pair)
    try:
        if pair.reference is None:
            _evaluate_alone(pair, metrics, result)
        else:
            _evaluate_beside(pair, pair.reference, metrics, result)
    except UserError as error:
        return PairResult(pair, error=str(error))
    result.improve(metrics)
    return result


def _evaluate_alone(pair: Pair, metrics: Metrics, result: PairResult) -> None:
    files = [(pair.estimate, "the estimate", result.values, result.unmeasurable)]
    if pair.noisy:
        noisy = result.noisy_values, result.noisy_unmeasurable
        files.append((pair.noisy, "the noisy input", *noisy))
    for path, what, values, undefined in files:
        audio, rate = read_audio(path, mono=False)
        samples = audio.numpy()
        if path == pair.estimate:
            result.sample_rate, result.seconds = rate, samples.shape[1] / rate
        for name, metric in metrics.items():
            try:
                values[name] = metric(samples, rate)
            except UndefinedMetric as reason:
                undefined[name] = f"{what}: {reason}" if pair.noisy else str(reason)


def _evaluate_beside(pair: Pair, path: Path, metrics: Metrics, result: PairResult) -> None:
    reference, sample_rate = read_audio(path)
    estimate = _read_beside(pair.estimate, "estimate", reference, sample_rate, result)
    signals = [reference, estimate]
    if pair.noisy:
        signals.append(_read_beside(pair.noisy, "noisy input", reference, sample_rate, result))
    length = min(signal.shape[-1] for signal in signals)
    result.sample_rate, result.seconds = sample_rate, length / sample_rate
    reference, *others = (signal[0, :length] for signal in signals)
    uncomparable = _uncomparable(reference, sample_rate)
    results = (
        ("the estimate", result.values, result.unmeasurable),
        ("the noisy input", result.noisy_values, result.noisy_unmeasurable),
    )
    for audio, (what, values, undefined) in zip(others, results, strict=False):
        silent = is_silent(audio.numpy())
        for name, metric in metrics.items():
            try:
                if uncomparable:
                    raise UndefinedMetric(uncomparable)
                if silent and name == "mcd":  # it leaves out the level
                    raise UndefinedMetric("the estimate is silent")
                values[name] = metric(audio, reference, sample_rate)
            except UndefinedMetric as reason:
                undefined[name] = str(reason).replace("the estimate", what)


def _uncomparable(reference: Tensor, sample_rate: int) -> str:
    """Why nothing can be compared with a reference ``[time]``; empty if it can."""
    seconds = len(reference) / sample_rate
    if seconds < MIN_SECONDS:
        number = f"{len(reference)} sample{'s' * (len(reference) != 1)}"
        return f"only {number} ({1000 * seconds:.3g} ms) to compare, not {1000 * MIN_SECONDS:g} ms"
    if is_silent(reference.numpy()):
        return "the reference is silent"
    return "the reference is constant" if is_silent((reference - reference.mean()).numpy()) else ""


def _read_beside(
    path: Path, what: str, reference: Tensor, sample_rate: int, result: PairResult
) -> Tensor:
    """Read a file at the reference's rate, and note differences in ``result``."""
    audio, rate = read_audio(path)
    if rate != sample_rate:
        audio, _ = read_audio(path, sample_rate)
        result.notes.append(f"the {what} was resampled from {rate} Hz to {sample_rate} Hz")
    excess = (audio.shape[-1] - reference.shape[-1]) / sample_rate
    if abs(excess) > LENGTH_TOLERANCE:
        kind, longer = ("longer", what) if excess > 0 else ("shorter", "reference")
        share = abs(excess) * sample_rate / max(audio.shape[-1], reference.shape[-1])
        result.notes.append(
            f"the {what} is {abs(excess):.2f} s {kind} than the reference: "
            f"{int(100 * share)}% of the {longer} is not compared"
        )
    return audio


def evaluate_pairs(pairs: Sequence[Pair], metrics: Metrics, jobs: int) -> Iterator[PairResult]:
    """Yield ``evaluate_pair`` of each pair in order of completion, from ``jobs`` processes.

    With one job no process is started.

    Raises:
        UserError: if a process dies.
    """
    if jobs == 1:
        yield from (evaluate_pair(pair, metrics) for pair in pairs)
        return
    # torch's threads do not survive a fork of this process: workers are forked from a server that
    # has only done the slow imports
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "librosa.core", "librosa.filters"])
    with ProcessPoolExecutor(jobs, context, _start_worker) as executor:
        try:
            with _uninterrupted():
                futures = [executor.submit(evaluate_pair, pair, metrics) for pair in pairs]
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a process of the evaluation died, perhaps out of memory. Use fewer --jobs."
            ) from error
        except BaseException:  # an interruption, which workers do not get, or an early end
            for process in multiprocessing.active_children():
                process.terminate()
            executor.shutdown(cancel_futures=True)
            _stop_server()
            raise


def _stop_server() -> None:
    """End the process that starts workers, which needs seconds to do so by itself."""
    server = multiprocessing.forkserver._forkserver
    with suppress(AttributeError, OSError, TypeError):
        os.kill(server._forkserver_pid, signal.SIGKILL)  # type: ignore[attr-defined]
        server._stop()  # type: ignore[attr-defined]


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put off signals to the end of the block.

    A process that is interrupted while it starts another one loses it. Processes that start here
    never get a Ctrl-C, which would print tracebacks within their imports.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    received: list[int] = []  # by any thread, to which the mask does not apply
    handlers = {
        number: signal.signal(number, lambda got, _: received.append(got)) for number in numbers
    }
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in received:
            signal.raise_signal(number)


def _start_worker() -> None:
    torch.set_num_threads(1)
