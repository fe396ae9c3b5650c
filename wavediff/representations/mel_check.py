"""Detection of arrays that are not mels of a front-end, and of what they are instead.

A vocoder turns a mel of another kind into noise or silence without an error. Kinds are recognised
by properties common to all audio: logarithms have a wide range, most magnitudes are small, noise
makes adjacent bands differ by about a quarter of a neper, and no frame is louder than full scale.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from wavediff.dense import require_dense
from wavediff.errors import UserError
from wavediff.representations.mel_scales import SCALES, convert, frame_rms

if TYPE_CHECKING:
    from wavediff.representations.mel import MelFrontEnd

# Tolerance beyond the range of audio, by kind: networks overshoot slightly.
MARGIN = {"ln": 1.0, "log10": 0.45, "unit_db": 0.1}

# Bound on the median difference of adjacent bands, in nepers; white noise has 0.24, speech more.
ROUGHNESS = 0.215
HIGH_FLOOR = -5.2  # a natural log mel above it is of noise, and as rough

# Bounds on medians over cells above the floor, in nepers: differences of adjacent bands, and in the
# upper half the lower quartile of second differences of bands, and second differences of frames.
# Energies, of twice the logarithm, are within them; magnitudes of speech have at most 0.51 and 0.26
# of the first two, whatever the noise and the level.
CONTRASTS = ((0.54, 1.3), (0.265, 0.52), (0.22, 0.95))
LEAST = 250  # cells that medians are taken of

CONTRAST = (0.16, 0.6)  # of the first of them, for a scale that is suggested

LOUDEST_RMS = 1.25  # of a frame; a full-scale square wave has 0.95
QUIETEST_RMS = 1e-4  # of the loudest frame of a mel on a scale that is suggested
FLOORS = (-4.0, -1.0, 0.0)  # of Tacotron forks, where silence is clipped
TIED = 1e-3  # share of cells at such a floor, at least
CELLS = 400_000  # that statistics are of


def check_mel(
    front_end: "MelFrontEnd",
    array: np.ndarray | Tensor,
    source: str,
    known: dict[str, dict[str, Any]],
    scale: str | None = None,
) -> Tensor:
    """``MelFrontEnd.check``, with the parameters of the named front-ends in ``known``."""
    if scale is not None and scale not in SCALES:
        raise UserError(f"there is no mel scale {scale!r}: use one of {', '.join(SCALES)}.")
    mel = numbers(array, source)
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
        bad = (~flat.isfinite()).nonzero()
        band, frame = bad[0].tolist()
        raise UserError(
            f"{source} has {len(bad)} NaN or infinite values of {mel.numel()}, the first in band "
            f"{band} of frame {frame}: compute it again."
        )
    given = mel
    if scale is not None:
        mel = convert(mel, scale, front_end)
        flat = convert(flat, scale, front_end)

    kind = kind_of(flat, front_end.power)
    low, high = float(mel.min()), float(mel.max())
    lowest, highest = front_end.silence, front_end.largest
    margin = MARGIN[front_end.log] * max(front_end.power, 1)
    within = lowest - margin <= low and high <= highest + margin
    loud = _loudest(flat, front_end) > LOUDEST_RMS
    doubt = ""
    if scale is None and within and kind in (front_end.log, None):
        doubt = "would be audio beyond full scale" if loud else _doubt(flat, front_end)
        if not doubt:
            return mel
    trusted = not loud or scale == front_end.log  # its own scale, asserted
    if scale is not None and within and trusted and _inside(given, scale):
        return mel

    values = f"{source} has values from {float(given.min()):.4g} to {float(given.max()):.4g}"
    options = _options(given, front_end, scale)
    if scale is not None:
        raise UserError(
            f"{values}, which as {SCALES[scale].title} (--mel-scale {scale}) is out of range or "
            f"audio beyond full scale, for {own}{options or f': {advice}'}."
        )
    if doubt:
        certain = f"--mel-scale {front_end.log} takes it as it is"
        raise UserError(f"{values}, but as {own} it {doubt}{options or f': {advice}'}; {certain}.")
    if kind == front_end.log:
        raise UserError(
            f"{values}, but {own} is between {lowest:.4g} (silence) and {highest:.4g} "
            f"(full scale); it has another floor, scale or level{options or f': {advice}'}."
        )
    if options and kind != "unit_db" and _tied(flat):  # clipped, as no other kind is
        raise UserError(f"{values}, but {own} is between {lowest:.4g} and {highest:.4g}{options}.")
    raise UserError(
        f"{values}, but {own} is between {lowest:.4g} and {highest:.4g}; "
        f"{_likely(kind, bands, known)}: {_conversion(kind, front_end) or advice}{options}."
    )


def _doubt(mel: Tensor, front_end: "MelFrontEnd") -> str:
    """Why ``mel [bands, frames]`` within the range of a front-end is not one of audio, or ""."""
    if front_end.log != "ln" or front_end.power != 1:
        return ""
    low = float(mel.min())
    if tied := _tied(mel):
        return f"would have no silence below {low:.4g}, where {tied} values lie"
    if mel.shape[1] < 8:
        return ""
    if low > HIGH_FLOOR and float((mel[1:] - mel[:-1]).abs().median()) < ROUGHNESS:
        return "would be noise that is smoother than any"
    if _is_of_energies(mel):
        return "differs between bands and frames about twice as much as magnitudes"
    return ""


def _loudest(mel: Tensor, front_end: "MelFrontEnd") -> float:
    """The largest ``frame_rms`` of ``mel [bands, frames]``, in bounded memory."""
    parts = mel.split(max(1, CELLS // len(mel)), dim=1)
    return max(float(frame_rms(part, front_end).max()) for part in parts)


def _inside(mel: Tensor, name: str) -> bool:
    """Whether values are within a scale's interval, but for what networks overshoot."""
    scale, low, high = SCALES[name], float(mel.min()), float(mel.max())
    margin = 0.1 * (min(scale.high, high) - max(scale.low, low))
    return low >= scale.low - margin and high <= scale.high + margin


