"""A process that does one job after the other, and that is replaced when a job takes too long.

What a job does to its process, such as memory that is lacking or a decoder that crashes, does not
reach the one that serves the page.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from tqdm import tqdm

from wavediff.errors import UserError, forget_warnings, named, shorten

T = TypeVar("T")
Progress = Callable[[float], None]
Job = Callable[[Progress], Any]  # with the share that is done, 0 to 1

POLL_SECONDS = 0.2
END_SECONDS = 2.0
WAIT_SECONDS = 10.0
FULL = "there is not enough memory for this: give a shorter recording, or less at once"


class Worker:
    """A process that keeps what its jobs cached, such as models.

    It is started at once, and again after it ended.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: Any = None
        self._connection: Connection
        self._start()

    def run(self, job: Job, seconds: float) -> Generator[float, None, Any]:
        """Do a job; yields the share that is done, several times a second.

        A generator that is closed ends the job.

        Args:
            job: a function that the process can import, or a ``functools.partial`` of one.
            seconds: that it may take.

        Returns:
            The job's result.

        Raises:
            UserError: that of the job, or where it takes too long, fails, or another one runs.
        """
        if not self._lock.acquire(timeout=WAIT_SECONDS):  # for a job that is being ended
            raise UserError("another job is running: try again when it is done")
        whole = False
        try:
            if not self._process.is_alive():
                self._start()
            self._connection.send(job)
            begun, share = time.monotonic(), 0.0
            yield share
            while True:
                kind, value = self._receive()
                if kind == "share":
                    share = value
                elif kind != "nothing":
                    whole = True
                    if kind == "done":
                        return value
                    raise UserError(value)
                if time.monotonic() - begun > seconds:
                    raise UserError(
                        f"this took longer than the {seconds:g} s that a job may take, and was "
                        "stopped: give less at once"
                    )
                yield share
        finally:
            if not whole:
                self._start()
            self._lock.release()

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._process is None:
            return
        self._connection.close()
        self._process.kill()
        self._process.join(END_SECONDS)
        self._process = None

    def _start(self) -> None:
        self.close()
        spawn = multiprocessing.get_context("spawn")  # forked threads of torch would hang
        self._connection, theirs = spawn.Pipe()
        self._process = spawn.Process(target=serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def _receive(self) -> tuple[str, Any]:
        """What the process says, the last of several shares at once."""
        kind, value = "nothing", None
        wait = POLL_SECONDS
        try:
            while self._connection.poll(wait):
                kind, value = self._connection.recv()
                if kind != "share":
                    break
                wait = 0
        except (EOFError, OSError):
            self._process.join(END_SECONDS)
            killed = self._process.exitcode == -signal.SIGKILL  # as the kernel does
            reason = FULL if killed else "the process that worked on this ended unexpectedly"
            raise UserError(reason) from None
        return kind, value


def finished(running: Generator[float, None, T]) -> T:
    """Wait for a job of ``Worker.run``, and return its result."""
    while True:
        try:
            next(running)
        except StopIteration as end:
            return end.value


def serve(connection: Connection) -> None:
    """Do the jobs that come, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this
    tqdm.set_lock(threading.RLock())  # a semaphore of processes would outlive one that is killed
    with suppress(EOFError, OSError):
        while True:
            connection.send(answer(connection.recv(), connection))


def answer(job: Job, connection: Connection) -> tuple[str, Any]:
    """What comes of a job: ``done`` and its result, or ``refused`` and a sentence."""
    last = 0.0

    def tell(share: float) -> None:
        nonlocal last
        if time.monotonic() - last > POLL_SECONDS / 2:
            last = time.monotonic()
            connection.send(("share", share))

    forget_warnings()
    try:
        return "done", job(tell)
    except UserError as error:
        return "refused", str(error)
    except Exception as error:
        # torch's allocators raise a RuntimeError
        if isinstance(error, MemoryError) or "memory" in str(error):
            return "refused", FULL
        if os.environ.get("WAVEDIFF_DEBUG"):
            traceback.print_exc()
        what = f"{type(error).__name__}: {shorten(named(error), 200)}"
        print(f"error: unexpected {what}", file=sys.stderr, flush=True)
        return "refused", f"this failed unexpectedly ({what})"
