"""A trial of `wavediff search`: an ordinary training run in a process of its own.

The process is forked from a server that has imported torch and nothing more, so that a trial starts
at once, and whatever it leaks, or the system kills it for, ends with it. If the search itself is
killed, the trial saves a checkpoint and ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from wavediff.commands.composing import composed, plain_values, write_config
from wavediff.errors import UserError, shorten

if TYPE_CHECKING:
    from wavediff.training.trial import Standing

PRELOADED = [  # what takes a second or more to import
    "wavediff.commands.composing", "wavediff.commands.training_run", "torch._dynamo",
    "torch.utils.tensorboard",
]  # fmt: skip
LOCK_SECONDS = 60.0  # for a process that was left alone to save its checkpoint


class TrialFailed(Exception):
    """A trial could not be trained; the message is the reason."""


@dataclass(frozen=True)
class Job:
    """What a trial trains.

    ``shares`` are those of its budget after which it is validated; ``seconds`` is the budget, where
    it is not ``trainer.max_steps``.
    """

    words: list[str]
    run_dir: Path
    log: Path
    shares: list[float]
    seconds: float | None


def train(job: Job, judge: Callable[[Standing], bool]) -> None:
    """Train until the budget is spent, or ``judge`` returns False.

    Raises:
        TrialFailed: where the run fails.
    """
    job.log.parent.mkdir(parents=True, exist_ok=True)
    for kind, value, connection in _messages(_train, job.log, job):
        if kind == "rung":
            connection.send(judge(value))


@dataclass(frozen=True)
class Checked:
    """What ``check`` finds: errors, None without one, and (label, higher is better) of metrics."""

    errors: list[str | None]
    metrics: dict[str, tuple[str, bool]]


def check(words: Sequence[list[str]], log: Path) -> Checked:
    """Build what each set of overrides would train.

    Raises:
        TrialFailed: where that cannot be found out.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    found = [(kind, value) for kind, value, _ in _messages(_check, log, words)]
    errors = [value for kind, value in found if kind == "checked"]
    return Checked(errors, dict(found)["metrics"])


def _messages(target: Callable[..., None], log: Path, argument: Any) -> Any:
    """Yield what a process sends, (kind, value, connection), until it ends."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    mine, theirs = context.Pipe()
    process = context.Process(target=_child, args=(target, theirs, str(log), argument))
    with _no_main():
        process.start()
    theirs.close()
    failure = None
    try:
        while True:
            # processes that load data hold the pipe longer than the trial lives
            wait([mine, process.sentinel])
            try:
                if not mine.poll():
                    break
                kind, value = mine.recv()
            except (EOFError, ConnectionError):
                break
            if kind == "failed":
                failure = value
            else:
                yield kind, value, mine
        process.join()
    except BaseException:
        process.terminate()  # a run saves a checkpoint first
        process.join()
        raise
    finally:
        mine.close()
    if failure is None and process.exitcode:
        code = process.exitcode
        name = signal.Signals(-code).name if code < 0 else ""
        failure = f"ended by {name}" if name else f"exit code {code}"
    if failure is not None:
        raise TrialFailed(f"{failure} (see {log})")


@contextmanager
def _no_main() -> Iterator[None]:
    """Keep a process that starts within the block from running the main module of this one."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _child(target: Callable[..., None], connection: Connection, log: str, argument: Any) -> None:
    with open(log, "ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        target(connection, argument)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        connection.send(("failed", str(error)))
    except Exception as error:
        traceback.print_exc()
        connection.send(("failed", f"unexpected {type(error).__name__}: {shorten(error, 200)}"))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def _train(connection: Connection, job: Job) -> None:
    from wavediff.commands.training_run import run_training
    from wavediff.training.trial import Trial

    def judge(standing: Standing) -> bool:
        try:
            connection.send(("rung", standing))
            return connection.recv()
        except (EOFError, ConnectionError):  # the search is gone
            return False

    words = [*job.words, f"run_dir={job.run_dir}"]
    config = composed(words)
    _wait_for_lock(job.run_dir)
    write = partial(write_config, config, words, job.run_dir)
    trial = Trial(job.shares, judge, job.seconds)
    ended = run_training(plain_values(config), job.run_dir, write, trial)
    if ended.code:
        raise UserError(f"ended by {signal.Signals(ended.code - 128).name}")


def _wait_for_lock(run_dir: Path) -> None:
    from wavediff.training.checkpoint import locked

    end = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            with locked(run_dir):
                return
        except UserError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def _check(connection: Connection, sets: Sequence[list[str]]) -> None:
    from wavediff.commands.training_run import check_training
    from wavediff.evaluation.metrics import METRICS

    known = {name: (metric.label, metric.higher_is_better) for name, metric in METRICS.items()}
    connection.send(("metrics", known))
    for words in sets:
        try:
            check_training(plain_values(composed(words)))
        except UserError as error:
            connection.send(("checked", str(error)))
        else:
            connection.send(("checked", None))
