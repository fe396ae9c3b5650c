"""A small causal enhancer with blocks of 16 ms, for commands; also one that has learnt a bit."""

from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from wavediff.diffusion.noise import ItemNoise
from wavediff.files import conf_folder
from wavediff.tasks.build import build_task
from wavediff.tasks.checkpoint import save_task
from wavediff.tasks.enhancer import Enhancer

RATE, HOP = 4000, 64


def group(name: str, choice: str) -> dict:
    with initialize_config_dir(str(conf_folder()), version_base=None):
        return OmegaConf.to_container(compose(overrides=[f"+{name}={choice}"])[name])


def tiny() -> Enhancer:
    """Of random weights."""
    torch.manual_seed(0)
    network = group("network", "frequency_unet_causal") | {"widths": [4, 6]}
    network["network"] |= {"width": 8, "layers": 3, "dilation_cycle": 3}
    stft = group("representation", "asymmetric_stft") | {"n_fft": 4 * HOP, "hop_length": HOP}
    times = {"crop_seconds": 0.512, "level_ahead": None, "level_past": 0.5}
    enhancer = build_task(
        {
            "task": group("task", "enhancer") | times | {"sample_rate": RATE},
            "representation": stft,
            "network": network,
            "schedule": group("schedule", "bridge"),
            "prediction": "x0",
            "objective": group("objective", "denoising"),
            "sampler": group("sampler", "bridge"),
        }
    )
    for parameter in enhancer.network.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return enhancer.eval()


def voice(length: int, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Harmonics that come and go."""
    rng = np.random.default_rng(seed)
    time = np.arange(length) / rate
    pitch = 150 + 40 * np.sin(2 * np.pi * 0.7 * time + rng.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    sound = sum(np.sin(k * phase) / k for k in range(1, 8))
    return 0.1 * sound * np.clip(2 * np.sin(2 * np.pi * 2 * time + rng.uniform(0, 6)), 0, 1)


def fitted(steps: int) -> Enhancer:
    """That takes white noise out of ``voice``."""
    torch.manual_seed(0)
    enhancer = tiny()
    enhancer = build_task(enhancer.config)
    optimizer = torch.optim.Adam(enhancer.network.parameters(), lr=1e-2)
    length = enhancer.crop_length
    for step in range(steps):
        clean = np.stack([voice(length, seed=8 * step + k) for k in range(8)])[:, None]
        clean = torch.from_numpy(clean).float()
        noisy = clean + 0.1 * torch.randn_like(clean)
        losses = enhancer.loss({"audio": clean, "noisy": noisy}, ItemNoise(step, range(8)))
        optimizer.zero_grad()
        losses["loss"].mean().backward()
        optimizer.step()
    return enhancer.eval()


def save(enhancer: Enhancer, folder: Path) -> Path:
    save_task(folder / "model.safetensors", enhancer.config, enhancer.network.state_dict(), {})
    return folder
