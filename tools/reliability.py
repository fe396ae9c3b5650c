"""What survives: trainings that are killed, and commands that share a folder.

    python tools/reliability.py kills --kills 100 --seed 0
    python tools/reliability.py together --processes 4 --seed 0

kills: a training is killed by SIGKILL again and again, at random or while it writes a checkpoint,
and started again by the same command until it is done; its weights, averaged weights and optimizer
have to be those of a run that was never hurt, bit for bit. together: processes enhance the same
files into the same folder at once, train in the same run folder, and make the same dataset; every
output has to be whole, and that of one process.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from safetensors.torch import load_file
from tqdm import tqdm

from wavediff import cli
from wavediff.cli import run
from wavediff.files import TEMPORARY

STEPS = 40
TRAINING = [
    "train", "recipe=tiny", "data.count=6", "data.seconds=0.6", "data.workers=0",
    "task.crop_frames=4", "network.width=16", "network.layers=4", "trainer.batch_size=2",
    f"trainer.max_steps={STEPS}", "trainer.validate_every=0", "trainer.checkpoint_every=2",
    "trainer.device=cpu", "trainer.threads=1", "trainer.progress=false", "data.root=data",
]  # fmt: skip
LONGEST = 300  # seconds of a process


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code is 1 where something did not survive."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["kills", "together"])
    parser.add_argument("--kills", type=int, default=100, help="how many (default: 100)")
    parser.add_argument("--processes", type=int, default=4, help="at once (default: 4)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
        os.chdir(folder)
        if arguments.what == "kills":
            return kills(arguments.kills, random.Random(arguments.seed))
        return together(arguments.processes, arguments.seed)


def kills(number: int, rng: random.Random) -> int:
    """Kill trainings ``number`` times in all. Returns the exit code."""
    start = time.monotonic()
    end(begin([*TRAINING, "run_dir=whole"]))
    length = time.monotonic() - start
    expected = final("whole")
    killed = writing = runs = wrong = 0
    with tqdm(total=number, unit="kill", disable=None) as bar:
        while killed < number:
            runs += 1
            run_dir = f"run-{runs}"
            while True:
                before = half_written(run_dir)
                pid = begin([*TRAINING, f"run_dir={run_dir}"])
                skip = rng.randrange(6) if rng.random() < 0.5 else None
                if not struck(pid, run_dir, rng.uniform(0, length), skip):
                    break
                killed += 1
                bar.update()
                writing += bool(half_written(run_dir) - before)
            same = equal(final(run_dir), expected)
            wrong += not same
            if not same:
                tqdm.write(f"{run_dir} ended at other weights")
    seconds = time.monotonic() - start
    print(f"{killed} kills of {runs} trainings, {writing} of them while a checkpoint was written")
    print(f"{runs - wrong} of {runs} ended at the same bits; {seconds:.0f} s")
    return 1 if wrong else 0


def half_written(run_dir: str) -> set[str]:
    """Names of the files that are being written, or were when a process was killed."""
    return {path.name for path in Path(run_dir).rglob(f"{TEMPORARY}*")}


def struck(pid: int, run_dir: str, seconds: float, skip: int | None) -> bool:
    """Kill a process after that time, or while it writes a file after ``skip`` others.

    Returns whether it was still running.
    """
    stop = time.monotonic() + seconds
    seen = half_written(run_dir)
    known = len(seen)
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            if status:
                raise RuntimeError(f"the training failed: {Path('log').read_text()[-2000:]}")
            return False
        if skip is None:
            if time.monotonic() > stop:
                break
        elif new := half_written(run_dir) - seen:
            seen |= new
            if len(seen) - known > skip:
                break
        time.sleep(0.0005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return True


def final(run_dir: str) -> dict:
    """The last checkpoint of a run, with the exported weights."""
    last = sorted(Path(run_dir, "checkpoints").glob("*.pt"))[-1]
    state = torch.load(last, weights_only=True)
    keep = ("step", "network", "ema", "optimizer")
    exported = load_file(Path(run_dir, "model.safetensors"))
    return {key: state[key] for key in keep} | {"exported": exported}


def equal(one: object, other: object) -> bool:
    """Whether nested values are equal, tensors bit for bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    return one == other


def together(processes: int, seed: int) -> int:
    """Run commands at once on shared folders. Returns the exit code."""
    rng = np.random.default_rng(seed)
    wrong = []
    Path("in").mkdir()
    for number in range(6):
        soundfile.write(f"in/{number}.wav", 0.1 * rng.normal(size=24_000), 16_000)
    at_once(processes, ["enhance", "in", "-o", "alone", "--threads", "1"], first=True)
    at_once(processes, ["enhance", "in", "-o", "shared", "--threads", "1"])
    for path in sorted(Path("alone").iterdir()):
        other = Path("shared", path.name)
        if not other.exists() or other.read_bytes() != path.read_bytes():
            wrong.append(str(other))
    codes = at_once(processes, [*TRAINING, "run_dir=run"])
    alone = at_once(processes, [*TRAINING, "run_dir=other"], first=True)
    if sorted(codes) != [0] + [2] * (processes - 1) or alone != [0]:
        wrong.append(f"trainings in one folder ended with the codes {codes}")
    if not equal(final("run"), final("other")):
        wrong.append("the training beside others ended at other weights")
    left = [str(path) for path in Path().rglob(f"{TEMPORARY}*")]
    print(f"{processes} processes enhanced the same 6 files into one folder, and trained in one")
    print("; ".join(wrong + left) or "all outputs are whole and those of one process")
    return 1 if wrong or left else 0


def at_once(processes: int, words: Sequence[str], first: bool = False) -> list[int]:
    """Exit codes of processes of one command, started together; ``first`` is for one alone."""
    pids = [begin(words) for _ in range(1 if first else processes)]
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def begin(words: Sequence[str]) -> int:
    """Start a command in a fork of this process. Returns its number."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        for stream in (1, 2):
            os.dup2(os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        signal.alarm(LONGEST)
        code = cli.main(list(words))
    finally:
        os._exit(code)


def end(pid: int) -> None:
    """Wait for a process that has to succeed."""
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError(f"the command failed: {Path('log').read_text()[-2000:]}")


if __name__ == "__main__":
    sys.exit(run(main))
