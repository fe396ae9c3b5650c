"""Odd overrides of trainings, and odd options of commands."""

from __future__ import annotations

import shutil
from pathlib import Path

from numpy.random import Generator

from fuzzing.damage import VALUES, as_json, places
from fuzzing.material import FAST, MODELS, Case, Material
from fuzzing.models import use
from wavediff.tasks.checkpoint import read_checkpoint

LARGE = 10_000
GROUPS = [
    "network", "schedule", "sampler", "objective", "data", "trainer", "mel", "representation",
    "optimizer", "task",
]  # fmt: skip
OPTIONS = [
    "--steps", "--seed", "--sampler", "--device", "--threads", "--checkpoint", "-o", "--n",
    "--seconds", "--gap", "--cutoff", "--horizon", "--samples", "--batch-size", "--guidance",
    "--label", "--bits", "--format", "--mel-iterations", "--items", "--overwrite", "--help",
    "--nothing", "--plot", "--report", "--strength",
]  # fmt: skip
ARGUMENTS = [
    "0", "-1", "1e9", "nan", "inf", "abc", "", "9" * 25, "x" * 3000, "\udcff", "/dev/full",
    "/proc/x/y", ".", "1e-30", "0.5", "2:1", "a:b", "sound.wav", "~nobody/x", "[", "*", "\n",
]  # fmt: skip


def overrides_case(rng: Generator, folder: Path, material: Material) -> Case:
    """A training with odd overrides."""
    name = ["vocoder", "enhancer", "generator", "series"][rng.integers(4)]
    shutil.copy(material.folder / "table.csv", folder)
    config, _, _ = read_checkpoint(material.run(name) / "model.safetensors")
    keys = [
        place[2][1:] for place in places({k: v for k, v in config.items() if k != "prediction"})
    ]
    keys = [key for key in keys if "_target_" not in key and "_partial_" not in key]
    keys += TRAINING
    words = []
    for _ in range(rng.integers(1, 4)):
        how = rng.choice(["value", "value", "value", "group", "delete", "odd"])
        key = keys[rng.integers(len(keys))]
        if how == "value":
            value = VALUES[rng.integers(len(VALUES))]
            text = (
                as_json(value)
                if isinstance(value, dict | list | bool) or value is None
                else str(value)
            )
            words.append(f"{key}={text.replace(chr(0), '')}")
        elif how == "group":
            choices = [
                "edm",
                "vp",
                "heun",
                "3",
                "null",
                "x",
                "[1]",
                "{a: 1}",
                "unet",
                "adamw",
                "csv",
                "folder",
            ]
            words.append(f"{rng.choice(GROUPS)}={rng.choice(choices)}")
        elif how == "delete":
            words.append(f"~{rng.choice([*GROUPS, key, 'seed', 'name'])}")
        else:
            words.append(str(rng.choice(ODD)))
    return Case(
        ["train", *MODELS[name], *FAST, "trainer.max_steps=1", "run_dir=run", *words],
        " ".join(words)[:200],
    )


TRAINING = [
    "seed", "name", "init_from", "teacher", "trainer.device", "trainer.threads",
    "trainer.precision", "trainer.ema_decay", "trainer.warmup_steps", "trainer.decay",
    "trainer.clip_norm", "trainer.log_every", "trainer.checkpoint_every", "trainer.keep_last",
    "trainer.best", "trainer.measures", "trainer.validate_every", "trainer.validate_files",
    "trainer.log_snr_bins", "trainer.max_minutes", "trainer.accumulate", "optimizer.lr",
    "optimizer.betas", "optimizer.weight_decay", "optimizer._target_", "network._target_",
    "data.workers", "data.root", "data.path", "data.split", "data.horizon", "data.context",
    "prediction", "adversarial", "run_dir",
]  # fmt: skip
ODD = [
    "trainer.max_steps=abc", "trainer.max_steps=-1", "trainer.batch_size=0", "=", "a", "=1", "a=",
    "a==1", "+a=1", "++a=1", "+trainer.x=1", "recipe=nothing", "recipe=", "recipe=[a,b]",
    "data.root=~nobody/x", "trainer.device=xpu:99", "trainer.device=cuda:99", "trainer.device=tpu",
    "seed=99999999999999999999", "hydra.run.dir=/proc/x", "hydra/launcher=x",
    "run_dir=/proc/self/x", "run_dir=''", "run_dir=table.csv", "${oops}", "name=${oops}",
    "name=${oc.env:NOTHING}", "'name=\"'", "name={a", "x" * 5000, "name=../../x",
    "optimizer.lr=abc", "optimizer.lr=1e400", "-h", "--cfg", "--resolve", "--multirun",
    "--nothing", "--config-dir=/nowhere", "--config-name=x", "--info", "--package=x", "seed=1,2",
    "seed=range(1,3)", "seed=\ud800",
]  # fmt: skip


def arguments_case(rng: Generator, folder: Path, material: Material) -> Case:
    """A command with odd options."""
    name = list(MODELS)[rng.integers(len(MODELS))]
    words = use(rng, name, material, folder, str(material.run(name)))
    for _ in range(rng.integers(1, 4)):
        option = OPTIONS[rng.integers(len(OPTIONS))]
        if option in words and rng.random() < 0.7:
            words[words.index(option) + 1] = ARGUMENTS[rng.integers(len(ARGUMENTS))]
        else:
            words += [option, ARGUMENTS[rng.integers(len(ARGUMENTS))]]
    words = [word.replace("\0", "") for word in words]
    return Case(words, " ".join(words)[:200])
