"""From an autoencoder that is named to one that is part of the model.

Only ``wavediff train`` calls this, on what its user typed: a checkpoint holds the autoencoder's own
configuration, and loading one reads no other file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from wavediff.errors import UserError
from wavediff.tasks.autoencoder import Autoencoder


def named_autoencoder(config: Mapping[str, Any]) -> str | None:
    """The run folder or file that the configuration's representation names, where it does."""
    found = (config.get("representation") or {}).get("autoencoder")
    return found if isinstance(found, str) else None


def with_autoencoder(
    config: Mapping[str, Any], name_or_path: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(the configuration with the autoencoder's own instead of its name, its weights).

    Raises:
        UserError: where there is none, or it is for another sample rate.
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
    """The configuration with this one of an autoencoder in its representation."""
    return {**config, "representation": {**config["representation"], "autoencoder": dict(network)}}
