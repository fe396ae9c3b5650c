"""What the group `trainer` may hold; `conf/trainer/default.yaml` has the defaults."""

from dataclasses import dataclass
from enum import Enum

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wavediff.errors import UserError


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
    """Names, types and order as in `conf/trainer/default.yaml`, which says what each is for."""

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


# A run may be continued with other values of these: they do not define what is learnt.
FREE = {
    "max_steps", "max_minutes", "accumulate", "max_bad_steps", "device", "precision", "compile",
    "threads", "deterministic", "checkpoint_every", "checkpoint_minutes", "keep_last", "restart",
    "accept_changes", "validate_every", "validate_files", "validate_seconds", "validate_media",
    "measures", "best", "log_every", "log_snr_bins", "progress",
}  # fmt: skip

_AT_LEAST = {
    "max_steps": 1, "batch_size": 1, "accumulate": 1, "warmup_steps": 0, "max_bad_steps": 1,
    "threads": 1, "checkpoint_every": 1, "keep_last": 1, "validate_every": 0, "validate_files": 1,
    "validate_media": 0, "log_every": 1, "final_lr": 0, "ema_decay": 0,
}  # fmt: skip
_ABOVE_ZERO = ("max_minutes", "clip_norm", "checkpoint_minutes", "validate_seconds")


def trainer_config(values: DictConfig | dict) -> TrainerConfig:
    """The checked configuration. Raises `UserError` for an unknown key or an impossible value."""
    try:
        merged = OmegaConf.merge(OmegaConf.structured(TrainerConfig), values)
        config: TrainerConfig = OmegaConf.to_object(merged)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        sentence = str(error).splitlines()[0]
        raise UserError(f"trainer.{error.full_key or error.key}: {sentence}") from error
    for name, least in _AT_LEAST.items():
        value = getattr(config, name)
        if value is not None and not value >= least:
            raise UserError(f"trainer.{name} is {value}: it must be at least {least}")
    for name in _ABOVE_ZERO:
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise UserError(f"trainer.{name} is {value}: it must be above 0, or null")
    if not config.ema_decay < 1:
        raise UserError(f"trainer.ema_decay is {config.ema_decay}: it must be below 1")
    if config.log_snr_bins != sorted(set(config.log_snr_bins)):
        raise UserError("trainer.log_snr_bins must rise")
    return config