def _tied(mel: Tensor) -> int:
    """Values at the lower end of a Tacotron fork's interval, if that is where many lie."""
    low = float(mel.min())
    tied = int(((mel - low).abs() < 1e-6).sum())
    at_floor = min(abs(low - floor) for floor in FLOORS) < 1e-6
    return tied if at_floor and tied > max(2, TIED * mel.numel()) else 0


def _is_of_energies(mel: Tensor) -> bool:
    """Whether natural logarithms ``[bands, frames]`` are of energies instead of magnitudes."""
    mel = mel[:, : CELLS // len(mel)]
    sounding = mel > mel.min() + 0.05
    upper, heard = mel[len(mel) // 2 :], sounding[len(mel) // 2 :]
    bands = (mel[1:] - mel[:-1]).abs()[sounding[1:] & sounding[:-1]]
    second = (upper[2:] - 2 * upper[1:-1] + upper[:-2]).abs()
    second = second[heard[2:] & heard[1:-1] & heard[:-2]]
    frames = (upper[:, 2:] - 2 * upper[:, 1:-1] + upper[:, :-2]).abs()
    frames = frames[heard[:, 2:] & heard[:, 1:-1] & heard[:, :-2]]
    if min(len(bands), len(second), len(frames)) < LEAST:
        return False
    found = (bands.median(), second.quantile(0.25), frames.median())
    bounds = zip(found, CONTRASTS, strict=True)
    return all(low < float(value) < high for value, (low, high) in bounds)


def _options(mel: Tensor, front_end: "MelFrontEnd", given: str | None) -> str:
    """What converts a mel of another scale, for the end of a message; "" for nothing."""
    names = _fitting(mel, front_end, given)
    options = [f"--mel-scale {name} if it is {SCALES[name].title}" for name in names]
    ways = [f"give `wavediff vocode` {', or '.join(options)}"] if options else []
    flat = _flat(mel)
    if abs(float(flat.mean())) < 0.5 and 0.5 < float(flat.std()) < 1.5 and float(flat.min()) < -1:
        ways.append(
            "if it is normalised to mean 0 and variance 1, multiply it by the standard deviation "
            "and add the mean that it was normalised by"
        )
    return f"; {', or '.join(ways)}" if ways else ""


def _fitting(mel: Tensor, front_end: "MelFrontEnd", given: str | None) -> list[str]:
    """Names of the other scales that a mel may be of."""
    flat = _flat(mel)
    others = [name for name in SCALES if name not in (given, front_end.log)]
    return [name for name in others if _fits(flat, name, front_end)]


def _flat(mel: Tensor) -> Tensor:
    """``[bands, frames]`` of one or several mels, as many frames as statistics need."""
    flat = mel if mel.ndim == 2 else mel.transpose(0, 1).reshape(mel.shape[1], -1)
    return flat[:, : CELLS // len(flat)]


def _fits(mel: Tensor, name: str, front_end: "MelFrontEnd") -> bool:
    """Whether ``mel [bands, frames]`` may be of the scale of a name."""
    scale, low, high = SCALES[name], float(mel.min()), float(mel.max())
    width = scale.high - scale.low
    if low < scale.low - 0.05 * min(width, 1) or high > scale.high + 0.05 * width:
        return False
    if math.isfinite(width) and high < scale.low + 0.3 * width:  # the loudest cell is below -70 dB
        return False
    ln = convert(mel, name, front_end)
    rms = float(frame_rms(ln, front_end).max())
    if not QUIETEST_RMS < rms < LOUDEST_RMS or float(ln.max()) > front_end.largest:
        return False
    if _tied(mel) and abs(low - scale.low) < 1e-6:  # clipped as on this scale
        return True
    low, high = CONTRAST
    return front_end.log != "ln" or (not _doubt(ln, front_end) and low < _contrast(ln) < high)


def _contrast(mel: Tensor) -> float:
    """Median difference of adjacent bands, in the cells above the floor."""
    sounding = mel > mel.min() + 0.05
    cells = (mel[1:] - mel[:-1]).abs()[sounding[1:] & sounding[:-1]]
    return float(cells.median()) if len(cells) else 0.0


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


def numbers(array: np.ndarray | Tensor, source: str) -> Tensor:
    """An array as float32 on the CPU. Raises UserError for other than real numbers."""
    if isinstance(array, np.ndarray | Tensor):
        require_dense(array, f"{source} is")
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
