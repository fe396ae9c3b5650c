"""Checkpoints: a safetensors file of the weights, with the configuration as metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from wavediff.errors import UserError
from wavediff.files import atomic_path
from wavediff.moved import current
from wavediff.tasks.build import build_task
from wavediff.tasks.names import find_checkpoint

if TYPE_CHECKING:
    from wavediff.tasks.task import Task

FORMAT = "wavediff-1"
DIGEST = "weights_sha256"  # key of the metadata, of which files of earlier versions have none
DEEPEST = 50  # levels of a configuration
MOST_EFFORT = 1e12  # steps or seconds: an integer in a malicious file may be too large for a float


def save_task(
    path: Path, config: Mapping[str, Any], state: Mapping[str, Tensor], extra: Mapping[str, Any]
) -> None:
    """Write the model's ``state`` and the ``config`` that rebuilds the task, atomically.

    Args:
        extra: further values for JSON (steps, seed, data), shown by ``wavediff info``.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    metadata = {
        "format": FORMAT,
        "config": json.dumps(config),
        "extra": json.dumps(extra),
        DIGEST: digest(tensors),
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, metadata))


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Tensor]]:
    """Read (config, extra, state) from a file that ``save_task`` wrote.

    Raises:
        UserError: for a file that cannot be read, is damaged, or is not a wavediff checkpoint.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise UserError(
            f"{path} is not a wavediff checkpoint (a whole safetensors file): copy it again if it "
            "was one; `wavediff import` converts a DiffWave checkpoint of another project"
        ) from error
    if metadata.get("format") != FORMAT:
        raise UserError(
            f"{path} is a safetensors file without a configuration of wavediff: "
            "use the model.safetensors of a run folder"
        )
    expected = metadata.get(DIGEST) or _noted_digest(path)
    if expected is not None and digest(state) != expected:
        raise UserError(f"the weights in {path} are damaged (another SHA-256): copy the file again")
    try:
        config, extra = json.loads(metadata["config"]), json.loads(metadata["extra"])
    except (KeyError, ValueError, RecursionError) as error:
        raise UserError(f"the configuration in {path} is damaged: copy the file again") from error
    nested = max(_depth(config), _depth(extra))
    if not isinstance(config, dict) or not isinstance(extra, dict) or nested > DEEPEST:
        raise UserError(f"the configuration in {path} is damaged: copy the file again")
    return current(config), extra, state


def _noted_digest(path: Path) -> str | None:
    """The digest in the file beside a bundled model of an earlier version, if there is one."""
    noted = path.with_suffix(".sha256")
    return noted.read_text().strip() if noted.is_file() else None


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors: of the name, type, shape and bytes of each, by name."""
    found = hashlib.sha256()
    for name, value in sorted(state.items()):
        found.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        found.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _depth(value: Any) -> int:
    """How deeply dictionaries and lists are nested, at most one more than ``DEEPEST``."""
    level, depth = [value], 0
    while level and depth <= DEEPEST:
        inner = [list(x.values()) if isinstance(x, dict) else x for x in level]
        level = [item for x in inner if isinstance(x, list) for item in x]
        depth += 1
    return depth


def effort(extra: Mapping[str, Any]) -> dict[str, float]:
    """Total ``step`` and ``seconds`` of training in the ``extra`` of a checkpoint.

    Includes the training of the weights that its run started from; invalid values are ignored.
    """
    total: dict[str, float] = {}
    for part in (extra, extra.get("before")):
        for name in ("step", "seconds"):
            value = part.get(name) if isinstance(part, Mapping) else None
            if is_effort(value):
                total[name] = total.get(name, 0) + value
    return total


def is_effort(value: Any) -> TypeGuard[float]:
    """Whether ``value`` is a plausible number of training steps or seconds."""
    return isinstance(value, int | float) and 0 < value < MOST_EFFORT


def load_task(name_or_path: str | Path) -> Task:
    """Load the task of a bundled model, a run folder or a file, in ``eval`` mode.

    Raises:
        UserError: for a checkpoint that does not exist, is damaged, or asks for code outside
            wavediff.
    """
    path = find_checkpoint(name_or_path)
    config, extra, state = read_checkpoint(path)
    try:
        task = build_task(config, weights=sum(value.numel() for value in state.values()))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    learnt = task.network.state_dict()
    wanted = {name: tuple(v.shape) for name, v in (task.fixed_state() | learnt).items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    if wanted != found:
        odd = sorted(set(wanted.items()) ^ set(found.items()))[0][0]
        raise UserError(f"the weights in {path} do not fit their configuration (at {odd})")
    # half precision is a storage format only
    state = {
        name: value.float() if value.is_floating_point() else value for name, value in state.items()
    }
    task.load_fixed(state)
    task.network.load_state_dict({name: state[name] for name in learnt})
    task.extra = extra
    try:
        task.check_extra()
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return task.eval()
