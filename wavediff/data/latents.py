"""Latents of an autoencoder in .npz files."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wavediff.errors import UserError
from wavediff.files import atomic_path

MOST = 500_000_000  # bytes of an array: a day of latents


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
        with zipfile.ZipFile(path) as archive:
            found = read_array(archive, "latent")
            if found.dtype.kind not in "fiu":
                raise TypeError("not an array of real numbers")
            latent = torch.from_numpy(found.astype(np.float32))
            length, rate = (
                int(read_array(archive, "length")),
                int(read_array(archive, "sample_rate")),
            )
            checkpoint = str(read_array(archive, "checkpoint"))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist.") from error
    except PermissionError as error:
        raise UserError(f"{path} cannot be read: check its permissions.") from error
    except Exception as error:  # a damaged archive or header raises any kind of error
        raise UserError(
            f"{path} is not a latent, or is damaged. Give a file written by `wavediff encode`."
        ) from error
    if latent.ndim != 2 or 0 in latent.shape:
        raise UserError(
            f"{path}: the shape {list(latent.shape)} is not that of a latent, [channels, frames]. "
            "Give a file written by `wavediff encode`."
        )
    if not latent.isfinite().all():
        raise UserError(f"{path} holds NaN or infinite values. Encode the recording again.")
    return StoredLatent(latent, length, rate, checkpoint)


def read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Read an array of an .npz archive whose sizes agree.

    Raises:
        ValueError: for more than ``MOST`` bytes, whatever the archive says.
    """
    with archive.open(f"{name}.npy") as file:
        data = file.read(MOST + 1)
    if len(data) > MOST:
        raise ValueError(f"{name} has more than {MOST} bytes")
    array: np.ndarray = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    return array
