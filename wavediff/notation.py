"""What a configuration may say in short: a prediction by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wavediff.errors import UserError

# The functions of wavediff.diffusion.preconditioning that are predictions, and their options.
PREDICTIONS: dict[str, dict[str, Any]] = {
    "combined_noise": {},
    "consistency": {"data_std": 1.0},
    "edm": {"data_std": 1.0},
    "eps": {},
    "ncsn": {},
    "score": {},
    "v": {},
    "velocity": {},
    "x0": {},
}


def prediction(value: Any) -> Any:
    """A prediction in full, as Hydra's notation and version 0.1.0 have it.

    Args:
        value: ``v``, or ``{name: edm, data_std: 0.5}``; what is written in full stays as it is.

    Raises:
        UserError: for a name that does not exist, with those that do.
    """
    if isinstance(value, Mapping) and "_target_" in value:
        return value
    options = dict(value) if isinstance(value, Mapping) else {"name": value}
    name = options.pop("name", None)
    if not isinstance(name, str) or name not in PREDICTIONS:
        raise UserError(f"there is no prediction {name!r}; choose one of {', '.join(PREDICTIONS)}")
    target = {"_target_": f"wavediff.diffusion.preconditioning.{name}", "_partial_": True}
    return target | PREDICTIONS[name] | options


def in_full(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` with its prediction in full, where it has one."""
    chosen = config.get("prediction")
    return dict(config) if chosen is None else {**config, "prediction": prediction(chosen)}
