"""The Frechet distance between two sets of sounds, which need not form pairs.

A sound is represented by a vector of features, a set by the Gaussian with its mean and covariance.
The distance of two finite samples of one distribution is positive and falls with their size:
compare values for equal numbers of sounds only.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from wavediff.data.resampling import resample
from wavediff.errors import UserError, shorten
from wavediff.evaluation.spectral import log_mel

Features = Callable[[Tensor, int], Tensor]
N_MELS = 20


def frechet_distance(mean_1: Tensor, cov_1: Tensor, mean_2: Tensor, cov_2: Tensor) -> float:
    """Squared Frechet distance between two Gaussians (Dowson & Landau 1982).

    |mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)), for means ``[d]`` and covariances
    ``[d, d]`` that may be singular. The last trace is the sum of the singular values of
    S_1^(1/2) S_2^(1/2).
    """
    mean_1, cov_1, mean_2, cov_2 = (x.double() for x in (mean_1, cov_1, mean_2, cov_2))
    cross = torch.linalg.svdvals(_root(cov_1) @ _root(cov_2)).sum()
    distance = (mean_1 - mean_2).square().sum() + cov_1.trace() + cov_2.trace() - 2 * cross
    return max(float(distance), 0.0)


def _root(cov: Tensor) -> Tensor:
    """Return the symmetric root of a matrix that is positive semidefinite up to rounding."""
    values, vectors = torch.linalg.eigh((cov + cov.T) / 2)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def frechet(reference: Tensor, estimate: Tensor) -> float:
    """Return the squared Frechet distance of two sets of features, ``[n, d]`` each.

    Raises:
        ValueError: for other shapes, fewer than 2 items in a set, or features that are not finite.
    """
    moments = []
    for features in (reference, estimate):
        if features.ndim != 2 or len(features) < 2 or features.shape[1] != reference.shape[1]:
            raise ValueError(
                "the sets must be [n, d] with n >= 2 and the same d, not "
                f"{list(reference.shape)} and {list(estimate.shape)}"
            )
        if not features.isfinite().all():
            raise ValueError("the features are not finite")
        features = features.double()
        moments += [features.mean(0), torch.atleast_2d(torch.cov(features.T))]
    return frechet_distance(*moments)


def log_mel_statistics(audio: Tensor, sample_rate: int, n_mels: int = N_MELS) -> Tensor:
    """Return the mean, standard deviation and mean absolute difference of frames per log-mel band.

    Args:
        audio: ``[n, time]``, full scale +-1.
        sample_rate: in Hz.
        n_mels: bands; few enough that about a thousand sounds determine a covariance.

    Returns:
        ``[n, 3 n_mels]``, natural logarithms.
    """
    bands = log_mel(audio, sample_rate, n_mels)
    step = bands.diff(dim=-1).abs() if bands.shape[-1] > 1 else torch.zeros_like(bands)
    return torch.cat([bands.mean(-1), bands.std(-1, correction=0), step.mean(-1)], dim=1)


def embedding(path: str | Path) -> Features:
    """Load a TorchScript model that maps audio ``[n, time]`` to features ``[n, d]``.

    The audio is resampled to the model's attribute ``sample_rate`` if it has one. A TorchScript
    file is a program: load only files that you trust.

    Raises:
        UserError: if the file is not TorchScript. The returned function raises it if the model
            does not accept the audio or returns another shape.
    """
    try:
        with warnings.catch_warnings():  # the format is deprecated, which the user cannot change
            warnings.simplefilter("ignore", FutureWarning)
            model = torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(
            f"{path} is not a TorchScript model. Give a file written by torch.jit.save."
        ) from error
    rate = getattr(model, "sample_rate", None)

    @torch.no_grad()
    def features(audio: Tensor, sample_rate: int) -> Tensor:
        if rate is not None:
            audio = resample(audio, sample_rate, int(rate))
        try:
            found = model(audio)
        except RuntimeError as error:
            reason = shorten(str(error).strip().splitlines()[-1])
            raise UserError(
                f"{path}: the model does not accept audio of shape {list(audio.shape)} ({reason}). "
                "Give one that maps [n, time] to [n, d]."
            ) from error
        if not (isinstance(found, Tensor) and found.ndim == 2 and len(found) == len(audio)):
            shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise UserError(
                f"{path}: the model maps {list(audio.shape)} to {shape}. Give one that maps "
                "[n, time] to [n, d]."
            )
        return found

    return features
