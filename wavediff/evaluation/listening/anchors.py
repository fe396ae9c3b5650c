"""Anchors of MUSHRA tests: the reference behind a low-pass filter (ITU-R BS.1534-3).

The filter is flat to 0.1 dB up to its cutoff, and beyond 8/7 of it, 4 kHz for the low anchor,
attenuates by more than 60 dB; the recommendation asks for 25 dB there and 50 dB at 4.5 kHz. Its
phase is linear, and its delay is removed.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import firwin, kaiserord, oaconvolve

from wavediff.errors import UserError

CUTOFFS = {"low": 3500.0, "mid": 7000.0}  # Hz
STOP = 8 / 7  # end of the transition, relative to the cutoff
ATTENUATION_DB = 65.0


@lru_cache(maxsize=8)
def low_pass_filter(cutoff: float, sample_rate: int) -> NDArray[np.float64]:
    """Return the impulse response, of odd length, for a cutoff in Hz."""
    width = (STOP - 1) * cutoff
    taps, beta = kaiserord(ATTENUATION_DB, 2 * width / sample_rate)
    return firwin(taps | 1, cutoff + width / 2, window=("kaiser", beta), fs=sample_rate)


def anchor(audio: NDArray[np.floating], sample_rate: int, kind: str) -> NDArray[np.floating]:
    """Return the anchor ``[channels, time]`` of a reference.

    Args:
        audio: ``[channels, time]``.
        sample_rate: in Hz.
        kind: a name in ``CUTOFFS``.

    Raises:
        UserError: where the sample rate has no band above the cutoff.
    """
    cutoff = CUTOFFS[kind]
    if sample_rate < 2 * STOP * cutoff:
        other = "--anchors low" if kind == "mid" else "--anchors none"
        raise UserError(
            f"at {sample_rate} Hz the {kind} anchor, a low-pass filter at {cutoff / 1000:g} kHz, "
            f"removes too little to be heard: give {other}"
        )
    taps = low_pass_filter(cutoff, sample_rate)
    padded = np.pad(audio.astype(np.float64), ((0, 0), (len(taps) // 2, len(taps) // 2)))
    return oaconvolve(padded, taps[None], mode="valid", axes=1).astype(audio.dtype)
