"""Where the outputs of a command go, and what is refused before the work."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from wavediff.commands.progress import Bar
from wavediff.errors import UserError, listed
from wavediff.files import REFUSALS, TEMPORARY, remove_left_over
from wavediff.inputs import (
    AUDIO_SUFFIXES,
    LATENT_SUFFIXES,
    MEL_SUFFIXES,
    distinct_names,
    folders,
)

SUBTYPES = {16: "PCM_16", 24: "PCM_24", 32: "FLOAT"}  # by bits per sample
LOSSY = (".mp3", ".ogg", ".oga", ".opus")  # endings of what has a bit rate
MEDIA = (*AUDIO_SUFFIXES, *MEL_SUFFIXES, *LATENT_SUFFIXES)  # not taken for folders


def require_writable(folder: Path) -> None:
    """See that something can be written to a folder, which need not exist yet.

    Raises:
        UserError: where it cannot.
    """
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise UserError(f"cannot write into {folder}: it is a file, not a folder; give another")
    if not os.access(folder, os.W_OK):
        raise UserError(f"cannot write into {folder}: permission denied; give another folder")
    try:  # root may write where nobody can, and some file systems take no files
        with tempfile.TemporaryFile(prefix=TEMPORARY, dir=folder):
            pass
    except OSError as error:
        reason = REFUSALS.get(error.errno or 0, f"{error.strerror}; give another folder")
        raise UserError(f"cannot write into {folder}: {reason}") from error


def require_file_or_new(output: Path) -> None:
    """See that the name of an output is not that of a folder or device.

    Raises:
        UserError: where it is.
    """
    if output.is_dir():
        raise UserError(f"{output} is a folder: give the name of a file")
    if output.exists() and not output.is_file():
        raise UserError(f"{output} is not a regular file: give the name of a file")


def require_new(output: Path, overwrite: bool, source: Path | None = None) -> None:
    """See that a file can be written.

    Raises:
        UserError: for an output that exists, is the input, or cannot be written.
    """
    if str(output) == "-":
        raise UserError("- (stdout) is not for this output: give the name of a file")
    if source is not None and same_file(output, source):
        raise UserError(f"{output} is the input and would be overwritten: give another output")
    require_file_or_new(output)
    if output.exists() and not overwrite:
        raise UserError(f"{output} exists already: give --overwrite to replace it")
    require_writable(output.parent)


def require_results(outputs: Mapping[str, Path | None], inputs: Iterable[Path]) -> None:
    """See that files of results, which are replaced, can be written and replace no input.

    Args:
        outputs: by the names of their options.
        inputs: what the command reads.

    Raises:
        UserError: where it is not so.
    """
    chosen = {option: path for option, path in outputs.items() if path is not None}
    inputs = list(inputs)
    for option, path in chosen.items():
        if path.suffix.lower() in MEDIA:
            raise UserError(
                f"cannot write a table to {path}: give {option} a name ending in .csv or .json"
            )
        if any(same_file(path, source) for source in inputs):
            raise UserError(f"{option} {path} is an input and would be overwritten: give another")
        require_file_or_new(path)
        require_writable(path.parent)
    places = [real(path) for path in chosen.values()]
    if len(set(places)) < len(places):
        options = " and ".join(chosen)
        raise UserError(f"{options} are both {places[0].name}: give two names")


def real(path: Path) -> Path:
    """A path without links; where they lead in a circle, as it is."""
    return Path(os.path.realpath(path))


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths are of one file that exists."""
    return one.exists() and other.exists() and one.samefile(other)


def names_file(
    output: Path, suffixes: Sequence[str], files: Sequence[Path], given: Sequence[str]
) -> bool:
    """Return whether OUT means a file and not a folder.

    Args:
        suffixes: that OUT may have.
        files: the inputs, as found from what is given.

    Raises:
        UserError: for the name of a file of another kind.
    """
    suffix = output.suffix.lower()
    if output.is_dir() or not suffix:
        return False
    if suffix in suffixes:
        return True
    one_file = len(files) == 1 and not any(map(folders, given))
    alike = output.suffix == files[0].suffix or (one_file and suffix[1:].isalpha())
    if suffix in MEDIA or alike:
        raise UserError(
            f"cannot write {output}: give a name that ends in {one_of(suffixes)}; if you mean a "
            "folder, make it first"
        )
    return False


def require_suffix(output: Path, suffixes: Sequence[str]) -> None:
    """See that the name of an output ends in one of ``suffixes``.

    Raises:
        UserError: where it does not.
    """
    if output.suffix.lower() not in suffixes:
        raise UserError(f"cannot write {output}: give a name that ends in {one_of(suffixes)}")


