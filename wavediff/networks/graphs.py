"""CUDA graphs: a network's kernels are recorded once for a shape, then replayed together.

At batch size 1 most of a small network's time on a GPU is spent on starting its kernels. A replay
starts all of them at once. It reads and writes fixed memory: inputs are copied there, and the
result from there.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from wavediff.diffusion.condition import DESCRIPTIONS, Condition
from wavediff.errors import shorten

Replay = Callable[[], Tensor]  # computes from the fixed inputs into fixed memory, which it returns


@dataclass
class Recorded:
    """A network's call for one shape."""

    inputs: list[Tensor | None]  # fixed memory
    given: list[Tensor | None]  # what it was copied from
    versions: list[int | None]  # of what was given; None where it is unknown
    replay: Replay

    def __call__(self, inputs: Sequence[Tensor | None]) -> Tensor:
        for i, (fixed, given) in enumerate(zip(self.inputs, inputs, strict=True)):
            if fixed is None or given is None:
                continue
            version = None if given.is_inference() else given._version
            known = version is not None and version == self.versions[i]
            if not known or given is not self.given[i]:  # a condition is that of the step before
                fixed.copy_(given)
                self.given[i], self.versions[i] = given, version
        return self.replay().clone()


def replay_graphs(network: nn.Module, most: int = 4) -> None:
    """Let ``network`` on a GPU be computed by CUDA graphs from now on, where it can be.

    A shape is recorded at its second call, as one that occurs once does not pay. Calls with
    gradients, in training mode, under autocast of the caller or with a stream of parts, and those
    on a CPU, are computed as before. The weights may change, but must stay where they are: move the
    network first.

    Args:
        network: called with ``(x, c_noise)`` or ``(x, c_noise, cond)``; changed in place.
        most: shapes that are kept; the one that was not used for longest is forgotten. Each keeps
            the memory of its inputs.
    """
    pool: list[Any] = []

    def record(call: Callable[[], Tensor]) -> Replay:
        if not pool:  # one for all: only one graph runs at a time, and its result is copied
            pool.append(torch.cuda.graph_pool_handle())
        return recorded(call, pool[0])

    network.forward = Replayed(network, record, most)


def recorded(call: Callable[[], Tensor], pool: Any) -> Replay:
    """The kernels of ``call`` as a CUDA graph, after calls that let libraries choose theirs."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        out = call()

    def replay() -> Tensor:
        graph.replay()
        return out

    return replay


class Replayed:
    """``forward`` of a network with recorded calls, see ``replay_graphs``.

    Args:
        network: whose ``forward`` is recorded.
        record: makes a replay of a call on fixed inputs.
        most: shapes that are kept.
        kind: type of the devices whose calls are recorded.
    """

    def __init__(
        self,
        network: nn.Module,
        record: Callable[[Callable[[], Tensor]], Replay],
        most: int,
        kind: str = "cuda",
    ) -> None:
        self.network, self.plain = network, network.forward
        self.record, self.most, self.kind = record, most, kind
        self.kept: OrderedDict[Any, Recorded | None] = OrderedDict()  # None: called once
        self.failed = False

    def __call__(
        self, x: Tensor, c_noise: Tensor, *cond: Condition, frames: Any = None, **options: Any
    ) -> Tensor:
        inputs, structure = _parts(x, c_noise, *cond)
        tensors = all(part is None or isinstance(part, Tensor) for part in inputs)
        if frames is not None or options or len(cond) > 1 or not tensors or self._varies(x):
            options |= {} if frames is None else {"frames": frames}
            return self.plain(x, c_noise, *cond, **options)
        key = structure, *(None if t is None else (t.shape, t.dtype, t.device) for t in inputs)
        found = self.kept.get(key)
        if found is None and key in self.kept:
            found = self._recorded(inputs, structure)
        self.kept[key] = found
        self.kept.move_to_end(key)
        while len(self.kept) > self.most:
            self.kept.popitem(last=False)
        return self.plain(x, c_noise, *cond) if found is None else found(inputs)

    def _varies(self, x: Tensor) -> bool:
        return (
            self.failed
            or x.device.type != self.kind
            or torch.is_grad_enabled()
            or self.network.training
            or torch.is_autocast_enabled(self.kind)
        )

    def _recorded(self, inputs: Sequence[Tensor | None], structure: TreeSpec) -> Recorded | None:
        fixed = [None if part is None else part.clone() for part in inputs]
        call = _call(fixed, structure)
        try:
            replay = self.record(lambda: self.plain(*call))
        except RuntimeError as error:
            self.failed = True
            warnings.warn(
                f"no CUDA graph of this network can be recorded ({shorten(error)}): its kernels "
                "are started one by one",
                stacklevel=2,
            )
            return None
        return Recorded(fixed, [None] * len(fixed), [None] * len(fixed), replay)


def _parts(x: Tensor, c_noise: Tensor, *cond: Any) -> tuple[list[Any], TreeSpec]:
    """All tensors of a call, with None for those that are missing, and its structure."""
    names = (*DESCRIPTIONS, "prepared")
    conditions = [[getattr(one, name, None) for name in names] for one in cond]
    return tree_flatten((x, c_noise, conditions))


def _call(parts: Sequence[Tensor | None], structure: TreeSpec) -> tuple[Any, ...]:
    """The arguments of the call whose tensors are ``parts``."""
    x, c_noise, conditions = tree_unflatten(parts, structure)
    names = (*DESCRIPTIONS, "prepared")
    return x, c_noise, *(Condition(**dict(zip(names, one, strict=True))) for one in conditions)
