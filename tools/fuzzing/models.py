"""Checkpoints and runs that are damaged."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from numpy.random import Generator
from safetensors.torch import save

from fuzzing.damage import as_json, damage_file, mutated
from fuzzing.material import FAST, MODELS, STEPS, Case, Material, output_of
from wavediff.tasks.checkpoint import FORMAT, read_checkpoint


def use(rng: Generator, name: str, material: Material, folder: Path, model: str) -> list[str]:
    """A command that reads a model of that kind."""
    shutil.copy(material.folder / "sound.wav", folder)
    commands = {
        "vocoder": [
            ["vocode", "sound.wav", "-o", "out.wav"],
            ["vocode", "mel.npy", "-o", "out.wav"],
        ],
        "enhancer": [["enhance", "sound.wav", "-o", "out.wav"]],
        "generator": [
            ["generate", "-o", "out", "--n", "1", "--seconds", "0.3"],
            ["likelihood", "sound.wav", "--probes", "1"],
            ["inpaint", "sound.wav", "-o", "out.wav", "--gap", "0.1:0.15"],
            ["declip", "sound.wav", "-o", "out.wav", "--threshold", "0.1"],
            ["extend", "sound.wav", "-o", "out.wav", "--cutoff", "3000"],
        ],
        "autoencoder": [["encode", "sound.wav", "-o", "out.npz"]],
        "series": [
            ["forecast", "table.csv", "-o", "out.csv", "--samples", "4"],
            ["impute", "table.csv", "-o", "out.csv", "--samples", "4"],
            ["synthesize", "-o", "out.csv", "--n", "2"],
        ],
        "forecaster": [
            ["forecast", "table.csv", "-o", "out.csv", "--samples", "4", "--horizon", "6"]
        ],
    }[name]
    words = list(commands[rng.integers(len(commands))])
    for word in words:
        if (material.folder / word).is_file():
            shutil.copy(material.folder / word, folder)
    if rng.random() < 0.15 and name not in ("autoencoder",):
        return ["info", model]
    words += ["--checkpoint", model]
    return words + (STEPS[2:] if words[0] == "encode" else STEPS)


def checkpoint_case(rng: Generator, folder: Path, material: Material) -> Case:
    """A model with damaged bytes, configuration, metadata or weights."""
    name = list(MODELS)[rng.integers(len(MODELS))]
    source = material.run(name) / "model.safetensors"
    target = folder / "model.safetensors"
    how = rng.choice(["bytes", "config", "config", "config", "extra", "weights", "metadata"])
    if how == "bytes":
        shutil.copy(source, target)
        damage = damage_file(rng, target)
    else:
        config, extra, state = read_checkpoint(source)
        metadata = {"format": FORMAT, "config": as_json(config), "extra": as_json(extra)}
        if how == "config":
            config, damage = mutated(rng, config)
            metadata["config"] = as_json(config)
        elif how == "extra":
            extra, damage = mutated(rng, extra)
            metadata["extra"] = as_json(extra)
        elif how == "metadata":
            key = str(rng.choice(list(metadata)))
            damage = f"{key} replaced"
            metadata[key] = str(
                rng.choice(["", "{", "[]", "null", "[" * 50_000, '{"a":' * 3000, "1e999"])
            )
        else:
            state, damage = _wrong_weights(rng, state)
        target.write_bytes(save(state, metadata))
    words = use(rng, name, material, folder, "model.safetensors")
    return Case(words, f"{name}, {how}: {damage}", output_of(words))


def _wrong_weights(
    rng: Generator, state: Mapping[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], str]:
    state = dict(state)
    key = list(state)[rng.integers(len(state))]
    value = state[key]
    how = str(rng.choice(["huge", "nan", "missing", "more", "shape", "kind", "all huge"]))
    if how == "huge":
        state[key] = torch.full_like(value, 1e38) if value.is_floating_point() else value + 2**30
    elif how == "nan":
        state[key] = value * float("nan") if value.is_floating_point() else value - 2**40
    elif how == "missing":
        del state[key]
    elif how == "more":
        state["more.weight"] = torch.zeros(3)
    elif how == "shape":
        state[key] = value.flatten()[: max(0, value.numel() - 1)].clone()
    elif how == "kind":
        kinds = [torch.int64, torch.bool, torch.float64, torch.uint8, torch.bfloat16]
        state[key] = value.to(kinds[rng.integers(len(kinds))])
    else:
        state = {k: v * 1e30 if v.is_floating_point() else v for k, v in state.items()}
    return state, how


def run_case(rng: Generator, folder: Path, material: Material) -> Case:
    """A run that was damaged, to be resumed."""
    name = ["vocoder", "generator", "series"][rng.integers(3)]
    shutil.copytree(material.run(name), folder / "run")
    shutil.copy(material.folder / "table.csv", folder)
    inside = sorted(path for path in (folder / "run").rglob("*") if path.is_file())
    path = inside[rng.integers(len(inside))]
    damage = damage_file(rng, path)
    words = ["train", *MODELS[name], *FAST, "trainer.max_steps=3", "run_dir=run"]
    return Case(words, f"{path.relative_to(folder)}: {damage}")
