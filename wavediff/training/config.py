"""The configuration group ``trainer``; its defaults are in ``conf/trainer/default.yaml``."""

from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from types import NoneType
from typing import Any, cast, get_args, get_origin, get_type_hints

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wavediff.errors import UserError, shorten


class Precision(Enum):
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class Decay(Enum):
    none = "none"
    linear = "linear"
    cosine = "cosine"
    exponential = "exponential"


@dataclass
class TrainerConfig:
    """Names, types and order as in ``conf/trainer/default.yaml``, which documents each key."""

    max_steps: int = MISSING
    max_minutes: float | None = MISSING
    batch_size: int = MISSING
    accumulate: int = MISSING
    clip_norm: float | None = MISSING
    warmup_steps: int = MISSING
    decay: Decay = MISSING
    final_lr: float = MISSING
    ema_decay: float = MISSING
    max_bad_steps: int = MISSING
    device: str = MISSING
    precision: Precision = MISSING
    compile: bool = MISSING
    tf32: bool = MISSING
    fused_gate: bool = MISSING
    shard: bool = MISSING
    threads: int | None = MISSING
    deterministic: bool = MISSING
    checkpoint_every: int = MISSING
    checkpoint_minutes: float | None = MISSING
    keep_last: int = MISSING
    restart: bool = MISSING
    accept_changes: bool = MISSING
    validate_every: int = MISSING
    validate_files: int = MISSING
    validate_seconds: float | None = MISSING
    validate_media: int = MISSING
    measures: list[str] = MISSING
    best: str = MISSING
    log_every: int = MISSING
    log_snr_bins: list[float] = MISSING
    progress: bool = MISSING


# A run may resume with other values of these: they do not define what the model learns.
FREE = {
    "max_steps", "max_minutes", "accumulate", "max_bad_steps", "device", "precision", "compile",
    "shard", "tf32", "fused_gate", "threads", "deterministic", "checkpoint_every",
    "checkpoint_minutes", "keep_last", "restart", "accept_changes", "validate_every",
    "validate_files", "validate_seconds", "validate_media", "measures", "best", "log_every",
    "log_snr_bins", "progress",
}  # fmt: skip

_MINIMUM = {
    "max_steps": 1, "batch_size": 1, "accumulate": 1, "warmup_steps": 0, "max_bad_steps": 1,
    "threads": 1, "checkpoint_every": 1, "keep_last": 1, "validate_every": 0, "validate_files": 1,
    "validate_media": 0, "log_every": 1, "final_lr": 0, "ema_decay": 0,
}  # fmt: skip
MOST_THREADS = 4096
_POSITIVE = ("max_minutes", "clip_norm", "checkpoint_minutes", "validate_seconds")


def trainer_config(values: DictConfig | dict) -> TrainerConfig:
    """Check the values of the group.

    Raises:
        UserError: for an unknown key, a value of the wrong type or one that is out of range.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(TrainerConfig), values)
        config: TrainerConfig = OmegaConf.to_object(merged)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise UserError(_sentence(str(error.full_key or error.key), values)) from error
    for name, minimum in _MINIMUM.items():
        value = getattr(config, name)
        if value is not None and not value >= minimum:
            raise UserError(f"trainer.{name}={value} is out of range. Use {minimum} or more.")
    if config.threads is not None and config.threads > MOST_THREADS:
        raise UserError(
            f"trainer.threads={config.threads} is out of range. Use {MOST_THREADS} or fewer."
        )
    for name in _POSITIVE:
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise UserError(
                f"trainer.{name}={value} is out of range. Use a number above 0, or null."
            )
    if not config.ema_decay < 1:
        raise UserError(
            f"trainer.ema_decay={config.ema_decay} is out of range. Use a number in [0, 1)."
        )
    if config.log_snr_bins != sorted(set(config.log_snr_bins)):
        raise UserError(
            f"trainer.log_snr_bins={shorten(config.log_snr_bins)} must increase strictly. Use a "
            "list such as [-6, 0, 6]."
        )
    return config


def _sentence(key: str, values: DictConfig | dict) -> str:
    """What is wrong with ``key`` of the group."""
    name = key.partition("[")[0]
    kinds = get_type_hints(TrainerConfig)
    if name not in kinds:
        close = get_close_matches(name, kinds, n=1)
        hint = f"did you mean trainer.{close[0]}?" if close else f"use one of {', '.join(kinds)}."
        return f"unknown key trainer.{shorten(key)}: {hint}"
    config = values if isinstance(values, DictConfig) else OmegaConf.create(values)
    value = cast(dict, OmegaConf.to_container(config)).get(name, MISSING)
    if value == MISSING:
        return f"trainer.{name} is not set. Use trainer.{name}=VALUE."
    return f"trainer.{name}={shorten(value)} is invalid. Use {_accepted(kinds[name])}."


def _accepted(kind: Any) -> str:
    """The values of a type in words."""
    if get_origin(kind) is list:
        return "a list"
    if parts := get_args(kind):
        return ", or ".join("null" if part is NoneType else _accepted(part) for part in parts)
    if issubclass(kind, Enum):
        return f"one of {', '.join(member.name for member in kind)}"
    return {int: "an integer", float: "a number", bool: "true or false", str: "a text"}[kind]
