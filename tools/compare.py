"""Compares every kind of model under equal conditions: quality, modes, stability, size of the data.

All models of notes have the same network. Each is sampled with several budgets of network calls,
and the samples are compared with held-out notes: by the Frechet distance of their log-mel
statistics, by density and coverage of their spectra, and by the instruments and pitches that come
out. They are trained with several seeds and on parts of the notes as well. Two vocoders of one
network, by diffusion and by HiFi-GAN's losses, are compared on synthetic voices. Writes RESULTS.md,
a figure and a CSV. After an interruption, the same command resumes without repeating finished work.
"""

import argparse
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

from compare_measure import held_out, measure, recipe
from compare_methods import BASE, LIST, METHODS, NOTES, STUDIED, Run, runs
from compare_page import write_results
from machine import machine
from omegaconf import OmegaConf

from wavediff.cli import run
from wavediff.commands.arguments import non_negative_int, positive_int
from wavediff.commands.outputs import interruptible
from wavediff.data.build import build_source
from wavediff.errors import UserError

LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
PR_SET_PDEATHSIG = 1


def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    if args.measure:
        measure(args.measure, args, _overrides(args.measure, args))
        return 0
    if args.list:
        for one in args.runs:
            print(f"{one.name}\t{'done' if _read(args, one) else 'to do'}")
        return 0
    with interruptible():
        _train_and_measure(args)
    write_page(args)
    print(args.results / "RESULTS.md")
    return 0


def write_page(args: argparse.Namespace) -> None:
    """Write the results of the runs, all of which are measured."""
    found = {one: _read(args, one) for one in args.runs}
    took = sum(
        facts["training_seconds"] + sum(row["sampling_seconds"] for row in facts["rows"])
        for facts in found.values()
    )
    words = " ".join([f"--{k} {v}" for k, v in _changed(args).items()] + args.overrides)
    command = (
        f"Command: `python tools/compare.py{' ' + words if words else ''}` (seed {args.seed}); "
        f"{took / 60:.0f} core-minutes of training and sampling, on {machine(args.jobs)}."
    )
    notes = held_out(args) if any(one.method in NOTES for one in found) else None
    write_results(args.results, found, notes, args.samples, command)


def _train_and_measure(args: argparse.Namespace) -> None:
    """Train and measure each run after those that it needs, `args.jobs` in parallel."""
    for vocoder in {METHODS[one.method].vocoder for one in args.runs}:
        build_source(recipe(args, vocoder).data)  # write the data once, before the processes start
    running = Processes()
    done = {one for one in args.runs if _read(args, one)}
    waiting, futures = [one for one in args.runs if one not in done], {}
    _say(f"{len(done)} of {len(args.runs)} trainings are done")
    with ThreadPoolExecutor(args.jobs) as pool:
        try:
            while waiting or futures:
                for one in list(waiting):
                    if len(futures) < args.jobs and {other for _, other in one.needs} <= done:
                        waiting.remove(one)
                        futures[pool.submit(_one, one, args, running)] = one
                ended, _ = wait(futures, return_when=FIRST_COMPLETED)
                for future in ended:
                    done.add(futures.pop(future))
                    _say(f"{future.result()} ({len(done)} of {len(args.runs)})")
        except BaseException:
            running.stop()  # before the pool joins its threads
            raise


class Processes:
    """Child processes, which are terminated with this process."""

    def __init__(self) -> None:
        self.children: set[subprocess.Popen] = set()
        self.stopped = False
        self.lock = threading.Lock()

    def call(self, command: list[str], log: Path) -> None:
        """Run a command with output to `log`. Raises UserError with its last line if it fails."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "w") as file:
            with self.lock:
                if self.stopped:
                    raise UserError("stopped")
                env = {**os.environ, "OMP_NUM_THREADS": "1"}
                child = subprocess.Popen(
                    command, stdout=file, stderr=file, env=env, preexec_fn=_end_with_parent
                )
                self.children.add(child)
            code = child.wait()
            self.children.discard(child)
        if code:
            lines = log.read_text().strip().splitlines() or ["no output"]
            raise UserError(f"{log.stem} failed ({lines[-1].removeprefix('error: ')}): see {log}")

    def stop(self) -> None:
        with self.lock:
            self.stopped = True
            for child in self.children:
                child.terminate()


def _end_with_parent() -> None:
    """Have this process terminated with its parent, even by kill -9, where the system can."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _one(run: Run, args: argparse.Namespace, running: Processes) -> str:
    """Train and measure; returns what to say."""
    name, logs = run.name, args.out / "logs"
    folder, began = args.out / name, time.monotonic()
    command = [sys.executable, "-m", "wavediff.train", *_overrides(run, args)]
    running.call([*command, f"run_dir={folder}", "trainer.progress=false"], logs / f"{name}.log")
    trained = time.monotonic() - began
    again = [sys.executable, __file__, "--measure", name, *_arguments(args)]
    running.call(again, logs / f"{name}-measure.log")
    total = time.monotonic() - began
    return f"{name}: {trained:.0f} s of training, {total:.0f} s in total"


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def _overrides(run: Run, args: argparse.Namespace) -> list[str]:
    words = [f"name={BASE}_{run.name}", *OmegaConf.to_container(OmegaConf.load(LIST))[run.method]]
    words += [f"data.root={args.data}", f"seed={args.seed + run.seed}"]
    words += [f"{key}={args.out / other.name}" for key, other in run.needs]
    part = []
    if run.share < 1:  # the first notes: those held out stay held out
        part = [f"data.count={round(run.share * recipe(args).data.count)}"]
    return [*words, *args.overrides, *part]


