"""Trains every recipe for a few steps on synthetic data, with the command of a user.

The methods of the comparison count as recipes. Networks and crops are small; everything else is as
in the recipe.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from wavediff.cli import run
from wavediff.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))
from make_smoke_data import LAYOUTS  # noqa: E402

CONF = ROOT / "conf"
METHODS = ROOT / "recipes" / "comparison" / "methods.yaml"
STEPS = 3
DRAWN = "drawn"  # data that are drawn while training
SPLIT = "data.split={every: 4, test: 0, validation: 1}"  # of sound
OVERRIDES = [
    "data.workers=0",
    f"trainer.max_steps={STEPS}",
    "trainer.batch_size=2",
    "trainer.device=cpu",
    "trainer.precision=fp32",
    "trainer.compile=false",
    "trainer.log_every=1",
    "trainer.checkpoint_every=2",
    f"trainer.validate_every={STEPS}",
    "trainer.validate_files=1",
    "trainer.validate_seconds=0.6",
    "trainer.validate_media=1",
    "trainer.progress=false",
]
# applied wherever a configuration has the key
SMALL = {
    "width": 8,
    "layers": 2,
    "dilation_cycle": 2,
    "widths": [8, 8],
    "strides": [2],
    "dilations": [1, 1],
    "crop_frames": 32,
    "crop_seconds": 0.4,
}


def recipes() -> dict[str, list[str]]:
    """Arguments of `wavediff train` for every recipe and every method of the comparison."""
    found = {path.stem: [f"recipe={path.stem}"] for path in (CONF / "recipe").glob("*.yaml")}
    methods = OmegaConf.to_container(OmegaConf.load(METHODS))
    found |= {f"comparison_{name}": words for name, words in methods.items()}
    return {name: [*found[name], f"name={name}"] for name in sorted(found)}


def dataset_of(config: DictConfig) -> str:
    """Name of the function that reads the recipe's data: folder, ...; `drawn` for none."""
    return config["data"].get("_target_", DRAWN).rpartition(".")[2]


def reduced(config: DictConfig, noise: Path, root: Path) -> list[str]:
    """Overrides for a small task and network, and for the paths of the data and of noise to mix."""
    found = [f"data.{key}={root}" for key in ("root", "path") if key in list(config.data)]
    for group in ("task", "network"):
        nodes = [(group, config[group])]
        while nodes:
            place, node = nodes.pop()
            found += [f"{place}.{key}={SMALL[key]}" for key in node if key in SMALL]
            below = {key: node[key] for key in node if isinstance(node[key], DictConfig)}
            nodes += [(f"{place}.{key}", child) for key, child in below.items()]
    if "split" in config.data:
        found.append(SPLIT)
    if config.data.get("mix") is not None:
        found += [f"data.mix.noise={noise}", "data.mix.rooms=null"]
    if dataset_of(config) == "notes":
        found.append("data.count=40")
    if config.init_from is not None and config.init_from != config.teacher:
        found.append("init_from=null")
    return found


def needed(config: DictConfig) -> dict[str, str]:
    """Recipes whose runs this one needs, by the key that names the run."""
    runs = {key: OmegaConf.select(config, key) for key in ("teacher", "representation.autoencoder")}
    return {key: Path(run).name for key, run in runs.items() if isinstance(run, str)}


def train_all(
    recipe: str,
    configs: Mapping[str, DictConfig],
    roots: Mapping[str, Path],
    noise: Path,
    runs: Path,
) -> tuple[str, float]:
    """Train a recipe after those that it needs; see `train`."""
    config = configs[recipe]
    overrides, wrong, total = reduced(config, noise, roots[dataset_of(config)]), "", 0.0
    for key, other in needed(config).items():
        run_dir = runs / f"{recipe}-{other}"
        root = roots[dataset_of(configs[other])]
        wrong, seconds = train(other, reduced(configs[other], noise, root), run_dir)
        total += seconds
        if wrong:
            return f"{other}, which it needs: {wrong}", total
        overrides.append(f"{key}={run_dir}")
    wrong, seconds = train(recipe, overrides, runs / recipe)
    return wrong, total + seconds


def train(recipe: str, overrides: list[str], run_dir: Path) -> tuple[str, float]:
    """Train a recipe and return (error or an empty string, seconds)."""
    command = [sys.executable, "-m", "wavediff.train", *recipes()[recipe], *OVERRIDES, *overrides]
    command.append(f"run_dir={run_dir}")
    start = time.monotonic()
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    wrong = ""
    if done.returncode:
        wrong = f"exit code {done.returncode}\n{done.stdout}"
    elif not (run_dir / "model.safetensors").is_file():
        wrong = f"no model.safetensors was written\n{done.stdout}"
    return wrong, time.monotonic() - start


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", help="names of recipes (default: all)")
    parser.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1))
    options = parser.parse_args(argv)
    unknown = set(options.recipes) - set(recipes())
    if unknown:
        raise UserError(
            f"unknown recipe {', '.join(sorted(unknown))}: choose from {', '.join(recipes())}"
        )
    names = options.recipes or list(recipes())
    with initialize_config_dir(str(CONF), version_base=None):
        configs = {name: compose("train", recipes()[name]) for name in names}
        for other in {other for name in names for other in needed(configs[name]).values()}:
            configs[other] = compose("train", recipes()[other])
    datasets = {name: dataset_of(config) for name, config in configs.items()}

    failed = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        roots = {name: Path(folder, "data", name) for name in set(datasets.values())}
        roots = {name: LAYOUTS.get(name, Path)(root) for name, root in roots.items()}
        noise = LAYOUTS["folder"](Path(folder, "data", "noise"))
        runs = Path(folder, "runs")
        work = partial(train_all, configs=configs, roots=roots, noise=noise, runs=runs)
        results = pool.map(work, names)
        for name, (wrong, seconds) in zip(names, results, strict=True):
            print(f"{name:22} {datasets[name]:16} {seconds:5.1f} s  {wrong or 'ok'}", flush=True)
            if wrong:
                failed.append(name)
    if failed:
        raise UserError(f"{len(failed)} of {len(names)} recipes failed: {', '.join(failed)}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
