"""A generator of toy size, for what restores recordings."""

import torch
from omegaconf import OmegaConf

from wavediff.files import conf_folder
from wavediff.tasks.build import build_task
from wavediff.tasks.checkpoint import save_task

RATE = 8000


def save(place, representation="speech_bands", **network):
    """A generator of toy size that is untrained: the Wiener filter of each place."""

    def group(name, choice):
        return OmegaConf.to_container(OmegaConf.load(conf_folder() / name / f"{choice}.yaml"))

    bands = {"_target_": "wavediff.representations.pqmf.PQMF", "bands": 64, "overlap": 1}
    wiener = {"groups": 4, "frames": 5} if representation == "speech_bands" else None
    small = {"width": 8, "layers": 2, "dilation_cycle": 2, "local_channels": 4, "upsample": 1}
    if representation == "speech_bands":
        space = group("representation", "speech_bands") | {"representation": bands}
        space |= {"sample_rate": RATE}
    else:
        space = {"_target_": "wavediff.representations.stft.STFT", "compression": 0.5}
        small |= {"local_channels": 0}
    task = group("task", "generator") | {"sample_rate": RATE, "scale": 2.1, "crop_seconds": 0.25}
    torch.manual_seed(0)
    built = build_task(
        {
            "task": task | {"wiener": wiener},
            "representation": space,
            "network": group("network", "diffwave") | {"rectify_input": False} | small | network,
            "schedule": group("schedule", "rectified_flow"),
            "prediction": "v",
            "objective": group("objective", "denoising"),
            "sampler": {
                **group("sampler", "ddim"),
                "times": {
                    "_target_": "wavediff.diffusion.times.uniform",
                    "steps": 6,
                },
            },
        }
    )
    names = {"label_names": ["high", "low"]} if "labels" in network else {}
    save_task(place / "model.safetensors", built.config, built.network.state_dict(), names)
    return place
