"""Sampling the trained models of tools/compare.py, and what their sounds are compared by."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import numpy as np
import torch
from compare_methods import BASE, METHODS, Run
from compare_modes import Notes, modes, spectrum
from compare_page import HeldOut
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from wavediff.data.build import build_source, build_split
from wavediff.data.notes import INSTRUMENTS, SEMITONES, semitone
from wavediff.data.utterances import Utterances
from wavediff.diffusion.sampler import Sampler
from wavediff.evaluation import metrics
from wavediff.evaluation.coverage import density_and_coverage
from wavediff.evaluation.frechet import frechet, log_mel_statistics
from wavediff.files import atomic_path, conf_folder
from wavediff.tasks.autoencoder import Autoencoder
from wavediff.tasks.checkpoint import load_task
from wavediff.tasks.sampler import sampler_by_name

BATCH = 100  # samples


def recipe(args: argparse.Namespace, vocoder: bool = False) -> Any:
    """The configuration that the methods share."""
    name = f"{BASE}_vocoder" if vocoder else BASE
    with initialize_config_dir(str(conf_folder().resolve()), version_base=None):
        return compose("train", [f"recipe={name}", f"data.root={args.data}", *args.overrides])


def held_out_part(args: argparse.Namespace, part: str, vocoder: bool = False) -> tuple[Any, Any]:
    """(a part of the split, the configuration of the data)."""
    config = recipe(args, vocoder)
    source, loader = build_source(config.data)
    rate = config.mel.sample_rate if vocoder else config.task.sample_rate
    return Utterances(build_split(source, loader)[part], rate, loader.normalize), config


def held_out_notes(args: argparse.Namespace, part: str) -> tuple[Notes, int]:
    """Notes of a part of the split with their instruments and pitches, and their rate."""
    data, config = held_out_part(args, part)
    pitches = [
        semitone(clip.path.stem, clip.start // clip.frames, config.data.seed) for clip in data.clips
    ]
    audio = torch.cat([data[i]["audio"] for i in range(len(data))])
    kinds = torch.tensor([clip.label for clip in data.clips])
    counts = len(INSTRUMENTS), SEMITONES + 1
    return Notes(audio, kinds, torch.tensor(pitches), counts), config.task.sample_rate


@torch.no_grad()
def measure(run: Run, args: argparse.Namespace, trained_by: list[str]) -> None:
    """Sample a trained run with each budget of network calls and write the results as JSON.

    Args:
        trained_by: the overrides of its training, by which it is known to be up to date.
    """
    torch.set_num_threads(1)
    task = load_task(args.out / run.name)
    rows_of = _vocoder_rows if METHODS[run.method].vocoder else _note_rows
    rows = [{"method": run.method, "run": run.name, **row} for row in rows_of(run, task, args)]
    made_with = {"samples": args.samples, "seed": args.seed, "trained_by": trained_by}
    facts = {"made_with": made_with, "parameters": _size(task.network)}
    facts |= {"training_seconds": task.extra["seconds"], "steps": task.extra["step"]}
    with atomic_path(args.out / run.name / "frechet.json") as path:
        path.write_text(json.dumps(facts | {"rows": rows}, indent=1) + "\n")


def _note_rows(run: Run, task: Any, args: argparse.Namespace) -> list[dict[str, Any]]:
    notes, rate = held_out_notes(args, "test")
    reference = log_mel_statistics(notes.audio, rate)
    spectra = spectrum(notes.audio[spread(len(notes.audio), args)])
    rows = []
    for label, sampler, calls in plan(run, task):
        began = time.perf_counter()
        sounds, asked = _sounds(task, sampler, args.samples, args.seed + run.seed)
        seconds = time.perf_counter() - began
        density, coverage = density_and_coverage(spectra, spectrum(sounds))
        kinds, pitches = modes(notes, sounds, asked)
        distance = frechet(reference, log_mel_statistics(sounds, rate))
        row = {"sampler": label, "calls": calls, "frechet": distance, "density": density}
        row |= {"coverage": coverage, "kinds": kinds, "pitches": pitches}
        row = {k: round(v, 4) if k not in ("sampler", "calls", "frechet") else v
               for k, v in row.items()}  # fmt: skip
        rows.append(row | {"sampling_seconds": round(seconds, 2)})
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def _vocoder_rows(run: Run, task: Any, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Copy synthesis of held-out utterances."""
    data, _ = held_out_part(args, "test", vocoder=True)
    names = {"mr_stft": metrics.mr_stft, "log_mel_error": metrics.log_mel_error}
    rows = []
    for label, sampler, calls in plan(run, task):
        task.sampler = sampler
        found, seconds = [], 0.0
        for i in range(len(data)):
            audio = data[i]["audio"][None]
            began = time.perf_counter()
            estimate = task.validate({"audio": audio}, args.seed + run.seed)
            seconds += time.perf_counter() - began
            pair = estimate[0, 0].numpy(), audio[0, 0].numpy()
            found.append([function(*pair, task.sample_rate) for function in names.values()])
        means = np.mean(found, axis=0).round(4).tolist()
        row = {"sampler": label, "calls": calls, **dict(zip(names, means, strict=True))}
        rows.append(row | {"sampling_seconds": round(seconds, 2)})
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def spread(n: int, args: argparse.Namespace) -> Tensor:
    """Indices of as many of ``n`` notes as sounds are sampled, of all instruments."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(args.seed))[: args.samples]


def plan(run: Run, task: nn.Module) -> list[tuple[str, Sampler | None, int]]:
    """(name of the sampler, sampler with its steps, network calls) for each budget.

    Other seeds and shares have the budget alone by which methods are compared.
    """
    method = METHODS[run.method]
    if isinstance(task, Autoencoder):
        return [("decoder", None, 1)]
    chosen = [task.sampler, *map(sampler_by_name, method.others)]
    samplers = {sampler.method.name: sampler for sampler in chosen}
    budgets = dict.fromkeys(samplers, method.calls)
    if run != Run(run.method):
        name, most = method.judged
        budgets = {name: (most,)}
    found = []
    for label, allowed in budgets.items():
        counts = set()
        for budget in allowed:
            for steps in range(budget, 0, -1):
                sampler = samplers[label].with_steps(steps)
                calls = count_calls(sampler, task)
                if calls <= budget:
                    if calls not in counts:
                        counts.add(calls)
                        found.append((label, sampler, calls))
                    break
    return found


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


def _sounds(task: Any, sampler: Sampler | None, n: int, seed: int) -> tuple[Tensor, Tensor | None]:
    """Samples ``[n, time]``, equally many per class, and their classes where they have some."""
    if sampler is None:
        frames = task.network.frames(task.crop_length)
        generator = torch.Generator().manual_seed(seed)
        latent = torch.randn(n, task.network.latent_channels, frames, generator=generator)
        parts = [task.decode(part, task.crop_length) for part in latent.split(BATCH)]
        return torch.cat(parts), None
    parts, asked = [], []
    for label in range(task.labels):
        first, last = n * label // task.labels, n * (label + 1) // task.labels
        asked += [label] * (last - first)
        for begin in range(first, last, BATCH):
            n_here = min(BATCH, last - begin)
            sounds = task.generate(n_here, label=label, sampler=sampler, seed=seed, first=begin)
            parts += [sounds[:, 0]]
    return torch.cat(parts), torch.tensor(asked)


def _size(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def held_out(args: argparse.Namespace) -> HeldOut:
    """How other held-out notes compare with those that models are compared with."""
    notes, rate = held_out_notes(args, "test")
    others, _ = held_out_notes(args, "validation")
    chosen = spread(len(others.audio), args)
    some, real = others.audio[chosen], notes.audio[spread(len(notes.audio), args)]
    distance = frechet(log_mel_statistics(notes.audio, rate), log_mel_statistics(some, rate))
    best = density_and_coverage(spectrum(real), spectrum(some))
    counts = len(notes.audio), len(others.audio)
    return HeldOut(counts, distance, *best, *modes(notes, some, others.kinds[chosen]))
