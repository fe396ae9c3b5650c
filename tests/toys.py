"""Models of toy size."""

from __future__ import annotations

import copy
from typing import Any

import torch
from omegaconf import OmegaConf

from wavediff.files import conf_folder
from wavediff.tasks.build import build_task
from wavediff.tasks.vocoder import Vocoder

# representation: (its parameters, upsampling of the mel)
SPACES = {
    "waveform": {"_target_": "wavediff.representations.waveform.Waveform"},
    "pqmf": {"_target_": "wavediff.representations.pqmf.PQMF", "bands": 4, "overlap": 2},
    "stft": {
        "_target_": "wavediff.representations.stft.STFT",
        "n_fft": 64,
        "hop_length": 16,
        "compression": 0.5,
    },
    "whitened": {
        "_target_": "wavediff.representations.whitened.WhitenedSTFT",
        "n_fft": 64,
        "hop_length": 16,
    },
}


def read_group(name: str, choice: str) -> dict[str, Any]:
    """``conf/<name>/<choice>.yaml`` alone."""
    return OmegaConf.to_container(OmegaConf.load(conf_folder() / name / f"{choice}.yaml"))


def tiny_config(space: str = "whitened", **changes: Any) -> dict[str, Any]:
    """A resolved configuration of toy size; ``group={"key": value}`` changes a group,
    ``group="name"`` takes another."""
    group = read_group
    config = {
        "task": {"_target_": "wavediff.tasks.vocoder.Vocoder", "crop_frames": 8},
        "mel": group("mel", "tacotron")
        | {"sample_rate": 4000, "n_fft": 64, "win_length": 64, "hop_length": 16, "n_mels": 6}
        | {"f_max": 2000.0, "name": "toy"},
        "representation": copy.deepcopy(SPACES[space]),
        "network": group("network", "diffwave") | {"width": 8, "layers": 2, "dilation_cycle": 2},
        "schedule": group("schedule", "vp") | {"beta_max": 8.0},
        "prediction": "v",
        "objective": group("objective", "denoising"),
        "sampler": group("sampler", "ddim"),
    }
    for name, change in changes.items():
        config[name] = change if isinstance(change, str) else config[name] | change
    return config


def tiny_vocoder(space: str = "whitened", **changes: Any) -> Vocoder:
    """With random weights, also where training begins with zeros."""
    torch.manual_seed(0)
    vocoder = build_task(tiny_config(space, **changes))
    torch.nn.init.normal_(vocoder.network.output_projection.weight, std=0.3)
    return vocoder.eval()


def tiny_mel(frames: int = 40, seed: int = 0, batch: int = 1) -> torch.Tensor:
    """``[batch, 6, frames]`` with values such as the toy front-end gives."""
    generator = torch.Generator().manual_seed(seed)
    return 0.7 * torch.randn(batch, 6, frames, generator=generator) - 5


def tiny_live_config() -> dict[str, Any]:
    """A causal enhancer at 4 kHz with a hop of 16 samples."""
    network = read_group("network", "frequency_unet_causal") | {"widths": [4, 6]}
    network["network"] = network["network"] | {"width": 8, "layers": 3, "dilation_cycle": 3}
    task = {"crop_seconds": 0.2, "level_ahead": None, "level_past": 0.2, "sample_rate": 4000}
    return {
        "task": read_group("task", "enhancer") | task,
        "representation": {
            "_target_": "wavediff.representations.asymmetric_stft.AsymmetricSTFT",
            "n_fft": 64,
            "hop_length": 16,
            "compression": 0.5,
        },
        "network": network,
        "schedule": read_group("schedule", "bridge"),
        "prediction": "x0",
        "objective": read_group("objective", "denoising"),
        "sampler": read_group("sampler", "bridge"),
    }


def with_random_weights(config: dict[str, Any]) -> Any:
    """The model, none of whose weights are zero."""
    torch.manual_seed(0)
    task = build_task(config)
    for parameter in task.network.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return task.eval()
