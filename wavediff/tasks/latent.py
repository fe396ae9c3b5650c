"""Embedding of a named autoencoder in the configuration of a latent diffusion model.

Only ``wavediff train`` calls this, for names on its command line: a checkpoint contains the
autoencoder's own configuration, and loading it reads no other file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from wavediff.errors import UserError
from wavediff.tasks.autoencoder import Autoencoder


def named_autoencoder(config: Mapping[str, Any]) -> str | None:
    """Run folder or file of the autoencoder that the representation names, or None."""
    found = (config.get("representation") or {}).get("autoencoder")
    return found if isinstance(found, str) else None


def with_autoencoder(
    config: Mapping[str, Any], name_or_path: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(``config`` with the autoencoder's configuration instead of its name, its weights).

    Raises:
        UserError: for an autoencoder that does not exist or has another sample rate.
    """
    task = Autoencoder.from_pretrained(name_or_path)
    rate = (config.get("mel") or config["task"]).get("sample_rate")
    if rate != task.sample_rate:
        raise UserError(
            f"the autoencoder {name_or_path} is for {task.sample_rate} Hz, the recipe for {rate} "
            "Hz: give one that was trained at that rate"
        )
    network = {"channels": 1, **task.config["network"]}
    return embedded(config, network), task.network.state_dict()


def embedded(config: Mapping[str, Any], network: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` with the configuration ``network`` of an autoencoder in its representation."""
    return {**config, "representation": {**config["representation"], "autoencoder": dict(network)}}
