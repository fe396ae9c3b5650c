"""Compares every kind of model on the same notes, by quality against network calls.

All have the same network and training budget. Each is sampled with several budgets of network
calls, and the samples are compared with held-out notes: by the Frechet distance of their log-mel
statistics, and by density and coverage of their spectra. A diffusion model and a GAN are trained
with several seeds and on parts of the notes as well. Writes RESULTS.md, a figure and a CSV. After
an interruption, the same command resumes without repeating finished work.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import torch
from compare_methods import BASE, LIST, METHODS, STUDIED, Run, runs
from compare_page import Notes, write_results
from hydra import compose, initialize_config_dir
from machine import machine
from omegaconf import OmegaConf
from torch import Tensor, nn

from wavediff.cli import run
from wavediff.commands.arguments import non_negative_int, positive_int
from wavediff.commands.outputs import interruptible
from wavediff.data.build import build_source, build_split
from wavediff.data.utterances import Utterances
from wavediff.diffusion.sampler import Sampler
from wavediff.errors import UserError
from wavediff.evaluation.coverage import density_and_coverage, log_spectrum
from wavediff.evaluation.frechet import frechet, log_mel_statistics
from wavediff.files import atomic_path, conf_folder
from wavediff.tasks.autoencoder import Autoencoder
from wavediff.tasks.checkpoint import load_task
from wavediff.tasks.sampler import sampler_by_name

BATCH = 100  # samples


def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    if args.measure:
        measure(args.measure, args)
        return 0
    began = time.monotonic()
    with interruptible():
        _train_and_measure(args)
    found = {run: _read(args, run) for run in args.runs}
    minutes = (time.monotonic() - began) / 60
    words = " ".join([f"--{k} {v}" for k, v in _changed(args).items()] + args.overrides)
    command = (
        f"Command: `python tools/compare.py{' ' + words if words else ''}` (seed {args.seed}), "
        f"{minutes:.0f} minutes on {machine(args.jobs)}."
    )
    write_results(args.results, found, _held_out(args), args.samples, command)
    print(args.results / "RESULTS.md")
    return 0


def _train_and_measure(args: argparse.Namespace) -> None:
    """Train and measure each method after those that it needs, `args.jobs` in parallel."""
    build_source(_config(args).data)  # write the notes once, before the processes start
    running = Processes()
    needed = {run for method in METHODS.values() for _, run in method.needs}
    waiting = sorted(args.runs, key=lambda run: run.name not in needed)  # others depend on these
    done, futures = set(), {}
    with ThreadPoolExecutor(args.jobs) as pool:
        try:
            while waiting or futures:
                for run in list(waiting):
                    if {other for _, other in METHODS[run.method].needs} <= done:
                        waiting.remove(run)
                        futures[pool.submit(_one, run, args, running)] = run.name
                ended, _ = wait(futures, return_when=FIRST_COMPLETED)
                for future in ended:
                    done.add(futures.pop(future))
                    future.result()
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
                child = subprocess.Popen(command, stdout=file, stderr=file, env=env)
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


def _one(run: Run, args: argparse.Namespace, running: Processes) -> None:
    name, logs = run.name, args.out / "logs"
    folder, began = args.out / name, time.monotonic()
    command = [sys.executable, "-m", "wavediff.train", *_overrides(run, args)]
    running.call([*command, f"run_dir={folder}", "trainer.progress=false"], logs / f"{name}.log")
    trained = time.monotonic() - began
    if _read(args, run) is None:
        again = [sys.executable, __file__, "--measure", name, *_arguments(args)]
        running.call(again, logs / f"{name}-measure.log")
    total = time.monotonic() - began
    print(
        f"{name}: {trained:.0f} s of training, {total:.0f} s in total", file=sys.stderr, flush=True
    )


def _overrides(run: Run, args: argparse.Namespace) -> list[str]:
    words = [f"name={BASE}_{run.name}", *OmegaConf.to_container(OmegaConf.load(LIST))[run.method]]
    words += [f"data.root={args.data}", f"seed={args.seed + run.seed}"]
    words += [f"{key}={args.out / other}" for key, other in METHODS[run.method].needs]
    part = []
    if run.share < 1:  # the first notes: those held out stay held out
        part = [f"data.count={round(run.share * _config(args).data.count)}"]
    return [*words, *args.overrides, *part]


def _arguments(args: argparse.Namespace) -> list[str]:
    """Arguments for a measuring process."""
    words = ["--out", str(args.out), "--data", str(args.data), "--seed", str(args.seed)]
    return [*words, "--samples", str(args.samples), *args.overrides]


def _config(args: argparse.Namespace):
    with initialize_config_dir(str(conf_folder().resolve()), version_base=None):
        words = [f"recipe={BASE}", f"data.root={args.data}", *args.overrides]
        return compose("train", words)


def _notes(args: argparse.Namespace, part: str) -> tuple[Tensor, int]:
    """Notes of a held-out part of the split: ([n, time], sample rate)."""
    config = _config(args)
    source, loader = build_source(config.data)
    clips = build_split(source, loader)[part]
    rate = config.task.sample_rate
    found = Utterances(clips, rate, loader.normalize)
    return torch.cat([found[i]["audio"] for i in range(len(found))]), rate


@torch.no_grad()
def measure(run: Run, args: argparse.Namespace) -> None:
    """Sample a trained method with each budget of network calls and write the results as JSON."""
    torch.set_num_threads(1)
    audio, rate = _notes(args, "test")
    reference = log_mel_statistics(audio, rate)
    spectra = log_spectrum(audio[spread(len(audio), args)])
    task = load_task(args.out / run.name)
    rows = []
    for label, sampler, calls in _plan(run.method, task):
        began = time.perf_counter()
        sounds = _sounds(task, sampler, args.samples, args.seed + run.seed)
        seconds = time.perf_counter() - began
        density, coverage = density_and_coverage(spectra, log_spectrum(sounds))
        rows.append(
            {
                "method": run.method,
                "run": run.name,
                "sampler": label,
                "calls": calls,
                "frechet": frechet(reference, log_mel_statistics(sounds, rate)),
                "density": round(density, 4),
                "coverage": round(coverage, 4),
                "sampling_seconds": round(seconds, 2),
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
    facts = {"made_with": _made_with(args, task), "parameters": _size(task.network)}
    facts |= {"training_seconds": task.extra["seconds"], "steps": task.extra["step"]}
    with atomic_path(args.out / run.name / "frechet.json") as path:
        path.write_text(json.dumps(facts | {"rows": rows}, indent=1) + "\n")


def spread(n: int, args: argparse.Namespace) -> Tensor:
    """Indices of as many of ``n`` notes as sounds are sampled, of all instruments."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(args.seed))[: args.samples]


