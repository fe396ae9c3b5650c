"""Detection of arrays that are not mels of a front-end, and of what they are instead.

A vocoder turns a mel of another kind into noise or silence without an error. Kinds are recognised
by properties common to all audio: logarithms have a wide range, most magnitudes are small, and
noise makes adjacent bands differ by about a quarter of a neper.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from wavediff.errors import UserError

if TYPE_CHECKING:
    from wavediff.representations.mel import MelFrontEnd

# Tolerance beyond the range of audio, by kind: networks overshoot slightly.
MARGIN = {"ln": 1.0, "log10": 0.45, "unit_db": 0.1}

# Bound on the median difference of adjacent bands, in nepers; white noise has 0.24, speech more.
ROUGHNESS = 0.215


def check_mel(
    front_end: "MelFrontEnd",
    array: np.ndarray | Tensor,
    source: str,
    known: dict[str, dict[str, Any]],
) -> Tensor:
    """``MelFrontEnd.check``, with the parameters of the named front-ends in ``known``."""
    mel = _numbers(array, source)
    own = f"a mel of the front-end {front_end.name!r}"
    advice = _advice(front_end, known)

    if mel.ndim not in (2, 3) or mel.numel() == 0:
        raise UserError(
            f"{source} has the shape {list(mel.shape)}, but {own} has "
            f"[{front_end.n_mels} bands, frames >= 1]: {advice}."
        )
    bands, frames = mel.shape[-2:]
    flat = mel if mel.ndim == 2 else mel.transpose(0, 1).reshape(bands, -1)
    if bands != front_end.n_mels:
        if frames == front_end.n_mels:
            raise UserError(
                f"{source} has the shape {list(mel.shape)}, with the bands last, but {own} has "
                f"[{front_end.n_mels} bands, frames]: transpose it."
            )
        raise UserError(
            f"{source} has {bands} bands, but {own} has {front_end.n_mels}; "
            f"{_likely(kind_of(flat), bands, known)}: {advice}."
        )
    if not mel.isfinite().all():
        count = int((~mel.isfinite()).sum())
        raise UserError(
            f"{source} has {count} NaN or infinite values of {mel.numel()}: compute it again."
        )

    kind = kind_of(flat, front_end.power)
    low, high = float(mel.min()), float(mel.max())
    lowest, highest = front_end.silence, front_end.largest
    margin = MARGIN[front_end.log] * max(front_end.power, 1)
    within = lowest - margin <= low and high <= highest + margin
    if within and kind in (front_end.log, None):
        return mel
    values = f"{source} has values from {low:.4g} to {high:.4g}"
    if kind == front_end.log:
        raise UserError(
            f"{values}, but {own} is between {lowest:.4g} (silence) and {highest:.4g} "
            f"(full scale); it has another floor, scale or level: {advice}."
        )
    raise UserError(
        f"{values}, but {own} is between {lowest:.4g} and {highest:.4g}; "
        f"{_likely(kind, bands, known)}: {_conversion(kind, front_end) or advice}."
    )


def kind_of(mel: Tensor, power: float = 1.0) -> str | None:
    """The scale of a mel, inferred from its values.

    Args:
        mel: ``[bands, frames]``.
        power: 1 for magnitudes, 2 for energies.

    Returns:
        ``ln``, ``log10`` or ``unit_db`` as in ``MelFrontEnd``, ``linear`` (no logarithm), ``db``
        (decibels), or None for constant values.
    """
    mel = torch.nan_to_num(mel)
    low, high = float(mel.min()), float(mel.max())
    if high - low < 1e-6:
        return None
    if low >= -0.1:
        if low >= 0 and (_is_linear(mel) or (high > 1.1 and low < 0.02 * high)):
            return "linear"
        return "unit_db" if high <= 1.1 else "ln"
    if low < -25 or high > 13.5:
        return "db"
    # log10 max(m, 1e-5) is at least -5; ln mels with such a minimum are from noisy recordings
    if low > -5.2 and high < 1.3 and high - low > 1 and mel.shape[1] >= 8:
        roughness = float((mel[1:] - mel[:-1]).abs().median()) / power
        if roughness < ROUGHNESS:
            return "log10"
    return "ln"


def _is_linear(mel: Tensor) -> bool:
    """Whether values >= 0 are magnitudes: few are large, or large ones differ between bands."""
    high = float(mel.max())
    strong = mel[mel > 0.1 * high]
    if strong.numel() < 0.15 * int((mel > 0).sum()) and float(strong.median()) < 0.3 * high:
        return True
    mean = (mel[1:] + mel[:-1]) / 2
    loud = mean > 0.3 * high
    if mel.shape[1] < 8 or not loud.any():
        return False
    # decibels mapped to [0, 1] differ by about 0.03 at any value, magnitudes in proportion to it
    difference = float(((mel[1:] - mel[:-1]).abs() / mean)[loud].median())
    return difference > max(0.18, 0.15 / high)


def _numbers(array: np.ndarray | Tensor, source: str) -> Tensor:
    """Convert to float32 on the CPU; refuse other than real numbers."""
    if isinstance(array, np.ndarray):
        if array.dtype.kind not in "fiu":
            raise UserError(f"{source} holds {array.dtype} values: a mel is an array of numbers.")
        array = torch.from_numpy(np.array(array, dtype=np.float32, order="C"))
    if not isinstance(array, Tensor):
        raise UserError(
            f"{source} is a {type(array).__name__}: a mel is an array or a tensor [bands, frames], "
            "or several of one length [batch, bands, frames]."
        )
    if array.is_complex() or array.dtype == torch.bool:
        raise UserError(f"{source} holds {array.dtype} values: a mel is an array of real numbers.")
    return array.detach().float().cpu()


def _likely(kind: str | None, bands: int, known: dict[str, dict[str, Any]]) -> str:
    """Describe the likely origin of an array of this kind and number of bands."""
    names = [name for name, p in known.items() if kind == p["log"] and p["n_mels"] == bands]
    if names:
        return f"it looks like a mel of {' or '.join(names)}"
    if kind in ("ln", "unit_db") and any(p["log"] == kind for p in known.values()):
        family = [name for name, p in known.items() if p["log"] == kind]
        return f"it looks like a mel of {' or '.join(family)} with {bands} bands"
    scales = {
        "linear": "it looks like linear magnitudes without a logarithm",
        "log10": "it looks like decadic logarithms (log10)",
        "db": "it looks like decibels (20 log10)",
    }
    return scales.get(kind or "", f"no named front-end has {bands} bands of such values")


def _conversion(kind: str | None, front_end: "MelFrontEnd") -> str | None:
    """How to convert to the scale of the front-end, if only the logarithm differs."""
    kind = kind or ""
    if front_end.log == "ln":
        return {
            "linear": f"take ln(max(mel, {front_end.floor:g})) first",
            "log10": f"multiply it by ln 10 = {math.log(10):.6f} first",
            "db": f"multiply it by ln(10) / 20 = {math.log(10) / 20:.6f} first",
        }.get(kind)
    if front_end.log == "log10":
        return {
            "linear": f"take log10(max(mel, {front_end.floor:g})) first",
            "ln": f"divide it by ln 10 = {math.log(10):.6f} first",
            "db": "divide it by 20 first",
        }.get(kind)
    return None


def _advice(front_end: "MelFrontEnd", known: dict[str, dict[str, Any]]) -> str:
    """How to compute a mel of the front-end."""
    if front_end.name not in known:
        return "compute it with that front-end"
    changed = " ".join(
        f"{key}={'null' if value is None else value}"
        for key, value in front_end.settings().items()
        if value != known[front_end.name].get(key)
    )
    options = f" --set {changed}" if changed else ""
    return f"compute it with `wavediff mel --front-end {front_end.name}{options}`"
