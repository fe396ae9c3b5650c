"""Mel spectrograms in files: .npy, .pt and .safetensors."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from wavediff.data.latents import read_array
from wavediff.dense import require_dense
from wavediff.errors import UserError
from wavediff.inputs import MELS_READ


def read_mel(path: str | Path) -> np.ndarray | Tensor:
    """Read the array in a file, unchanged and memory-mapped if the format allows it.

    A .pt, .pth, .safetensors or .npz file holds one array, or one called "mel". No code from a file
    is executed: .npy and .npz are read without pickled objects, .pt with ``weights_only``.

    Raises:
        UserError: if the file is missing, damaged or not a mel.
    """
    path = Path(path)
    try:
        match path.suffix.lower():
            case ".npy":
                found: Any = np.load(path, mmap_mode="r", allow_pickle=False)
            case ".npz":
                found = _read_npz(path)
            case ".pt" | ".pth":
                found = torch.load(path, map_location="cpu", weights_only=True)
            case ".safetensors":
                found = _read_safetensors(path)
            case _:
                raise UserError(
                    f"{path}: a mel is read from {', '.join(MELS_READ)}. Write the array "
                    '[n_mels, frames] to one of them: numpy.save("mel.npy", array).'
                )
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist.") from error
    except PermissionError as error:
        raise UserError(f"{path} cannot be read: check its permissions.") from error
    except UserError:
        raise
    except Exception as error:  # unpickling a damaged file raises any kind of error
        raise UserError(
            f"{path} cannot be read as a mel: it is damaged, or not one array of numbers. Save the "
            "array itself."
        ) from error
    if isinstance(found, dict):
        found = found.get("mel", next(iter(found.values())) if len(found) == 1 else None)
    if not isinstance(found, np.ndarray | Tensor):
        raise UserError(
            f"{path} is not a mel: it must be one array, or a dictionary with an array called "
            '"mel".'
        )
    if isinstance(found, Tensor):
        require_dense(found, f"{path} holds a tensor that is", most=0, verb="save")
    return found


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if "latent" in names:
            raise UserError(f"{path} is a latent, not a mel: `wavediff decode` makes it audio.")
        wanted = ["mel"] if "mel" in names else names[:2]
        return {name: read_array(archive, name) for name in wanted}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            wanted = ["mel"] if "mel" in names else names[:2]
            return {name: file.get_tensor(name) for name in wanted}
    except SafetensorError as error:
        raise UserError(
            f"{path} is not a safetensors file, or is damaged. Save the mel again."
        ) from error
