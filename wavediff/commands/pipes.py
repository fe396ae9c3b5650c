"""Standard input, standard output and named pipes: to the commands they are temporary files."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import stat
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from wavediff.commands.outputs import MEDIA, interruptible
from wavediff.errors import UserError, call

STDIN = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
STDOUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
INPUTS = ("paths", "path", "reference", "estimate", "noisy", "manifest")
TABLES = (".csv", ".json")  # text, so a terminal may show it


@contextlib.contextmanager
def piped(arguments: argparse.Namespace, **outputs: str) -> Iterator[None]:
    """Put temporary files into ``arguments`` for what is piped, within the block.

    An input "-" is received from stdin, and named pipes are received, whole. An output "-" is sent
    to stdout after the block, which prints nothing there: names of files are dropped, and what goes
    with a table is printed on stderr.

    Args:
        outputs: arguments that may be "-", and the suffix of what is then sent.

    Raises:
        UserError: for devices, stdin or stdout twice, or a terminal.
    """
    to_stdout = [name for name in outputs if str(getattr(arguments, name)) in STDOUT]
    words = [word for name in INPUTS for word in _words(arguments, name)]
    if not to_stdout and not any(map(_is_pipe, words)):
        yield
        return
    if len(to_stdout) > 1:
        options = " and ".join(f"--{name}" for name in to_stdout)
        raise UserError(f"{options} cannot both go to stdout: give one of them a file")
    if sum(word in STDIN for word in words) > 1:
        raise UserError("- (stdin) can be given once")
    text = bool(to_stdout) and outputs[to_stdout[0]] in TABLES
    require_no_terminal(stdout=bool(to_stdout) and not text)
    stdout = sys.stdout
    printed = sys.stderr if text else io.StringIO() if to_stdout else sys.stdout
    with interruptible(), tempfile.TemporaryDirectory(prefix="wavediff-") as folder:
        _receive_all(arguments, Path(folder))
        sent = None
        for name in to_stdout:
            sent = Path(folder, f"stdout{outputs[name]}")
            call(sent, "stdout")
            setattr(arguments, name, sent)
        with contextlib.redirect_stdout(printed):
            yield
        if sent is not None and sent.exists():
            with open(sent, "rb") as file:
                shutil.copyfileobj(file, stdout.buffer)
            stdout.buffer.flush()


def require_no_terminal(stdin: bool = False, stdout: bool = False) -> None:
    """See that what is read and what is written is not a terminal.

    Raises:
        UserError: where it is.
    """
    if stdout and sys.stdout.isatty():
        raise UserError(
            "audio and arrays are not for a terminal: send stdout to a file or a command, or -o"
        )
    if stdin and sys.stdin.isatty():
        raise UserError("nothing comes from stdin: pipe a file into it (cat a.wav | ... -)")


def _words(arguments: argparse.Namespace, name: str) -> list[str]:
    value = vars(arguments).get(name)
    return [] if value is None else list(map(str, value if isinstance(value, list) else [value]))


def _is_pipe(word: str) -> bool:
    """Whether an input is to be received. Raises UserError for a device or a socket."""
    if word in STDIN:
        return True
    try:
        mode = os.stat(os.path.expanduser(word)).st_mode
    except (OSError, ValueError):
        return False
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        raise UserError(f"{word} is a device or a socket: give a file")
    return stat.S_ISFIFO(mode)


def _receive_all(arguments: argparse.Namespace, folder: Path) -> None:
    number = 0
    for name in INPUTS:
        received = []
        for word in _words(arguments, name):
            if _is_pipe(word):
                place = folder / str(number)
                place.mkdir()
                number, word = number + 1, str(_receive(word, place))
            received.append(word)
        if received:
            as_list = isinstance(getattr(arguments, name), list)
            setattr(arguments, name, received if as_list else Path(received[0]))


def _receive(word: str, folder: Path) -> Path:
    """A file with what comes through a pipe: sound is read at any place, not in order."""
    from_stdin = word in STDIN
    path = folder / ("stdin" if from_stdin else os.path.basename(word))
    require_no_terminal(stdin=from_stdin)
    try:
        with open(path, "wb") as file:
            if from_stdin:
                shutil.copyfileobj(sys.stdin.buffer, file)
            else:
                with open(os.path.expanduser(word), "rb") as source:
                    shutil.copyfileobj(source, file)
    except OSError as error:
        raise UserError(
            f"cannot keep {path.name} in {folder} ({error.strerror}): set TMPDIR to another folder"
        ) from error
    if path.suffix.lower() not in MEDIA:
        with open(path, "rb") as kept:
            suffix = _suffix(kept)
        path = path.rename(path.with_name(path.name + suffix))
    call(path, path.stem if from_stdin else word)
    return path


def _suffix(file: BinaryIO) -> str:
    """The suffix of arrays, by content; those of audio are not needed."""
    head = file.read(16)
    if head.startswith(b"\x93NUMPY"):
        return ".npy"
    if head[8:9] == b"{" and not any(head[4:8]):
        return ".safetensors"
    if head.startswith(b"PK\x03\x04"):
        with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(file) as archive:
            pickled = any(name.endswith("data.pkl") for name in archive.namelist())
            return ".pt" if pickled else ".npz"
    return ""
