"""Latents of an autoencoder in .npz files."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wavediff.errors import UserError
from wavediff.files import atomic_path


@dataclass(frozen=True)
class StoredLatent:
    """The latent of one recording.

    Attributes:
        latent: float32 ``[latent_channels, frames]``.
        length: of the audio, in samples.
        sample_rate: of the audio in Hz.
        checkpoint: the name of the model that encoded it.
    """

    latent: Tensor
    length: int
    sample_rate: int
    checkpoint: str


def write_latent(path: str | Path, stored: StoredLatent) -> None:
    """Write an .npz file with arrays named after the attributes, atomically.

    Raises:
        UserError: if ``path`` cannot be written.
    """
    with atomic_path(path) as temporary:
        np.savez(
            temporary,
            latent=stored.latent.numpy(),
            length=np.int64(stored.length),
            sample_rate=np.int64(stored.sample_rate),
            checkpoint=np.str_(stored.checkpoint),
        )


def read_latent(path: str | Path) -> StoredLatent:
    """Read a file of ``write_latent``. No code from the file is executed.

    Raises:
        UserError: if the file is missing, damaged or not a latent.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            latent = torch.from_numpy(np.asarray(file["latent"], dtype=np.float32))
            length, rate = int(file["length"]), int(file["sample_rate"])
            checkpoint = str(file["checkpoint"])
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist.") from error
    except PermissionError as error:
        raise UserError(f"{path} cannot be read: check its permissions.") from error
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} is not a latent, or is damaged. Give a file written by `wavediff encode`."
        ) from error
    if latent.ndim != 2:
        raise UserError(
            f"{path}: the shape {list(latent.shape)} is not that of a latent, [channels, frames]. "
            "Give a file written by `wavediff encode`."
        )
    return StoredLatent(latent, length, rate, checkpoint)
