"""Scales of mel spectrograms other than a front-end's own, by name.

Tacotron forks map decibels S = 20 log10 m - 20 from [-100, 0] to an interval: ``sym4`` to [-4, 4],
``pos4`` to [0, 4], ``sym1`` to [-1, 1], ``pos1`` to [0, 1]. librosa's ``melspectrogram`` is of
energies (``power``), of which ``power_to_db`` takes decibels (``power-db``), others ``ln``
(``power-ln``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

if TYPE_CHECKING:
    from wavediff.representations.mel import MelFrontEnd

NEPER = math.log(10) / 20  # of a decibel
REFERENCE_DB, RANGE_DB = 20.0, 100.0  # of Tacotron forks
SMALLEST = 1e-10


class Scale(NamedTuple):
    """A scale of mels.

    Attributes:
        title: in messages.
        to_ln: to natural logarithms.
        low, high: the interval of its values.
        of_energies: whether its natural logarithms are of energies instead of magnitudes.
    """

    title: str
    to_ln: Callable[[Tensor], Tensor]
    low: float = -math.inf
    high: float = math.inf
    of_energies: bool = False


def _interval(low: float, high: float) -> Scale:
    def to_ln(mel: Tensor) -> Tensor:
        share = (mel - low) / (high - low)
        return NEPER * (RANGE_DB * (share - 1) + REFERENCE_DB)

    return Scale(f"[{low:g}, {high:g}] of a Tacotron fork", to_ln, low, high)


def _ln(mel: Tensor) -> Tensor:
    return mel.clamp_min(SMALLEST).log()


SCALES = {
    "sym4": _interval(-4, 4),
    "pos4": _interval(0, 4),
    "sym1": _interval(-1, 1),
    "pos1": _interval(0, 1),
    "ln": Scale("natural logarithms of magnitudes", lambda mel: mel),
    "log10": Scale("decadic logarithms of magnitudes", lambda mel: math.log(10) * mel),
    "db": Scale("decibels of magnitudes, 20 log10", lambda mel: NEPER * mel),
    "linear": Scale("magnitudes without a logarithm", _ln, low=0.0),
    "power": Scale("librosa's energies without a logarithm", _ln, low=0.0, of_energies=True),
    "power-ln": Scale(
        "natural logarithms of librosa's energies", lambda mel: mel, of_energies=True
    ),
    "power-db": Scale(
        "decibels of librosa's energies, power_to_db", lambda mel: 2 * NEPER * mel, of_energies=True
    ),
}


def convert(mel: Tensor, scale: str, front_end: MelFrontEnd) -> Tensor:
    """A mel ``[..., bands, frames]`` of another scale in that of a front-end.

    The other parameters (bands, edges, frames) must be those of the front-end already. Energies
    are not exactly those of magnitudes: a spectrum that is flat within each band is assumed.

    Raises:
        KeyError: for an unknown name.
    """
    ln = SCALES[scale].to_ln(mel.double())
    if SCALES[scale].of_energies:
        # a flat |X| has the magnitude |X| sum f and the energy |X|^2 sum f
        widths = front_end.filters.double().cpu().sum(dim=1, keepdim=True)
        ln = (ln + widths.log()) / 2
    return front_end.to_log((ln * front_end.power).exp()).to(mel.dtype)


def frame_rms(mel: Tensor, front_end: MelFrontEnd) -> Tensor:
    """Root mean square of the audio in each frame ``[frames]`` of ``mel [bands, frames]``.

    An estimate, by Parseval, for spectra that are flat within each band.
    """
    filters = front_end.filters.double().cpu()
    magnitudes = front_end.band_magnitude(mel.double()) ** front_end.power
    flat = (magnitudes / filters.sum(dim=1, keepdim=True)) ** (1 / front_end.power)
    if front_end.normalized:
        flat = flat * front_end.window_norm
    bins = (filters / filters.sum(dim=0).clamp_min(SMALLEST)).sum(dim=1, keepdim=True)
    return (2 * (bins * flat.square()).sum(dim=0) / front_end.n_fft).sqrt() / front_end.window_norm
