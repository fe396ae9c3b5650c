"""Fidelity and diversity of generated sounds: density and coverage (Naeem et al. 2020).

Around each real sound is a ball that reaches to its k-th nearest real one. Density is how many
balls a generated sound lies in, divided by k: how typical the sounds are. Coverage is the share of
the balls in which a generated sound lies: how much of the data comes out. A model that repeats one
good sound has a high density and a coverage near 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEIGHBOURS = 5
FLOOR = 1e-3  # of a sound's largest magnitude: -60 dB


def density_and_coverage(
    reference: Tensor, estimate: Tensor, k: int = NEIGHBOURS
) -> tuple[float, float]:
    """(density, coverage) of generated features ``[m, d]`` among real ones ``[n, d]``.

    Both are around 1 for two large sets of one distribution, see ``expected_coverage``.

    Raises:
        ValueError: for other shapes, fewer than ``k + 1`` real sounds, or features that are not
            finite.
    """
    if reference.ndim != 2 or estimate.ndim != 2 or reference.shape[1] != estimate.shape[1]:
        raise ValueError(
            "the sets must be [n, d] and [m, d], not "
            f"{list(reference.shape)} and {list(estimate.shape)}"
        )
    if not 1 <= k < len(reference) or not len(estimate):
        raise ValueError(
            f"{k} neighbours need {k + 1} real sounds and a generated one, not {len(reference)} "
            f"and {len(estimate)}"
        )
    if not (reference.isfinite().all() and estimate.isfinite().all()):
        raise ValueError("the features are not finite")
    real, made = reference.double(), estimate.double()
    # a sound's nearest one is itself
    radius = torch.cdist(real, real).kthvalue(k + 1, dim=1).values
    inside = torch.cdist(real, made) <= radius[:, None]
    return float(inside.double().sum(0).mean() / k), float(inside.any(1).double().mean())


def expected_coverage(n: int, m: int, k: int = NEIGHBOURS) -> float:
    """Mean coverage of ``n`` real sounds by ``m`` others of their distribution (lemma 2)."""
    missed = 1.0
    for i in range(1, k + 1):
        missed *= (n - i) / (n + m - i)
    return 1 - missed


def log_spectrum(audio: Tensor, floor: float = FLOOR) -> Tensor:
    """Log magnitudes of a whole short sound, ``[n, time / 2 + 1]`` of ``audio [n, time]``.

    Relative to its largest one, down to ``floor``: pitch and timbre, whatever the loudness and the
    phases.
    """
    window = torch.hann_window(audio.shape[-1], dtype=torch.float64, device=audio.device)
    magnitudes = torch.fft.rfft(audio.double() * window).abs()
    largest = magnitudes.amax(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    return (magnitudes / largest).clamp(min=floor).log()
