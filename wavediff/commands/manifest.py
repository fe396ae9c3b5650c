"""The manifest of a corpus: a file of JSON lines, one for each input and its result."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from wavediff.commands.corpus import Outcome, Pair
from wavediff.commands.outputs import MEDIA, require_file_or_new, require_writable, same_file
from wavediff.errors import UserError, shorten
from wavediff.files import REFUSALS, atomic_path
from wavediff.inputs import AUDIO_SUFFIXES

TAIL = 1 << 16  # bytes in which the end of a line is looked for
BEGIN = b'{"input": '  # of a line
KEYS = ("input", "output", "seconds", "wall_seconds", "error")


class Manifest:
    """Results are added as they come; several processes may add to one file.

    A line is written whole, under a lock of the file. What a killed process left of one is removed.
    Where an output is done anew, its old line goes, so that each has one line.

    Args:
        path: the file; None for no manifest.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def require(self, inputs: Iterable[Path]) -> None:
        """See that the file can be written, and is a manifest if it exists.

        Raises:
            UserError: where it is not so.
        """
        path = self.path
        if path is None:
            return
        if path.suffix.lower() in MEDIA or str(path) == "-":
            raise UserError(f"cannot write a manifest to {path}: give a name ending in .jsonl")
        require_file_or_new(path)
        if any(same_file(path, source) for source in inputs):
            raise UserError(f"--manifest {path} is an input and would be changed: give another")
        require_writable(path.parent)
        with self._locked(create=False) as handle:
            if handle is not None:
                self._lines(handle)

    def begin(self, targets: Sequence[Pair], missing: Sequence[Pair]) -> None:
        """Drop the lines of what is done anew, and add those that finished outputs lack.

        Args:
            targets: all (input, output).
            missing: those that are to be done.
        """
        if self.path is None:
            return
        anew = set(map(_key, missing))
        with self._locked() as handle:
            assert handle is not None
            lines = self._lines(handle)
            kept = {(line["input"], line["output"]): line for line in lines}
            kept = {key: line for key, line in kept.items() if key not in anew}
            if len(kept) < len(lines):
                with atomic_path(self.path) as temporary:
                    temporary.write_text("".join(map(_text, kept.values())), encoding="utf-8")
        for source, target in targets:
            if _key((source, target)) not in kept.keys() | anew:
                self.add(source, target, Outcome(seconds_of(source, target)))

    def add(self, source: Path, target: Path, outcome: Outcome) -> None:
        """Add the line of one input.

        Raises:
            UserError: where it cannot be written.
        """
        if self.path is None:
            return
        rounded = [None if x is None else round(x, 3) for x in (outcome.seconds, outcome.wall)]
        values = (str(source), str(target), *rounded, outcome.error)
        line = _text(dict(zip(KEYS, values, strict=True))).encode()
        with self._locked() as handle:
            assert handle is not None
            os.ftruncate(handle, _whole(handle))
            written = os.write(handle, line)
            if written < len(line):  # the disk is full
                os.ftruncate(handle, _whole(handle))
                raise UserError(f"cannot write {self.path}: the disk is full: free some space.")

    @contextlib.contextmanager
    def _locked(self, create: bool = True) -> Iterator[int | None]:
        """The open file, which no other process changes meanwhile; None where there is none."""
        assert self.path is not None
        try:
            if create:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = _held(self.path, os.O_CREAT if create else 0)
        except FileNotFoundError:
            yield None
            return
        except OSError as error:
            raise self._refused(error) from error
        try:
            yield handle
        except OSError as error:
            raise self._refused(error) from error
        finally:
            os.close(handle)

    def _refused(self, error: OSError) -> UserError:
        reason = REFUSALS.get(error.errno or 0, f"{error.strerror}: give another file")
        return UserError(f"cannot write {self.path}: {reason}.")

    def _lines(self, handle: int) -> list[dict[str, Any]]:
        """The lines; that which a killed process left unfinished is none."""
        found = []
        with open(os.dup(handle), "rb") as file:
            file.seek(0)
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n") and BEGIN.startswith(line[: len(BEGIN)]):
                    break
                try:
                    values = json.loads(line)
                    found.append({key: values[key] for key in KEYS})
                except (ValueError, KeyError, TypeError):
                    raise UserError(
                        f"{self.path}, line {number}: {shorten(line.decode(errors='replace'))} is "
                        "not a line of a manifest: give --manifest another name"
                    ) from None
        return found


def _held(path: Path, flags: int) -> int:
    """Open a file and lock it; another process may replace it meanwhile."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_APPEND | flags, 0o666)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        os.close(handle)


def _whole(handle: int) -> int:
    """How many bytes of the file are whole lines."""
    end = os.fstat(handle).st_size
    tail = os.pread(handle, TAIL, max(0, end - TAIL))
    return end - (len(tail) - (tail.rfind(b"\n") + 1))


def _key(pair: Pair) -> tuple[str, str]:
    return str(pair[0]), str(pair[1])


def _text(line: dict[str, Any]) -> str:
    return json.dumps(line) + "\n"


def seconds_of(source: Path, target: Path) -> float | None:
    """Of audio, by the header of the output or the input; None where neither is audio."""
    from wavediff.data.audio import audio_info

    for path in (target, source):
        if path.suffix.lower() in AUDIO_SUFFIXES:
            with contextlib.suppress(UserError):
                frames, rate = audio_info(path)
                return frames / rate
    return None
