"""Reading a foreign checkpoint without running anything in it, and telling whose it is."""

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
from wavediff.tasks.build import build_task
from wavediff.tasks.importers import lmnt, philsyn
from wavediff.tasks.importers.model import ForeignModel, Overrides
from wavediff.tasks.names import FILE_NAME

FORMATS: tuple[ModuleType, ...] = (lmnt, philsyn)
FOLDER_FILE = "weights.pt"  # lmnt-com/diffwave's link to its newest checkpoint
KNOWN = " and ".join(f"{module.ORIGIN}'s" for module in FORMATS)


def load_pickle(path: Path) -> Any:
    """Tensors, numbers, strings and containers in ``path``; nothing else is ever unpickled.

    Raises:
        UserError: for a file that has more in it, or is no checkpoint.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd pickles, whose errors are reported below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if re.search("unsupported (global|class)", str(error), re.IGNORECASE):
            raise UserError(
                f"{path} holds more than plain tensors: a pickle can run any code when it is "
                "opened, so nothing of it was loaded; ask its author for the state dict alone"
            ) from error
        raise UserError(f"{path} is no checkpoint, or a damaged one") from error
    except Exception as error:  # torch.load raises whatever the damage leads to
        if isinstance(error, OSError) and error.filename:  # it could not be opened
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        raise UserError(f"{path} is no checkpoint, or a damaged one") from error


def foreign_file(path: str | Path) -> Path | None:
    """The file that torch has saved at ``path``, or in the folder ``path``; None for others."""
    path = Path(path).expanduser()
    file = path / FOLDER_FILE if path.is_dir() and not (path / FILE_NAME).is_file() else path
    try:
        with open(file, "rb") as opened:
            head = opened.read(9)
    except OSError:
        return None
    # a zip archive or a pickle; a small safetensors file may begin like a pickle, but continues
    # to a JSON object
    return file if head.startswith((b"PK", b"\x80")) and head[8:] != b"{" else None


def recognise(content: Any) -> ModuleType | None:
    """The format of an opened checkpoint."""
    if isinstance(content, Mapping):
        return next((f for f in FORMATS if f.state_of(content) is not None), None)
    return None


def read_foreign(path: str | Path, overrides: Overrides | None = None) -> ForeignModel:
    """A foreign checkpoint in our terms, known to fit together.

    Args:
        path: the file, or the folder in which lmnt-com/diffwave keeps its ``weights.pt``.

    Raises:
        UserError: for a file that cannot be read safely, or whose format is unknown.
    """
    path = Path(path).expanduser()
    file = path / FOLDER_FILE if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"there is no checkpoint {file}")
    content = load_pickle(file)
    module = recognise(content)
    if module is None:
        raise UserError(
            f"{file} is a checkpoint of a kind that is not known: {KNOWN} can be imported, and of "
            f"a run of wavediff's there is a {FILE_NAME}"
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
                f"{file} has weights of another shape than DiffWave's: {name} is "
                f"{list(model.state[name].shape)}, not {list(shape)}"
            )
    return model
