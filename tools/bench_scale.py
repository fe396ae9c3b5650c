"""Throughput of 1, 2 and 4 processes on this machine, beside a model of it, for docs/scale.md.

    python tools/bench_scale.py

Work of a known size is given to K processes of one thread each, by `--shard` for `enhance`,
`vocode` and `forecast`, and by torchrun for training. The recordings are synthetic voices. Prints,
as a Markdown table, what one process does in a second, how long K processes take, and
how long by the model

    seconds(K) = start + work / (rate of one process x min(K, cores))

whose two numbers are those of one process on two sizes of work. What is left between the model and
the measurement is what processes take from one another: memory traffic, and the start of each.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas
import torch
from machine import machine

from wavediff.cli import run
from wavediff.commands.arguments import positive_int
from wavediff.data.audio import write_audio
from wavediff.data.synthetic import utterance
from wavediff.errors import UserError

CLIP = 10.0  # seconds of a recording
RATE = 16_000
POINTS, HORIZON = 150, 18
WORKS = ("enhance", "vocode", "forecast", "train")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--processes", nargs="+", type=positive_int, default=[1, 2, 4])
    add("--works", nargs="+", choices=WORKS, default=WORKS)
    add("--clips", type=positive_int, default=16, help="recordings of 10 s (default: 16)")
    add("--series", type=positive_int, default=400, help="monthly series (default: 400)")
    add("--steps", type=positive_int, default=60, help="of a training (default: 60)")
    options = parser.parse_args(argv)
    cores = len(os.sched_getaffinity(0))
    print(f"{machine(cores)}, one thread a process\n")
    columns = ["work", "start, s", "rate of one process", "processes", "s", "by the model, s"]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    with tempfile.TemporaryDirectory() as folder:
        for work in options.works:
            _measure(work, Path(folder) / work, cores, options)
    return 0


def _measure(work: str, folder: Path, cores: int, options: argparse.Namespace) -> None:
    """Print the rows of one kind of work."""
    size, unit, prepare, commands = {
        "enhance": (options.clips, "s of audio", _recordings, _enhance),
        "vocode": (options.clips, "s of audio", _recordings, _vocode),
        "forecast": (options.series, "series", _table, _forecast),
        "train": (options.steps, "examples", _nothing, _train),
    }[work]
    units = {"s of audio": CLIP, "series": 1.0, "examples": 16.0}[unit]  # of one piece of work
    small = max(1, size // 4)
    seconds = {}
    for count in (small, size):
        prepare(folder / str(count), count)
        seconds[count] = _timed(commands(folder / str(count), count, 1), folder / f"once-{count}")
    rate = (size - small) / max(1e-9, seconds[size] - seconds[small])
    start = max(0.0, seconds[size] - size / rate)
    for k in options.processes:
        took = seconds[size] if k == 1 else _timed(
            commands(folder / str(size), size, k), folder / f"by-{k}"
        )  # fmt: skip
        model = start + size / (rate * min(k, cores))
        rates = f"{rate * units:.1f} {unit} a second" if k == options.processes[0] else ""
        first = (f"{work}, {size * units:.0f} {unit}", f"{start:.1f}") if rates else ("", "")
        print(
            f"| {' | '.join([*first, rates, str(k), f'{took:.1f}', f'{model:.1f}'])} |", flush=True
        )


def _timed(commands: Callable[[Path], list[list[str]]], output: Path) -> float:
    """Seconds until all commands, run at once, have ended."""
    output.mkdir(parents=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    began = time.monotonic()
    processes = [
        subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for words in commands(output)
    ]
    told = [process.communicate()[1].decode() for process in processes]
    taken = time.monotonic() - began
    for process, text in zip(processes, told, strict=True):
        if process.returncode:
            raise UserError(f"a command failed: {text.strip().splitlines()[-1:]}")
    return taken


def _wavediff(*words: object) -> list[str]:
    return [sys.executable, "-m", "wavediff", *map(str, words)]


def _sharded(k: int, words: Callable[[int], Sequence[object]]) -> list[list[str]]:
    return [_wavediff(*words(i), "--shard", f"{i}/{k}") for i in range(1, k + 1)]


def _recordings(folder: Path, count: int) -> None:
    """Synthetic voices in noise."""
    for i in range(count):
        sound = utterance(CLIP, RATE, i)
        noise = torch.randn(sound.shape, generator=torch.Generator().manual_seed(i))
        write_audio(folder / f"{i:04}.flac", sound + 0.02 * noise, RATE)


def _table(folder: Path, count: int) -> None:
    """Monthly series, one in a column."""
    months = pandas.date_range("2010-01-01", periods=POINTS, freq="MS")
    at = np.arange(POINTS)[:, None]
    wave = 10 * np.sin(2 * np.pi * (at / 12 + np.arange(count) / 7))
    values = 100 + 0.1 * at + wave + np.random.default_rng(0).standard_normal((POINTS, count))
    frame = pandas.DataFrame(values.round(3), columns=[f"s{i:04}" for i in range(count)])
    frame.insert(0, "month", months)
    folder.mkdir(parents=True)
    frame.to_csv(folder / "series.csv", index=False)


def _nothing(folder: Path, count: int) -> None:
    pass


def _enhance(folder: Path, count: int, k: int) -> Callable[[Path], list[list[str]]]:
    return lambda out: _sharded(
        k, lambda i: ["enhance", folder, "-o", out / "clean", "--threads", 1]
    )


def _vocode(folder: Path, count: int, k: int) -> Callable[[Path], list[list[str]]]:
    return lambda out: _sharded(k, lambda i: ["vocode", folder, "-o", out / "new", "--threads", 1])


def _forecast(folder: Path, count: int, k: int) -> Callable[[Path], list[list[str]]]:
    words = ["forecast", folder / "series.csv", "--horizon", HORIZON, "--threads", 1]
    return lambda out: _sharded(k, lambda i: [*words, "-o", out / f"{i}.csv"])


def _train(folder: Path, count: int, k: int) -> Callable[[Path], list[list[str]]]:
    """A training with the same 16 examples a step on any number of processes."""
    settings = [
        "recipe=tiny", f"trainer.max_steps={count}", "trainer.batch_size=16",
        "trainer.threads=1", "trainer.validate_every=100000", "trainer.checkpoint_every=100000",
        "trainer.progress=false",
    ]  # fmt: skip
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={k}"]
    return lambda out: [
        [sys.executable, *(launch if k > 1 else []), "-m", "wavediff.train", *settings,
         f"run_dir={out / 'run'}"]
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(run(main))
