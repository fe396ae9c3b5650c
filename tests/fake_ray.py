"""A cluster of Ray's that is simulated in this process, and loses workers as it is told."""

from collections import deque
from types import SimpleNamespace

from wavediff.commands.ray_workers import Pool, Waiting, _done


class Lost(Exception):
    """As Ray's, of a worker that is gone."""


class Fault(Lost):
    """As Ray's, of an exception in a worker."""


class FakeRay:
    """Ray as the pool sees it: an answer is computed as it is asked for.

    Args:
        cpus: of the cluster.
        loses: how often each task ends its worker, by its name.
        name: of a task.
    """

    exceptions = SimpleNamespace(RayError=Lost, RayTaskError=Fault)

    def __init__(self, cpus: int = 2, loses: dict | None = None, name=lambda task: task) -> None:
        self.cpus, self.loses, self.name = cpus, dict(loses or {}), name
        self.alive: set = set()
        self.most = 0
        self.asked: list = []

    def on_cluster(self, address, recipe, tasks):
        """As ``ray_workers.on_cluster``."""
        yield from _done(Pool(self, recipe), deque(map(Waiting, tasks)))

    def cluster_resources(self) -> dict:
        return {"CPU": float(self.cpus)}

    def remote(self, **options):
        assert options == {"num_cpus": 1, "num_gpus": 0, "max_restarts": 0}
        return lambda kind: SimpleNamespace(remote=lambda: self._worker(kind))

    def _worker(self, kind):
        real, worker = kind(), SimpleNamespace()
        worker.start = SimpleNamespace(remote=lambda *words: Ref(lambda: real.start(*words)))
        worker.work = SimpleNamespace(remote=lambda *words: Ref(lambda: self._work(real, *words)))
        self.alive.add(id(worker))
        self.most = max(self.most, len(self.alive))
        return worker

    def _work(self, real, task, again):
        self.asked.append((task, again))
        if self.loses.get(self.name(task), 0):
            self.loses[self.name(task)] -= 1
            raise Lost
        return real.work(task, again)

    def wait(self, refs, timeout):
        return refs[:1], refs[1:]

    def get(self, ref):
        return ref.compute()

    def kill(self, worker):
        self.alive.discard(id(worker))


class Ref:
    """What is awaited."""

    def __init__(self, compute) -> None:
        self.compute = compute
