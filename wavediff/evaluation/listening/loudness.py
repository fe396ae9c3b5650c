"""Loudness by ITU-R BS.1770-4, and one loudness for all sounds of a test."""

import warnings
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from wavediff.errors import UserError

MIN_SECONDS = 0.4  # the gating block of BS.1770
HEADROOM_DB = 1.0  # below full scale: what a browser's resampling may add to a peak


def require_pyloudnorm() -> None:
    """Raise UserError where pyloudnorm is missing."""
    try:
        import pyloudnorm  # noqa: F401
    except ImportError as error:
        raise UserError(
            "the package pyloudnorm is missing, which measures loudness: "
            "pip install 'wavediff[listen]', or give --loudness keep"
        ) from error


def loudness(audio: NDArray[np.floating], sample_rate: int) -> float:
    """Return the integrated loudness in LUFS; -inf for silence.

    Args:
        audio: ``[1 or 2, time]``, at least ``MIN_SECONDS`` long.
        sample_rate: in Hz.
    """
    import pyloudnorm

    with warnings.catch_warnings(), np.errstate(divide="ignore"):
        warnings.simplefilter("ignore")  # of silent blocks
        return float(pyloudnorm.Meter(sample_rate).integrated_loudness(audio.T.astype(np.float64)))


def peak_db(audio: NDArray[np.floating]) -> float:
    """Return the largest magnitude in dB relative to full scale; -inf for silence."""
    peak = float(np.abs(audio).max(initial=0))
    return 20 * np.log10(peak) if peak else -np.inf


def common_loudness(wanted: float, measured: Iterable[tuple[float, float]]) -> float:
    """Return the loudness in LUFS, at most ``wanted``, at which no sound clips.

    Args:
        wanted: in LUFS.
        measured: loudness in LUFS and peak in dB of each sound.
    """
    return min([wanted, *(level - peak - HEADROOM_DB for level, peak in measured)])
