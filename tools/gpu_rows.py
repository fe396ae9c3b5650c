"""Modes of a network on a GPU, and tables of measurements that survive failing rows."""

import signal
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from wavediff.errors import shorten
from wavediff.networks import layout
from wavediff.networks.graphs import replay_graphs
from wavediff.networks.precision import in_bfloat16
from wavediff.training.config import Precision
from wavediff.training.precision import accelerate

PRECISIONS = {"float32": Precision.fp32, "TF32": Precision.fp32, "bfloat16": Precision.bf16}
LONGEST = 100  # seconds of a row; compilation takes most of them
COMPILED, GRAPH, GATE = "compiled", "CUDA graph", "Triton gate"
INNERMOST = "channels innermost"


class Mode(NamedTuple):
    """How a network is computed: its precision, and the names below."""

    precision: str
    how: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " + ".join(self.how) or "eager"


class Report:
    """Markdown tables on stdout and in a file, row by row, within a time limit."""

    def __init__(self, path: Path | None, minutes: float, device: torch.device) -> None:
        self.file = None if path is None else path.open("w")
        self.end = time.monotonic() + 60 * minutes
        self.device = device

    def say(self, line: str = "") -> None:
        for file in (sys.stdout, self.file):
            if file is not None:
                print(line, file=file, flush=True)

    def section(self, title: str, *columns: str) -> None:
        self.say(f"\n## {title}\n\n| {' | '.join(columns)} |\n{'|---' * len(columns)}|")

    def row(self, names: Sequence[str], measure: Callable[[], Sequence[str]]) -> None:
        """A row of names and of what is measured, or of why it could not be."""
        left = self.end - time.monotonic()
        try:
            if left < 1:
                raise TimeoutError("not measured: the time is over")
            with at_most(min(left, LONGEST)), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                warnings.filterwarnings("error", "no CUDA graph")
                cells = measure()
        except Exception as error:  # the next row may succeed
            lines = str(error).strip().splitlines() or [""]
            cells = [f"{type(error).__name__}: {shorten(lines[0])}".replace("|", "/")]
        self.say(f"| {' | '.join([*names, *cells])} |")
        torch.compiler.reset()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block after ``seconds``."""

    def stop(signum: int, frame: Any) -> None:
        raise TimeoutError(f"longer than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def settings(mode: Mode, device: torch.device, train: bool) -> Iterator[None]:
    """TF32, layout and the choice of convolutions of a mode within the block."""
    flags = [
        (torch.backends.cuda.matmul, "allow_tf32", mode.precision == "TF32"),
        (torch.backends.cudnn, "allow_tf32", mode.precision == "TF32"),
        (torch.backends.cudnn, "benchmark", train),  # as `wavediff train` sets it
        (layout, "INNERMOST", {"cpu", *([device.type] if INNERMOST in mode.how else [])}),
    ]
    before = [getattr(where, name) for where, name, _ in flags]
    try:
        for where, name, value in flags:
            setattr(where, name, value)
        yield
    finally:
        for (where, name, _), value in zip(flags, before, strict=True):
            setattr(where, name, value)


def set_up(network: nn.Module, mode: Mode, device: torch.device, train: bool) -> None:
    """Let a network, which is changed, compute as a mode says."""
    if device.type != "cuda" and {GRAPH, GATE} & {*mode.how}:
        raise RuntimeError("needs a GPU")
    if GATE in mode.how:
        from wavediff.networks.gate_triton import fuse_gates

        fuse_gates(network)
    network.train(train)
    if train:
        accelerate(network, device, PRECISIONS[mode.precision], COMPILED in mode.how)
        return
    if COMPILED in mode.how:
        network.forward = torch.compile(network.forward)
    if mode.precision == "bfloat16":
        in_bfloat16(network)
    if GRAPH in mode.how:
        replay_graphs(network)


def check_recorded(network: nn.Module, mode: Mode) -> None:
    """Check that a mode with graphs has replayed some, instead of computing as before.

    Raises:
        RuntimeError: if it has not.
    """
    if GRAPH in mode.how and not any(network.forward.kept.values()):
        raise RuntimeError("no call was recorded: its condition is in another form")


class Measured(NamedTuple):
    """Median seconds of a call, peak memory in bytes (0 on a CPU), and the last result."""

    seconds: float
    memory: int
    result: Any


def measured(call: Callable[[], Any], device: torch.device, reduced: bool) -> Measured:
    """Measure a call after three others, of which a graph needs two."""
    cuda = device.type == "cuda"
    for _ in range(1 if reduced else 3):
        result = call()
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    times: list[float] = []
    while len(times) < (1 if reduced else 3) or (not reduced and sum(times) < 0.5):
        began = time.perf_counter()
        result = call()
        if cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    peak = torch.cuda.max_memory_allocated() if cuda else 0
    return Measured(statistics.median(times), peak, result)


def cells(found: Measured, amount: float, bounds: Sequence[float] | None = None) -> list[str]:
    """Milliseconds, amount per second, shares of the limits, and memory."""
    shares = [f"{bound / found.seconds:.0%}" for bound in bounds or ()]
    memory = f"{found.memory / 1e9:.2f}" if found.memory else ""
    return [f"{1000 * found.seconds:.2f}", f"{amount / found.seconds:.1f}", *shares, memory]