def _plan(name: str, task: nn.Module) -> list[tuple[str, Sampler | None, int]]:
    """(name of the sampler, sampler with its steps, network calls) for each budget."""
    if isinstance(task, Autoencoder):
        return [("decoder", None, 1)]
    chosen = [task.sampler, *map(sampler_by_name, METHODS[name].others)]
    samplers = {sampler.method.name: sampler for sampler in chosen}
    plan = []
    for label, sampler in samplers.items():
        counts = set()
        for budget in METHODS[name].calls:
            for steps in range(budget, 0, -1):
                chosen = sampler.with_steps(steps)
                calls = count_calls(chosen, task)
                if calls <= budget:
                    if calls not in counts:
                        counts.add(calls)
                        plan.append((label, chosen, calls))
                    break
    return plan


def count_calls(sampler: Sampler, task: nn.Module) -> int:
    """Number of calls of the denoiser for one batch."""
    calls = 0

    def denoise(x: Tensor, t: Tensor, cond: object) -> Tensor:
        nonlocal calls
        calls += 1
        return torch.zeros_like(x)

    denoise.schedule, denoise.prediction = task.denoiser.schedule, task.denoiser.prediction
    sampler(denoise, torch.zeros(1, 1, 1))
    return calls


def _sounds(task: nn.Module, sampler: Sampler | None, n: int, seed: int) -> Tensor:
    """Samples ``[n, time]``, equally many per class."""
    if sampler is None:
        frames = task.network.frames(task.crop_length)
        generator = torch.Generator().manual_seed(seed)
        latent = torch.randn(n, task.network.latent_channels, frames, generator=generator)
        return torch.cat([task.decode(part, task.crop_length) for part in latent.split(BATCH)])
    parts = []
    for label in range(task.labels):
        first, last = n * label // task.labels, n * (label + 1) // task.labels
        for begin in range(first, last, BATCH):
            n_here = min(BATCH, last - begin)
            sounds = task.generate(n_here, label=label, sampler=sampler, seed=seed, first=begin)
            parts += [sounds[:, 0]]
    return torch.cat(parts)


def _made_with(args: argparse.Namespace, task: nn.Module) -> dict:
    return {"samples": args.samples, "seed": args.seed, "step": task.extra["step"]}


def _size(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _read(args: argparse.Namespace, run: Run) -> dict | None:
    """Results of the current model with these arguments, or None."""
    folder = args.out / run.name
    try:
        found = json.loads((folder / "frechet.json").read_text())
    except (OSError, ValueError):
        return None
    if (folder / "frechet.json").stat().st_mtime < (folder / "model.safetensors").stat().st_mtime:
        return None
    made = found["made_with"]
    return found if (made["samples"], made["seed"]) == (args.samples, args.seed) else None


def _held_out(args: argparse.Namespace) -> Notes:
    """How other held-out notes compare with those that models are compared with."""
    held_out, rate = _notes(args, "test")
    others, _ = _notes(args, "validation")
    some, real = others[spread(len(others), args)], held_out[spread(len(held_out), args)]
    distance = frechet(log_mel_statistics(held_out, rate), log_mel_statistics(some, rate))
    best = density_and_coverage(log_spectrum(real), log_spectrum(some))
    return Notes((len(held_out), len(others)), distance, *best)


def _changed(args: argparse.Namespace) -> dict[str, object]:
    """Options other than paths that differ from their defaults."""
    defaults = _parse([])
    names = ("samples", "seed", "seeds", "shares", "jobs")
    changed = {n: getattr(args, n) for n in names if getattr(args, n) != getattr(defaults, n)}
    if "shares" in changed:
        changed["shares"] = " ".join(f"{share:g}" for share in args.shares)
    if args.methods != defaults.methods:
        changed["methods"] = ",".join(args.methods)
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
        "--seeds", type=positive_int, default=5, help=f"trainings of {' and '.join(STUDIED)} each"
    )
    parser.add_argument(
        "--shares", type=_share, nargs="*", default=[0.05, 0.2], metavar="SHARE",
        help=f"of the notes, on which {' and '.join(STUDIED)} are trained as well",
    )  # fmt: skip
    parser.add_argument("--jobs", type=positive_int, default=2, help="processes of one core")
    parser.add_argument("--measure", type=Run.parse, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    args.out, args.data = args.out.expanduser(), args.data.expanduser()
    args.runs = runs(args.methods, args.seeds, args.shares)
    return args


if __name__ == "__main__":
    sys.exit(run(main))
