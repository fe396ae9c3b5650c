"""Recognition and reading of foreign checkpoints, without executing code from them."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from wavediff.errors import UserError
from wavediff.inputs import expanded
from wavediff.tasks.build import build_task
from wavediff.tasks.importers import lmnt, philsyn
from wavediff.tasks.importers.model import ForeignModel, Overrides
from wavediff.tasks.names import FILE_NAME

FORMATS: tuple[ModuleType, ...] = (lmnt, philsyn)
FOLDER_FILE = "weights.pt"  # link of lmnt-com/diffwave to its latest checkpoint
KNOWN = " and ".join(f"{module.ORIGIN}'s" for module in FORMATS)


def load_pickle(path: Path) -> Any:
    """Load tensors, numbers, strings and containers from ``path``; nothing else is unpickled.

    Raises:
        UserError: for a file with other objects, or one that is not a checkpoint.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # about unusual pickles, whose errors are reported below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if re.search("unsupported (global|class)", str(error), re.IGNORECASE):
            raise UserError(
                f"{path} holds more than plain tensors: a pickle can run any code when it is "
                "opened, so it was not loaded; ask its author for the state dict alone"
            ) from error
        raise UserError(f"{path} is not a checkpoint, or is damaged") from error
    except Exception as error:  # torch.load raises any kind of exception for a damaged file
        if isinstance(error, OSError) and error.filename:  # it could not be opened
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        raise UserError(f"{path} is not a checkpoint, or is damaged") from error


def foreign_file(path: str | Path) -> Path | None:
    """File saved by ``torch.save`` at ``path`` or in the folder ``path``, or None."""
    path = expanded(path)
    file = path / FOLDER_FILE if path.is_dir() and not (path / FILE_NAME).is_file() else path
    try:
        with open(file, "rb") as opened:
            head = opened.read(9)
    except OSError:
        return None
    # a zip archive or a pickle; a small safetensors file may start like a pickle, but has a JSON
    # object from byte 8 on
    return file if head.startswith((b"PK", b"\x80")) and head[8:] != b"{" else None


def recognise(content: Any) -> ModuleType | None:
    """Format of a loaded checkpoint, or None."""
    if isinstance(content, Mapping):
        return next((f for f in FORMATS if f.state_of(content) is not None), None)
    return None


def read_foreign(path: str | Path, overrides: Overrides | None = None) -> ForeignModel:
    """Read and convert a foreign checkpoint; its weights fit its configuration.

    Args:
        path: the file, or the folder of lmnt-com/diffwave with its ``weights.pt``.

    Raises:
        UserError: for a file that cannot be read safely, is damaged, or has an unknown format.
    """
    path = expanded(path)
    file = path / FOLDER_FILE if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"there is no checkpoint {file}")
    content = load_pickle(file)
    module = recognise(content)
    if module is None:
        raise UserError(
            f"{file} is a checkpoint of an unknown format: {KNOWN} can be imported, and a run of "
            f"wavediff has a {FILE_NAME}"
        )
    damaged = f"{file} is a damaged {module.ORIGIN} checkpoint"
    try:
        model = module.convert(content, overrides or Overrides())
    except (
        TypeError,
        AttributeError,
        ValueError,
        LookupError,
        ArithmeticError,
        RuntimeError,
    ) as error:
        raise UserError(f"{damaged}: {error}") from error
    try:
        task = build_task(model.config)
    except UserError as error:
        raise UserError(f"{damaged}: {error}") from error
    wanted = {name: value.shape for name, value in task.network.state_dict().items()}
    for name, shape in wanted.items():
        if model.state[name].shape != shape:
            raise UserError(
                f"{file} has weights of other shapes than DiffWave: {name} is "
                f"{list(model.state[name].shape)}, not {list(shape)}"
            )
    return model
