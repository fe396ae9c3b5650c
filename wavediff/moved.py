"""Names that have moved since a checkpoint or a configuration was written.

Files are never rewritten: what they say is brought up to date as it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

# Python paths: the target as version 0.1.0 wrote it, and where it is now.
MOVED: dict[str, str] = {
    "wavediff.data.datasets.co2": "wavediff.series.datasets.co2",
    "wavediff.data.datasets.csv": "wavediff.series.datasets.csv",
    "wavediff.data.datasets.elnino": "wavediff.series.datasets.elnino",
    "wavediff.data.datasets.ett": "wavediff.series.datasets.ett",
    "wavediff.data.datasets.m4_hourly": "wavediff.series.datasets.m4_hourly",
    "wavediff.data.datasets.pm25": "wavediff.series.datasets.pm25",
    "wavediff.data.datasets.rolling": "wavediff.series.datasets.rolling",
    "wavediff.data.datasets.sunspots": "wavediff.series.datasets.sunspots",
    "wavediff.data.physionet.physionet": "wavediff.series.physionet.physionet",
    "wavediff.tasks.series.SeriesModel": "wavediff.series.model.SeriesModel",
}

# Arguments of a target (as it is called now): {old: new}.
ARGUMENTS: dict[str, dict[str, str]] = {}

# Groups whose notation changed, by the target as version 0.1.0 wrote it.
NOTATIONS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {}


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
