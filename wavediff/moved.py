"""Names that have moved since a checkpoint or a configuration was written.

Files are never rewritten: what they say is brought up to date as it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

# Python paths: the target as version 0.1.0 wrote it, and where it is now.
MOVED: dict[str, str] = {}

# Arguments of a target (as it is called now): {old: new}.
ARGUMENTS: dict[str, dict[str, str]] = {}

# Groups whose notation changed, by the target as version 0.1.0 wrote it.
NOTATIONS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    f"wavediff.data.datasets.{name}": lambda config, name=name: {
        **config,
        "_target_": "wavediff.data.datasets.statsmodels",
        "name": name,
    }
    for name in ("sunspots", "co2", "elnino")
}

# Choices of groups on the command line, and what stands for them now.
CHOICES = {
    "data=etth1": "data=ett data.name=ETTh1",
    "data=etth2": "data=ett data.name=ETTh2",
    "data=ettm1": "data=ett data.name=ETTm1 data.context=384 data.horizon=96",
    "data=ettm2": "data=ett data.name=ETTm2 data.context=384 data.horizon=96",
    "data=electricity": "data=gluonts data.name=electricity",
    "data=exchange_rate": "data=gluonts data.name=exchange_rate",
    "data=solar": "data=gluonts data.name=solar",
    "data=traffic": "data=gluonts data.name=traffic",
    "data=sunspots": "data=statsmodels data.name=sunspots",
    "data=co2": "data=statsmodels data.name=co2",
    "data=elnino": "data=statsmodels data.name=elnino",
} | {
    f"recipe=comparison_{name}": f"the list {name} in recipes/comparison/methods.yaml"
    for name in ["consistency", "ddpm", "edm", "flow", "latent", "ncsn", "subvp", "vae", "ve", "vp"]
}


def current(config: Any) -> Any:
    """``config`` with every name as it is now; what has not moved stays as it is."""
    if isinstance(config, list | tuple):
        return [current(value) for value in config]
    if not isinstance(config, Mapping):
        return config
    target = config.get("_target_")
    if not isinstance(target, str):
        return {key: current(value) for key, value in config.items()}
    if target in NOTATIONS:
        config = NOTATIONS[target](config)
        target = config["_target_"]
    target = MOVED.get(target, target)
    renamed = ARGUMENTS.get(target, {})
    rest = {renamed.get(key, key): current(value) for key, value in config.items()}
    return rest | {"_target_": target}
