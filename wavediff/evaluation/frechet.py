"""The Frechet distance: how far one set of sounds is from another, without pairs.

Each sound becomes a vector of features, each set the Gaussian with its mean and covariance. The
distance of two finite sets of the same kind is above zero and falls with their size: compare
values of equal numbers of sounds only.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from wavediff.data.resampling import resample
from wavediff.errors import UserError
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
    """The symmetric root of a symmetric matrix without negative eigenvalues but for rounding."""
    values, vectors = torch.linalg.eigh((cov + cov.T) / 2)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def frechet(reference: Tensor, estimate: Tensor) -> float:
    """The squared Frechet distance of two sets of features, ``[n, d]`` each, 0 for equal ones.

    Raises:
        ValueError: for features of other shapes, fewer than 2 in a set, or not finite.
    """
    moments = []
    for features in (reference, estimate):
        if features.ndim != 2 or len(features) < 2 or features.shape[1] != reference.shape[1]:
            raise ValueError(
                "the sets must be [n >= 2, d] with the same d, not "
                f"{list(reference.shape)} and {list(estimate.shape)}"
            )
        if not features.isfinite().all():
            raise ValueError("a sound's features are not finite")
        features = features.double()
        moments += [features.mean(0), torch.atleast_2d(torch.cov(features.T))]
    return frechet_distance(*moments)


def log_mel_statistics(audio: Tensor, sample_rate: int, n_mels: int = N_MELS) -> Tensor:
    """Mean, standard deviation and mean absolute step from frame to frame of each log-mel band.

    Args:
        audio: ``[n, time]``, full scale +-1.
        n_mels: bands; so few that about a thousand sounds tell a covariance.

    Returns:
        ``[n, 3 n_mels]``, natural logarithms.
    """
    bands = log_mel(audio, sample_rate, n_mels)
    step = bands.diff(dim=-1).abs() if bands.shape[-1] > 1 else torch.zeros_like(bands)
    return torch.cat([bands.mean(-1), bands.std(-1, correction=0), step.mean(-1)], dim=1)


def embedding(path: str | Path) -> Features:
    """The features of a TorchScript model in a file: audio ``[n, time]`` to ``[n, d]``.

    It is given audio at its attribute ``sample_rate`` where it has one, else as it comes. A
    TorchScript file is a program: use those you trust.

    Raises:
        UserError: for a file that is none, and later for a model that gives something else.
    """
    try:
        with warnings.catch_warnings():  # that the format is deprecated is not the user's concern
            warnings.simplefilter("ignore", FutureWarning)
            model = torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(
            f"{path} is not a TorchScript model: give a file that torch.jit.save wrote"
        ) from error
    rate = getattr(model, "sample_rate", None)

    @torch.no_grad()
    def features(audio: Tensor, sample_rate: int) -> Tensor:
        if rate is not None:
            audio = resample(audio, sample_rate, int(rate))
        try:
            found = model(audio)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise UserError(
                f"{path} does not take audio [n, time] of {list(audio.shape)}: {reason}"
            ) from error
        if not (isinstance(found, Tensor) and found.ndim == 2 and len(found) == len(audio)):
            shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise UserError(
                f"{path} must give [{len(audio)}, d] of {list(audio.shape)}, not {shape}"
            )
        return found

    return features
