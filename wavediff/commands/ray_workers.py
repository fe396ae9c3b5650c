"""A corpus on a Ray cluster: workers that hold the model, each of which does one task at a time.

Workers get the names of files, and say what became of them; no sound is in Ray's memory. Nothing
waits in a worker's queue, so a worker that is lost loses what it was doing, which another does.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from wavediff import __version__
from wavediff.commands.outputs import interruptible
from wavediff.errors import UserError, shorten

Task = TypeVar("Task")
Answer = TypeVar("Answer")

MOST_TRIES = 3  # of a task that ends its worker
MOST_STARTS = 5  # of workers that are lost before any has started
OBJECT_STORE = 80 << 20  # bytes, of a cluster begun here: Ray's least
WAITING = 60.0  # seconds without a worker after which that is told
LISTENING = 10.0  # seconds in which a cluster must answer
POLL = 1.0


@dataclass(frozen=True)
class Recipe(Generic[Task, Answer]):
    """What the workers are.

    Attributes:
        make: a function of a module that the nodes have, which loads the model.
        arguments: of ``make``.
        threads: of a worker on CPUs.
        gpu: whether a worker has a GPU where the cluster has any.
        workers: number of workers; None for as many as the cluster has room for.
        split: the parts of a task, of which one may have ended a worker.
    """

    make: Callable[[argparse.Namespace], Callable[[Task, bool], Answer]]
    arguments: argparse.Namespace
    threads: int = 1
    gpu: bool = False
    workers: int | None = None
    split: Callable[[Task], Sequence[Task]] = lambda task: [task]


class Worker:
    """The process of a worker. What is wrong with its start is returned as a sentence."""

    def start(
        self, make: Callable[[argparse.Namespace], Any], arguments: argparse.Namespace, threads: int
    ) -> tuple[str, str | None]:
        """Load the model. Returns the version of wavediff here, and what is wrong."""
        import torch

        torch.set_num_threads(threads)
        try:
            self._work = make(arguments)
        except UserError as error:
            return __version__, str(error)
        return __version__, None

    def work(self, task: Any, again: bool) -> Any:
        """Do a task; ``again`` where a worker was lost that might have finished it."""
        return self._work(task, again)


@dataclass(frozen=True)
class Waiting(Generic[Task]):
    """A task that is to be done.

    Attributes:
        task: what a worker is given.
        ended: number of workers that it has ended.
        again: whether one of those might have done it.
    """

    task: Task
    ended: int = 0
    again: bool = False


@dataclass
class Pool(Generic[Task, Answer]):
    """The workers of a run, of which some may be lost, and others come."""

    ray: Any
    recipe: Recipe[Task, Answer]
    # workers and tasks by what is awaited of them
    starting: dict[Any, Any] = field(default_factory=dict)
    busy: dict[Any, tuple[Any, Waiting[Task]]] = field(default_factory=dict)
    idle: list[Any] = field(default_factory=list)
    lost: int = 0  # that could not start, since the last that could
    looked: float = -math.inf  # when the cluster was looked at

    def grow(self, tasks: int) -> None:
        """Begin workers until there is one for each task, or no room; looks once in a while."""
        here = len(self.starting) + len(self.busy) + len(self.idle)
        if here >= tasks or time.monotonic() < self.looked + POLL:
            return
        recipe, has = self.recipe, self.ray.cluster_resources()
        gpus = int(has.get("GPU", 0)) if recipe.gpu else 0
        room = recipe.workers or gpus or int(has.get("CPU", 0) / recipe.threads)
        options = {"num_cpus": recipe.threads, "num_gpus": int(gpus > 0), "max_restarts": 0}
        for _ in range(min(tasks, room) - here):
            worker = self.ray.remote(**options)(Worker).remote()
            begun = worker.start.remote(recipe.make, recipe.arguments, recipe.threads)
            self.starting[begun] = worker
        self.looked = time.monotonic()

    def started(self, ref: Any) -> None:
        """A worker has started, or could not."""
        worker = self.starting.pop(ref)
        try:
            version, wrong = self.ray.get(ref)
        except self.ray.exceptions.RayError as error:
            self.end(worker)
            self.lost += 1
            if self.lost >= MOST_STARTS and not self.busy:
                raise UserError(
                    f"no worker can start on the cluster ({_reason(error)}): see that every node "
                    "has wavediff and enough memory"
                ) from error
            return
        self.idle.append(worker)
        if wrong is not None:
            raise UserError(f"a worker of the cluster: {wrong}")
        if version != __version__:
            raise UserError(
                f"a node of the cluster has wavediff {version}, and here is {__version__}: install "
                "the same on all"
            )
        self.lost = 0

    def give(self, waiting: Waiting[Task]) -> None:
        """Have an idle worker do a task."""
        worker = self.idle.pop()
        self.busy[worker.work.remote(waiting.task, waiting.again)] = worker, waiting

    def answer(self, ref: Any) -> tuple[Waiting[Task], Answer | None]:
        """What a worker was given, and its answer; None where it is lost."""
        worker, waiting = self.busy.pop(ref)
        try:
            answer = self.ray.get(ref)
        except self.ray.exceptions.RayTaskError:  # a fault of ours
            raise
        except self.ray.exceptions.RayError:
            self.end(worker)
            return waiting, None
        self.idle.append(worker)
        return waiting, answer

    def end(self, worker: Any) -> None:
        """End a worker, whatever it does."""
        with contextlib.suppress(Exception):  # it may be gone
            self.ray.kill(worker)

    def end_idle(self) -> None:
        """End the workers that have nothing to do."""
        while self.idle:
            self.end(self.idle.pop())

    def end_all(self) -> None:
        """End all workers."""
        self.end_idle()
        for worker in [*self.starting.values(), *(worker for worker, _ in self.busy.values())]:
            self.end(worker)


def on_cluster(
    address: str, recipe: Recipe[Task, Answer], tasks: Sequence[Task]
) -> Generator[tuple[Task, Answer | None], None, None]:
    """Do tasks on a cluster; yields each with its answer, as they come.

    The tasks of a lost worker, or of a lost node, are done by others, in parts where they have any.
    The answer is None where the task ended ``MOST_TRIES`` workers. Whatever ends the iteration ends
    the workers.

    Args:
        address: ``HOST:PORT``, ``auto`` for the cluster that runs here, ``local`` to begin one.
        recipe: of the workers.
        tasks: each is given to one worker at a time.

    Raises:
        UserError: where there is no such cluster, or the workers cannot start.
    """
    if not tasks:
        return
    with _connected(address) as ray:
        pool = Pool(ray, recipe)
        try:
            yield from _done(pool, deque(map(Waiting, tasks)))
        finally:
            pool.end_all()


def _done(
    pool: Pool[Task, Answer], queue: deque[Waiting[Task]]
) -> Generator[tuple[Task, Answer | None], None, None]:
    patience = time.monotonic() + WAITING
    while queue or pool.busy:
        pool.grow(len(queue) + len(pool.busy))
        while queue and pool.idle:
            pool.give(queue.popleft())
        if not queue:
            pool.end_idle()
        if pool.busy:
            patience = math.inf
        elif time.monotonic() > patience:
            told = "waiting for the first worker: has the cluster room for it?"
            tqdm.write(told, file=sys.stderr)
            patience = math.inf
        awaited = [*pool.starting, *pool.busy]
        if not awaited:  # a cluster without a CPU, until a node comes
            time.sleep(POLL)
            continue
        ready, _ = pool.ray.wait(awaited, timeout=POLL)
        for ref in ready:
            if ref in pool.starting:
                pool.started(ref)
                continue
            given, answer = pool.answer(ref)
            if answer is None:
                tqdm.write("a worker was lost: what it did is given to another", file=sys.stderr)
            parts = pool.recipe.split(given.task) if answer is None else []
            if len(parts) > 1:
                queue.extendleft(Waiting(part, again=True) for part in reversed(parts))
            elif answer is None and given.ended + 1 < MOST_TRIES:
                queue.appendleft(Waiting(given.task, given.ended + 1, again=True))
            else:
                yield given.task, answer


def _reason(error: Exception) -> str:
    """The last line of Ray's message, which has that of the exception."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shorten(lines[-1] if lines else type(error).__name__, 200)


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Ray, connected to a cluster within the block; one that was begun here ends with it.

    Raises:
        UserError: where there is none at that address.
    """
    if address not in ("auto", "local"):
        _require_listening(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns about GPUs
    import ray

    own = {"include_dashboard": False, "object_store_memory": OBJECT_STORE}
    options = own if address == "local" else {}
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR", **options)
    except (ConnectionError, TimeoutError, ValueError, RuntimeError, OSError) as error:
        raise UserError(_no_cluster(address, _reason(error))) from error
    with interruptible():  # Ray has its own way with SIGTERM
        try:
            yield ray
        finally:
            ray.shutdown()


def _require_listening(address: str) -> None:
    """See that something listens at HOST:PORT, for which Ray would wait for minutes.

    Raises:
        UserError: where nothing does.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=LISTENING).close()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(_no_cluster(address, reason)) from error


def _no_cluster(address: str, reason: str) -> str:
    if address == "auto":
        return (
            "no Ray cluster runs here: begin one (ray start --head), give --ray its HOST:PORT, or "
            "--ray local"
        )
    if address == "local":
        return f"a Ray cluster cannot be begun here: {reason}"
    return (
        f"there is no Ray cluster at {shorten(address)} ({reason}): give HOST:PORT, as ray start "
        "--head shows it, auto or local"
    )
