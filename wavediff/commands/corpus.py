"""Corpora: shards of the inputs, and how a command works on many files anywhere."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wavediff.commands.arguments import Parser, path, positive_int
from wavediff.commands.pipes import STDIN, STDOUT
from wavediff.errors import UserError, shorten

Pair = tuple[Path, Path]  # input, output

EXAMPLES = """\
A corpus is shared among the jobs of any scheduler by --shard K/N, or among the machines of a Ray
cluster by --ray. Files that are finished are not done again. --manifest gets a line of JSON for
each file: input, output, seconds of audio, wall_seconds, error (null for none). More in
docs/clusters.md.
"""


@dataclass(frozen=True)
class Outcome:
    """What became of one input.

    Attributes:
        seconds: of audio; None where that is not known.
        wall: seconds that it took; None where an earlier call did it.
        error: a sentence, None for success.
    """

    seconds: float | None = None
    wall: float | None = None
    error: str | None = None


# Works on some files, none of which stops the others.
Work = Callable[[Sequence[Pair]], dict[Path, Outcome]]


@dataclass(frozen=True)
class Shard:
    """The ``number``-th of ``count`` shares, counted from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def of(self, sorted_inputs: Sequence) -> list:
        """Every ``count``-th input, from the ``number``-th on."""
        return list(sorted_inputs[self.number - 1 :: self.count])


def shard(text: str) -> Shard:
    """An argparse type: K/N."""
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    number, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= count:
        raise argparse.ArgumentTypeError(
            f"{shorten(text)!r} is invalid: give K/N with K from 1 to N, as in 3/16"
        )
    return Shard(number, count)


def cluster(text: str) -> str:
    """An argparse type: where a Ray cluster is."""
    host, _, port = text.rpartition(":")
    if text in ("auto", "local") or (host and port.isdecimal() and int(port) < 1 << 16):
        return text
    raise argparse.ArgumentTypeError(
        f"{shorten(text)!r} is not a cluster: give HOST:PORT (6379 is Ray's), auto or local"
    )


def add_corpus(parser: Parser, what: str = "files") -> None:
    """--shard, --ray, --workers and --manifest.

    Args:
        what: the command works on.
    """
    add = parser.add_option
    add("--shard", shard, "K/N", f"of the sorted {what}, every N-th from the K-th on")
    add(
        "--ray",
        cluster,
        "CLUSTER",
        f"share the {what} among a Ray cluster's machines: its HOST:PORT, auto (that which runs "
        "here) or local (begin one here)",
    )
    add("--workers", positive_int, "N", "with --ray: processes (default: as the cluster has room)")
    add("--manifest", path, "JSONL", f"add a line for each of the {what} and its result")


def require_corpus(arguments: argparse.Namespace) -> None:
    """See that the options of ``add_corpus`` go together, before anything is read.

    Raises:
        UserError: where they do not.
    """
    chosen = [name for name in ("shard", "ray") if getattr(arguments, name) is not None]
    inputs = vars(arguments).get("paths") or [arguments.data]
    words = [*map(str, inputs), str(arguments.output)]
    if chosen and any(word in (*STDIN, *STDOUT) for word in words):
        raise UserError(f"--{chosen[0]} is for files and folders: leave - out")
    if arguments.workers is not None and arguments.ray is None:
        raise UserError("--workers is for --ray: leave it out, or add --ray")
    if arguments.ray is not None:
        from importlib.util import find_spec

        if find_spec("ray") is None:
            raise UserError('--ray needs Ray: pip install "wavediff[ray]", or use --shard')


def shared(targets: Sequence[Pair], chosen: Shard | None) -> list[Pair]:
    """Return the (input, output) of a shard, all without one.

    The order is that of the bytes of the names, whatever the machine's language.
    """
    if chosen is None:
        return list(targets)
    kept = chosen.of(sorted(targets, key=lambda pair: os.fsencode(pair[0])))
    print(f"shard {chosen}: {len(kept)} of {len(targets)} files", file=sys.stderr)
    return kept


def each(work: Callable[[Path, Path], float]) -> Work:
    """Work on some files, one after the other.

    Args:
        work: on an input and its output; returns seconds of audio. May raise UserError.
    """

    def done(pairs: Sequence[Pair]) -> dict[Path, Outcome]:
        found = {}
        for source, target in pairs:
            begun = time.monotonic()
            try:
                seconds = work(source, target)
                found[target] = Outcome(seconds, time.monotonic() - begun)
            except UserError as error:
                found[target] = Outcome(None, time.monotonic() - begun, str(error))
        return found

    return done


def quietly(work: Work, pairs: Sequence[Pair]) -> tuple[dict[Path, Outcome], list[str]]:
    """Outcomes of ``work``, and the lines that it told on stderr; its stdout is dropped.

    An exception that is not foreseen is an outcome, since one file must not stop a corpus.
    """
    told = io.StringIO()
    begun = time.monotonic()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        try:
            found = work(pairs)
        except Exception as error:
            if len(pairs) > 1:
                parts = [quietly(work, [pair]) for pair in pairs]
                return (
                    {target: done for part, _ in parts for target, done in part.items()},
                    [line for _, lines in parts for line in lines],
                )
            source, target = pairs[0]
            kind = type(error).__name__
            sentence = f"{source}: unexpected {kind}: {shorten(error, 200)}"
            found = {target: Outcome(None, time.monotonic() - begun, sentence)}
    return found, told.getvalue().splitlines()
