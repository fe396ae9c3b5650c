"""An autoencoder's latents in .npz files."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wavediff.errors import UserError
from wavediff.files import atomic_path

LATENT_SUFFIXES = (".npz",)


@dataclass(frozen=True)
class StoredLatent:
    """One recording.

    Attributes:
        latent: ``[latent_channels, frames]``, float32.
        length: of the audio in samples.
        sample_rate: of the audio in Hz.
        checkpoint: the name of the model that encoded it.
    """

    latent: Tensor
    length: int
    sample_rate: int
    checkpoint: str


def write_latent(path: str | Path, stored: StoredLatent) -> None:
    """Write an .npz with arrays of the attributes' names, whole or not at all.

    Raises UserError when the place cannot be written to.
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
    """What ``write_latent`` wrote; nothing that the file says is executed.

    Raises UserError for a file that is missing, damaged or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            latent = torch.from_numpy(np.asarray(file["latent"], dtype=np.float32))
            length, rate = int(file["length"]), int(file["sample_rate"])
            checkpoint = str(file["checkpoint"])
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except PermissionError as error:
        raise UserError(f"{path} may not be read: check its permissions") from error
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} is no latent, or a damaged one: `wavediff encode` makes them"
        ) from error
    if latent.ndim != 2:
        raise UserError(f"{path} holds no latent [channels, frames] but {list(latent.shape)}")
    return StoredLatent(latent, length, rate, checkpoint)
