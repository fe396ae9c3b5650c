"""Affine scaling of windows, with a location and scale for each window and variable."""

from dataclasses import dataclass

import torch
from torch import Tensor

from wavediff.errors import UserError

KINDS = ("mean_abs", "standard", "robust", "last", "joint", "none")
# A spread below this share of the largest value is rounding: float32 has 7 digits, float64 15.
TINY, TINY_DOUBLE = 1e-6, 1e-13


@dataclass(frozen=True)
class Affine:
    """x = loc + scale z.

    Attributes:
        loc: float64 ``[..., V, 1]``.
        scale: like ``loc``, positive and finite.
    """

    loc: Tensor
    scale: Tensor

    def apply(self, x: Tensor) -> Tensor:
        """z of x ``[..., V, T]``, computed in float64, in the precision of x."""
        return ((x.double() - self.loc) / self.scale).to(x.dtype)

    def invert(self, z: Tensor) -> Tensor:
        """x of z ``[..., V, T]``, float64, in the units of the data."""
        return z.double() * self.scale + self.loc

    def to(self, device: torch.device) -> "Affine":
        """The same on another device."""
        return Affine(self.loc.to(device), self.scale.to(device))


def fit(values: Tensor, present: Tensor, kind: str = "mean_abs") -> Affine:
    """The scaling of windows by those cells where ``present`` is not 0.

    - ``mean_abs``: location 0, scale mean |y| (GluonTS's MeanScaler).
    - ``standard``: mean and standard deviation.
    - ``robust``: median and interquartile range / 1.349.
    - ``last``: the last value and the root mean square distance from it, for random walks.
    - ``joint``: mean and standard deviation over all variables, which share a unit.
    - ``none``: 0 and 1.

    The scale of a constant is its |y|, that of zeros and of a window without values 1: no scale is
    0, NaN or infinite. Missing cells have no influence, even if they are NaN.

    Args:
        values: ``[..., V, T]``.
        present: like ``values``.
        kind: one of ``KINDS``.

    Raises:
        UserError: for another kind.
    """
    if kind not in KINDS:
        raise UserError(f"scaling={kind} is invalid: choose one of {', '.join(KINDS)}")
    if kind == "joint":
        flat, there = (part.flatten(-2)[..., None, :] for part in (values, present))
        one = fit(flat, there, "standard")
        shape = (*values.shape[:-1], 1)
        return Affine(one.loc.expand(shape), one.scale.expand(shape))
    known = present.bool()
    tiny = TINY_DOUBLE if values.dtype == torch.float64 else TINY
    x = torch.where(known, values.double(), 0.0)
    count = known.sum(-1, keepdim=True).clamp(min=1)
    largest = x.abs().amax(-1, keepdim=True)
    largest = torch.where(largest > 0, largest, 1.0)
    x = x / largest  # so that no square overflows
    zero = torch.zeros_like(largest)
    if kind == "none":
        return Affine(zero, zero + 1)
    size = x.abs().sum(-1, keepdim=True) / count
    if kind == "mean_abs":
        loc, spread = zero, size
    else:
        loc = x.sum(-1, keepdim=True) / count
        if kind == "last":
            number = torch.arange(x.shape[-1], device=x.device)
            loc = x.gather(-1, torch.where(known, number, 0).amax(-1, keepdim=True))
        square = torch.where(known, (x - loc) ** 2, 0.0).sum(-1, keepdim=True) / count
        spread = square.sqrt()
        if kind == "robust":
            points = torch.where(known, x, torch.nan)
            low, median, high = torch.nanquantile(
                points, points.new_tensor([0.25, 0.5, 0.75]), dim=-1, keepdim=True
            )
            loc = median.nan_to_num(0.0)
            robust = (high - low).nan_to_num(0.0) / 1.349
            spread = torch.where(robust > tiny, robust, spread)  # else most values are the same
    spread = torch.where(spread > tiny, spread, size)
    return Affine(loc * largest, torch.where(spread > 0, spread, 1 / largest) * largest)


def count(known: Tensor, kind: str) -> Tensor:
    """The number of known cells that ``fit`` uses for each variable.

    Args:
        known: ``[..., V, T]``.
        kind: one of ``KINDS``.

    Returns:
        ``[..., V, 1]``.
    """
    found = known.bool().sum(-1, keepdim=True)
    return found.sum(-2, keepdim=True).expand_as(found) if kind == "joint" else found
