"""The U-Net in every recipe by one override, and cut signals without a trace."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from wavediff.diffusion.noise import ItemNoise
from wavediff.files import conf_folder
from wavediff.tasks import piece_vocoder
from wavediff.tasks.build import build_task
from wavediff.tasks.enhancer import Enhancer
from wavediff.tasks.vocoder_stream import VocoderStream

SMALL = {"widths": [4, 8], "strides": [4], "blocks": 1, "heads": 2, "window": 2}
CROPS = {"crop_frames": 16, "crop_seconds": 0.3}
NETWORK = {"_target_": "wavediff.networks.unet.UNet", **SMALL}


def composed(recipe: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(conf_folder()), version_base=None):
        return compose("train", [f"recipe={recipe}", *overrides])


def denoising_recipes() -> list[str]:
    """Those of sound that train one denoiser and need no other model to begin with."""
    names = sorted(path.stem for path in (conf_folder() / "recipe").glob("*.yaml"))
    configs = {name: composed(name) for name in names}
    return [
        name
        for name, config in configs.items()
        if config.get("schedule") is not None
        and "Distillation" not in config.get("objective", {}).get("_target_", "")
        and "autoencoder" not in (config.get("representation") or {"autoencoder": None})
    ]


@pytest.mark.parametrize("recipe", denoising_recipes())
def test_every_recipe_takes_the_unet_by_one_override(recipe):
    config = composed(recipe, "network=unet")
    crops = [f"task.{key}={value}" for key, value in CROPS.items() if key in config.task]
    sizes = [f"network.{key}={value}" for key, value in SMALL.items()]
    config = composed(recipe, "network=unet", *crops, *sizes)
    groups = {name: config[name] for name in config if name not in ("hydra", "run_dir", "data")}
    torch.manual_seed(0)
    task = build_task(OmegaConf.to_container(OmegaConf.create(groups), resolve=True))
    audio = 0.1 * torch.randn(2, 1, task.crop_length)
    batch = {"audio": audio, "noisy": audio + 0.1 * torch.randn_like(audio)}
    batch["label"] = torch.tensor([0, 1])
    loss = task.loss(batch, ItemNoise(0, [0, 1]))["loss"]
    assert loss.shape == (2,)
    loss.mean().backward()
    assert task.network.output_projection.weight.grad.abs().sum() > 0


def with_random_weights(config):
    torch.manual_seed(0)
    task = build_task(config | {"network": NETWORK})
    for name, parameter in task.network.named_parameters():
        if name.startswith("output_projection") or name.endswith("attention.bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    return task.eval()


@pytest.mark.parametrize("space", ["waveform", "whitened"])
def test_pieces_of_a_vocoder_do_not_show(monkeypatch, make_config, make_mel, space):
    vocoder = with_random_weights(make_config(space))
    mel = make_mel(frames=400)
    expected = vocoder(mel, sampler="ddim", steps=2, seed=3)
    monkeypatch.setattr(piece_vocoder, "STATE_NUMBERS", 1)
    monkeypatch.setattr(piece_vocoder, "HALOS", 1)
    vocoder.chunk_seconds = 0.02
    sampler = vocoder.with_sampler("ddim", 2)
    stream = VocoderStream(vocoder, sampler=sampler, seed=3, checked=True)
    parts = [*map(stream.push, mel.split(50, dim=-1)), stream.finish()]
    assert sum(part.numel() > 0 for part in parts) > 1
    torch.testing.assert_close(torch.cat(parts, dim=-1), expected, atol=1e-5, rtol=0)
    assert expected.std() > 1e-4


def test_pieces_of_an_enhancer_do_not_show(make_config, read_group):
    config = make_config("stft") | {
        "task": read_group("task", "enhancer") | {"level_past": 0.1, "level_ahead": 0.05},
        "schedule": read_group("schedule", "bridge"),
        "prediction": "x0",
        "sampler": read_group("sampler", "one_step"),
    }
    enhancer = with_random_weights(config)
    assert isinstance(enhancer, Enhancer)
    assert enhancer.hop_length == 4 * 16
    assert enhancer.crop_length % 16 == 0
    audio = 0.1 * torch.randn(1, 12_000, generator=torch.Generator().manual_seed(0))
    stream = enhancer.stream(4000, chunk_seconds=0.1)
    parts = [stream.push(part) for part in audio.split(333, dim=-1)]
    streamed = torch.cat([*parts, stream.finish()], dim=-1)
    assert stream.latency < 1
    torch.testing.assert_close(streamed, enhancer(audio, 4000), atol=1e-5, rtol=0)