def _arguments(args: argparse.Namespace) -> list[str]:
    """Arguments for a measuring process."""
    words = ["--out", str(args.out), "--data", str(args.data), "--seed", str(args.seed)]
    return [*words, "--samples", str(args.samples), *args.overrides]


def _read(args: argparse.Namespace, run: Run) -> dict | None:
    """Results of the current model with these arguments, or None."""
    folder = args.out / run.name
    try:
        found = json.loads((folder / "frechet.json").read_text())
    except (OSError, ValueError):
        return None
    if (folder / "frechet.json").stat().st_mtime < (folder / "model.safetensors").stat().st_mtime:
        return None
    made_with = {"samples": args.samples, "seed": args.seed}
    made_with["trained_by"] = _overrides(run, args)
    return found if found["made_with"] == made_with else None


def _changed(args: argparse.Namespace) -> dict[str, object]:
    """Options other than paths that differ from their defaults."""
    defaults = _parse([])
    names = ("samples", "seed", "seeds", "shares", "jobs")
    changed = {n: getattr(args, n) for n in names if getattr(args, n) != getattr(defaults, n)}
    if "shares" in changed:
        changed["shares"] = " ".join(f"{share:g}" for share in args.shares)
    for name in ("methods", "study"):
        if getattr(args, name) != getattr(defaults, name):
            changed[name] = ",".join(getattr(args, name)) or '""'
    return changed


def _methods(text: str) -> list[str]:
    """Parse names of methods, and add those that they need."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = sorted(set(names) - set(METHODS))
    if unknown or not names:
        raise argparse.ArgumentTypeError(
            f"unknown method {', '.join(unknown) or repr(text)}: choose from {', '.join(METHODS)}"
        )
    needed = {run for name in names for _, run in METHODS[name].needs}
    return [name for name in METHODS if name in {*names, *needed}]


def _studied(text: str) -> list[str]:
    return _methods(text) if text.strip() else []


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"a share must be between 0 and 1, not {text}")
    return share


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="of `wavediff train`, for every model"
    )
    parser.add_argument(
        "--methods", type=_methods, default=list(METHODS), metavar="NAME,NAME",
        help=f"methods among {', '.join(METHODS)} (default: all)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("runs/comparison"), help="of the models")
    parser.add_argument("--data", type=Path, default=Path("data/notes"), help="of the notes")
    parser.add_argument(
        "--results", type=Path, default=Path("recipes/comparison"), help="of the results"
    )
    parser.add_argument("--samples", type=positive_int, default=500, help="sounds per row")
    parser.add_argument("--seed", type=non_negative_int, default=0)
    parser.add_argument(
        "--study", type=_studied, default=list(STUDIED), metavar="NAME,NAME",
        help="methods that are trained with several seeds and on parts of the notes (default: "
        f"{', '.join(STUDIED)})",
    )  # fmt: skip
    parser.add_argument("--seeds", type=positive_int, default=5, help="trainings of each of them")
    parser.add_argument(
        "--shares", type=_share, nargs="*", default=[0.05, 0.2], metavar="SHARE",
        help="of the notes, on which they are trained as well (default: 0.05 0.2)",
    )  # fmt: skip
    parser.add_argument("--jobs", type=positive_int, default=2, help="processes of one core")
    parser.add_argument("--list", action="store_true", help="list the trainings, and end")
    parser.add_argument("--measure", type=Run.parse, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    args.out, args.data = args.out.expanduser(), args.data.expanduser()
    args.runs = runs(args.methods, args.study, args.seeds, args.shares)
    return args


if __name__ == "__main__":
    sys.exit(run(main))
