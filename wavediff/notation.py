"""Short notation of predictions in configurations: by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wavediff.errors import UserError

# Predictions in wavediff.diffusion.preconditioning, and the defaults of their options.
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

MODULE = "wavediff.diffusion.preconditioning"
KNOWN = ", ".join(PREDICTIONS)


def prediction(value: Any) -> Any:
    """Expand a prediction to the notation of Hydra, which version 0.1.0 used.

    Args:
        value: ``v``, or ``{name: edm, data_std: 0.5}``; the full notation is returned unchanged.

    Raises:
        UserError: for an unknown name, with the known ones.
    """
    if isinstance(value, Mapping) and "_target_" in value:
        if not str(value["_target_"]).startswith(f"{MODULE}."):
            raise UserError(f"{value['_target_']} is no prediction: choose one of {KNOWN}")
        return value
    options = dict(value) if isinstance(value, Mapping) else {"name": value}
    name = options.pop("name", None)
    if not isinstance(name, str) or name not in PREDICTIONS:
        raise UserError(f"there is no prediction {name!r}; choose one of {KNOWN}")
    target = {"_target_": f"{MODULE}.{name}", "_partial_": True}
    return target | PREDICTIONS[name] | options


def in_full(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` with its prediction, if any, in the full notation."""
    chosen = config.get("prediction")
    return dict(config) if chosen is None else {**config, "prediction": prediction(chosen)}