def one_of(words: Sequence[str]) -> str:
    """Words as in "a, b or c"."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


def plan_outputs(
    files: Sequence[Path], given: Sequence[str], output: Path, suffixes: Sequence[str]
) -> list[tuple[Path, Path]]:
    """Return (input, output) for every file: OUT itself for one input, or below the folder OUT.

    Args:
        suffixes: that OUT may have; the first is what files in a folder get.

    Raises:
        UserError: where outputs coincide, are inputs, or cannot be written.
    """
    if names_file(output, suffixes, files, given):
        return plan_file(files, output)
    return plan_folder(files, given, output, lambda name: suffixes[0])


def require_format(chosen: str | None, targets: Sequence[tuple[Path, Path]]) -> None:
    """See that --format, where it is given, is that of the outputs.

    Raises:
        UserError: where OUT is a file of another.
    """
    output = targets[0][1]
    if chosen and output.suffix.lower() != f".{chosen}":
        raise UserError(f"--format {chosen} does not go with {output}: leave it out")


def require_lossy(bit_rate: float | None, targets: Sequence[tuple[Path, Path]]) -> None:
    """See that --bit-rate, where it is given, is for an output that has one.

    Raises:
        UserError: where all outputs are lossless.
    """
    lossless = [target for _, target in targets if target.suffix.lower() not in LOSSY]
    if bit_rate is not None and len(lossless) == len(targets):
        raise UserError(
            f"--bit-rate is for mp3, ogg and opus, and {lossless[0]} is lossless: leave it out"
        )


def plan_file(files: Sequence[Path], output: Path) -> list[tuple[Path, Path]]:
    """Return the only input with OUT.

    Raises:
        UserError: where there are several, or OUT is the input or cannot be written.
    """
    if len(files) > 1:
        raise UserError(f"{len(files)} inputs cannot all go to {output}: give a folder")
    require_file_or_new(output)
    return _writable({output: files[0]}, output.parent)


def plan_folder(
    files: Sequence[Path], given: Sequence[str], folder: Path, suffix: Callable[[Path], str]
) -> list[tuple[Path, Path]]:
    """Return (input, output) for every file, the structure of a given folder kept.

    Inputs whose outputs would have one name keep their suffix before the new one, which is noted on
    stderr.

    Args:
        suffix: of an output, from the name of its input.

    Raises:
        UserError: where outputs coincide, are inputs, or cannot be written.
    """
    roots = [root for path in given for root in folders(path)]
    inputs: dict[Path, Path] = {}  # by their names below OUT
    for file in files:
        root = next((root for root in roots if file.is_relative_to(root)), file.parent)
        name = file.relative_to(root)
        if name in inputs:
            raise UserError(
                f"{inputs[name]} and {file} would both be written to "
                f"{folder / name.with_suffix(suffix(name))}: "
                "give them in two calls with different outputs"
            )
        inputs[name] = file
    names = distinct_names(list(inputs), suffix)
    kept = [folder / new for name, new in names.items() if new != name.with_suffix(suffix(name))]
    if kept:
        print(
            f"inputs that differ in their suffix only keep it: {listed(kept, 4)}",
            file=sys.stderr,
        )
    return _writable({folder / new: inputs[name] for name, new in names.items()}, folder)


def _writable(targets: dict[Path, Path], folder: Path) -> list[tuple[Path, Path]]:
    inputs = {real(file) for file in targets.values()}
    for target in targets:
        if real(target) in inputs:
            raise UserError(f"{target} is an input and would be overwritten: give another output")
    require_writable(folder)
    return [(file, target) for target, file in targets.items()]


def missing_outputs(
    targets: Sequence[tuple[Path, Path]], overwrite: bool
) -> list[tuple[Path, Path]]:
    """Return those that do not exist, or all to overwrite; the others are reported on stderr.

    What killed processes left where the outputs go is removed.
    """
    for folder in {target.parent for _, target in targets}:
        remove_left_over(folder)
    # os.path takes a name that is too long, with which one file fails and not all
    missing = [pair for pair in targets if overwrite or not os.path.exists(pair[1])]
    if kept := len(targets) - len(missing):
        what = f"{targets[0][1]} exists" if len(targets) == 1 else f"{kept} outputs exist"
        print(f"{what} already and will be kept: give --overwrite to replace", file=sys.stderr)
    return missing


def convert_all(
    targets: Sequence[tuple[Path, Path]], work: Callable[[Path, Path], None], overwrite: bool
) -> int:
    """Call ``work(input, output)`` for all whose output does not exist, and print each output.

    A bad input does not stop the others, and is listed at the end. Returns the exit code.

    Raises:
        UserError: where there is only one input, and it fails.
    """
    missing, failures = missing_outputs(targets, overwrite), []
    with interruptible():
        for file, target in Bar(missing, unit="file", delay=1, disable=len(missing) < 2):
            try:
                work(file, target)
            except UserError as error:
                if len(targets) == 1:
                    raise
                failures.append(str(error))
            else:
                tqdm.write(str(target))
    return report_failures(failures)


def report_failures(failures: Sequence[str]) -> int:
    """List the inputs that failed on stderr. Returns the exit code."""
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 2 if failures else 0


def subtype(bits: int, targets: Sequence[tuple[Path, Path]]) -> str:
    """Return the sample format of --bits.

    Raises:
        UserError: where an output cannot have it.
    """
    if bits == 32 and any(target.suffix.lower() == ".flac" for _, target in targets):
        raise UserError("flac has no 32-bit floating point: give --bits 24, or wav")
    return SUBTYPES[bits]


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, so that no half-written file stays."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
