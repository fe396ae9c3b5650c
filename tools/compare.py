"""Compares every kind of model on the same notes, by quality against network calls.

All have the same network and training budget. Each is sampled with several budgets of network
calls, and the samples are compared with held-out notes by the Frechet distance of their log-mel
statistics. Writes RESULTS.md, a figure and a CSV. After an interruption, the same command resumes
without repeating finished work.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import torch
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
from wavediff.evaluation.frechet import frechet, log_mel_statistics
from wavediff.files import atomic_path, conf_folder
from wavediff.tasks.autoencoder import Autoencoder
from wavediff.tasks.checkpoint import load_task
from wavediff.tasks.sampler import sampler_by_name

matplotlib.use("Agg")
from matplotlib import pyplot as plt

BASE = "comparison"
LIST = Path(__file__).resolve().parents[1] / "recipes" / "comparison" / "methods.yaml"
FEW, MANY = (1, 2, 4, 8, 18, 35), (1, 2, 4, 8, 18, 35, 100)
BATCH = 100  # samples


@dataclass(frozen=True)
class Method:
    """A method of `LIST`; `needs` are overrides whose values are the runs of other methods."""

    label: str
    calls: tuple[int, ...] = FEW
    others: tuple[str, ...] = ()  # samplers besides the recipe's
    needs: tuple[tuple[str, str], ...] = ()


METHODS = {
    "ddpm": Method("DDPM", MANY, ("ddim",)),
    "ncsn": Method("NCSN", MANY),
    "vp": Method("score SDE, VP", MANY, ("euler_maruyama",)),
    "subvp": Method("score SDE, sub-VP", MANY, ("euler_maruyama",)),
    "ve": Method("score SDE, VE", MANY, ("euler_maruyama",)),
    "edm": Method("EDM"),
    "flow": Method("rectified flow", others=("ddim",)),
    "consistency": Method("consistency, distilled", (1, 2, 4, 8), (), (("teacher", "edm"),)),
    "vae": Method("VAE, no diffusion", (1,)),
    "gan": Method("GAN, no diffusion", (1,)),
    "latent": Method("latent EDM", FEW, (), (("representation.autoencoder", "vae"),)),
}


def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    if args.measure:
        measure(args.measure, args)
        return 0
    began = time.monotonic()
    with interruptible():
        _train_and_measure(args)
    found = {name: _read(args, name) for name in METHODS if name in args.methods}
    write_results(args, found, time.monotonic() - began)
    print(args.results / "RESULTS.md")
    return 0


def _train_and_measure(args: argparse.Namespace) -> None:
    """Train and measure each method after those that it needs, `args.jobs` in parallel."""
    build_source(_config(args).data)  # write the notes once, before the processes start
    running = Processes()
    needed = {run for method in METHODS.values() for _, run in method.needs}
    waiting = sorted(args.methods, key=lambda name: name not in needed)  # others depend on these
    done, futures = set(), {}
    with ThreadPoolExecutor(args.jobs) as pool:
        try:
            while waiting or futures:
                for name in list(waiting):
                    if {run for _, run in METHODS[name].needs} <= done:
                        waiting.remove(name)
                        futures[pool.submit(_one, name, args, running)] = name
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


def _one(name: str, args: argparse.Namespace, running: Processes) -> None:
    folder, began = args.out / name, time.monotonic()
    logs = args.out / "logs"
    command = [sys.executable, "-m", "wavediff.train", *_overrides(name, args)]
    running.call([*command, f"run_dir={folder}", "trainer.progress=false"], logs / f"{name}.log")
    trained = time.monotonic() - began
    if _read(args, name) is None:
        again = [sys.executable, __file__, "--measure", name, *_arguments(args)]
        running.call(again, logs / f"{name}-measure.log")
    total = time.monotonic() - began
    print(
        f"{name}: {trained:.0f} s of training, {total:.0f} s in total", file=sys.stderr, flush=True
    )


def _overrides(name: str, args: argparse.Namespace) -> list[str]:
    words = [f"name={BASE}_{name}", *OmegaConf.to_container(OmegaConf.load(LIST))[name]]
    words += [f"data.root={args.data}", f"seed={args.seed}"]
    words += [f"{key}={args.out / other}" for key, other in METHODS[name].needs]
    return words + args.overrides


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
def measure(name: str, args: argparse.Namespace) -> None:
    """Sample a trained method with each budget of network calls and write the results as JSON."""
    torch.set_num_threads(1)
    audio, rate = _notes(args, "test")
    reference = log_mel_statistics(audio, rate)
    task = load_task(args.out / name)
    rows = []
    for label, sampler, calls in _plan(name, task):
        began = time.perf_counter()
        sounds = _sounds(task, sampler, args.samples, args.seed)
        seconds = time.perf_counter() - began
        rows.append(
            {
                "method": name,
                "sampler": label,
                "calls": calls,
                "frechet": frechet(reference, log_mel_statistics(sounds, rate)),
                "sampling_seconds": round(seconds, 2),
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
    facts = {"made_with": _made_with(args, task), "parameters": _size(task.network)}
    facts |= {"training_seconds": task.extra["seconds"], "steps": task.extra["step"]}
    with atomic_path(args.out / name / "frechet.json") as path:
        path.write_text(json.dumps(facts | {"rows": rows}, indent=1) + "\n")


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


def _read(args: argparse.Namespace, name: str) -> dict | None:
    """Results of the current model with these arguments, or None."""
    folder = args.out / name
    try:
        found = json.loads((folder / "frechet.json").read_text())
    except (OSError, ValueError):
        return None
    if (folder / "frechet.json").stat().st_mtime < (folder / "model.safetensors").stat().st_mtime:
        return None
    made = found["made_with"]
    return found if (made["samples"], made["seed"]) == (args.samples, args.seed) else None


def write_results(args: argparse.Namespace, found: dict[str, dict], seconds: float) -> None:
    """Write RESULTS.md, comparison.png and comparison.csv to `args.results`."""
    held_out, rate = _notes(args, "test")
    others, _ = _notes(args, "validation")
    spread = others[torch.randperm(len(others), generator=torch.Generator().manual_seed(args.seed))]
    floor = frechet(
        log_mel_statistics(held_out, rate), log_mel_statistics(spread[: args.samples], rate)
    )
    rows = [row for facts in found.values() for row in facts["rows"]]
    args.results.mkdir(parents=True, exist_ok=True)
    with (
        atomic_path(args.results / "comparison.csv") as path,
        open(path, "w", newline="") as file,
    ):
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with atomic_path(args.results / "comparison.png") as path:
        _draw(path, rows, floor)
    with atomic_path(args.results / "RESULTS.md") as path:
        path.write_text(_page(args, found, rows, floor, (len(held_out), len(others)), seconds))


def _lines(rows: list[dict]) -> dict[tuple[str, str], dict[int, float]]:
    """Distances by network calls, for each method and sampler."""
    lines: dict[tuple[str, str], dict[int, float]] = {}
    for row in rows:
        lines.setdefault((row["method"], row["sampler"]), {})[row["calls"]] = row["frechet"]
    return lines


def _draw(path: Path, rows: list[dict], floor: float) -> None:
    figure, axis = plt.subplots(figsize=(9, 6), layout="constrained")
    colours = dict(zip(METHODS, plt.get_cmap("tab20").colors, strict=False))
    own = {}
    for (method, sampler), points in _lines(rows).items():
        style = "-" if own.setdefault(method, sampler) == sampler else "--"
        axis.plot(
            list(points), list(points.values()), style, marker="o", markersize=4,
            color=colours[method], label=f"{METHODS[method].label} ({sampler})",
        )  # fmt: skip
    axis.axhline(floor, color="black", linewidth=0.8, linestyle=":", label="other held-out notes")
    axis.set(xscale="log", yscale="log", xlabel="network calls", ylabel="Frechet distance")
    top = 3 * max(min(points.values()) for points in _lines(rows).values())
    axis.set_ylim(floor / 2, max(top, 10 * floor))
    ticks = sorted({row["calls"] for row in rows})
    axis.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
    axis.minorticks_off()
    axis.legend(fontsize=8)
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _page(
    args: argparse.Namespace, found: dict[str, dict], rows: list[dict], floor: float,
    counts: tuple[int, int], seconds: float,
) -> str:  # fmt: skip
    budgets = [b for b in MANY if any(row["calls"] <= b for row in rows)]
    header = ["method", "sampler", *map(str, budgets), "training"]
    table = [header, ["---", "---", *["---:"] * (len(budgets) + 1)]]
    for (method, sampler), points in _lines(rows).items():
        cells, left = [], dict(points)
        for budget in budgets:
            within = [calls for calls in left if calls <= budget]
            cells.append(_number(left[max(within)]) if within else "")
            left = {calls: value for calls, value in left.items() if calls > budget}
        trained = f"{found[method]['training_seconds']} s"
        table.append([METHODS[method].label, sampler, *cells, trained])
    sizes = sorted({facts["parameters"] for name, facts in found.items() if name != "vae"})
    steps = sorted({facts["steps"] for facts in found.values()})
    words = " ".join([f"--{k} {v}" for k, v in _changed(args).items()] + args.overrides)
    lines = [
        "# comparison: results",
        "",
        "Frechet distance of log-mel statistics to held-out notes (lower is better), by the "
        "maximum number of network calls per sound.",
        "",
        *("| " + " | ".join(row) + " |" for row in table),
        "",
        f"The distance of {min(args.samples, counts[1])} other held-out notes is {floor:.3g}: the "
        "best value that a model can be expected to reach.",
        "",
        *_distilled(rows),
        "![Frechet distance against network calls](comparison.png)",
        "",
        f"Each row: {args.samples} sounds, equally many per instrument, compared with {counts[0]} "
        f"notes that were not used for training; {' or '.join(f'{s:,}' for s in steps)} training "
        f"steps; denoisers of {' or '.join(f'{s / 1e6:.2f}' for s in sizes)} M parameters, EMA "
        "weights. The consistency model is initialised from its teacher, EDM. The exact numbers "
        "of calls are in [comparison.csv](comparison.csv).",
        "",
        f"Command: `python tools/compare.py{' ' + words if words else ''}` (seed {args.seed}), "
        f"{seconds / 60:.0f} minutes on {machine(args.jobs)}.",
        "",
    ]
    return "\n".join(lines)


def _distilled(rows: list[dict]) -> list[str]:
    """Comparison of the distilled model with its teacher, if both are there."""
    lines = _lines(rows)
    student, teacher = lines.get(("consistency", "Renoise")), lines.get(("edm", "Heun"))
    if not student or not teacher or not {1, 2} <= student.keys():
        return []
    best = teacher[max(teacher)]
    return [
        f"With one call, the distilled consistency model has {student[1] / best:.2f} times the "
        f"distance of its teacher ({max(teacher)} calls), and with two calls "
        f"{student[2] / best:.2f} times.",
        "",
    ]


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1e4 else f"{value:.0e}"


def _changed(args: argparse.Namespace) -> dict[str, object]:
    """Options other than paths that differ from their defaults."""
    defaults = _parse([])
    names = ("samples", "seed", "jobs")
    changed = {n: getattr(args, n) for n in names if getattr(args, n) != getattr(defaults, n)}
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
    parser.add_argument("--jobs", type=positive_int, default=2, help="processes of one core")
    parser.add_argument("--measure", choices=list(METHODS), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    args.out, args.data = args.out.expanduser(), args.data.expanduser()
    return args


if __name__ == "__main__":
    sys.exit(run(main))
