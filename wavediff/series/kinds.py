"""What values a variable can take: its bounds, and whether it counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

Kind = Literal["auto", "real", "positive", "count"]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True)
class Range:
    """The values of a variable.

    Attributes:
        lower: least value; None for no bound.
        upper: greatest value; None for no bound.
        whole: whether there are whole numbers only.
    """

    lower: float | None = None
    upper: float | None = None
    whole: bool = False

    def apply(self, paths: np.ndarray) -> np.ndarray:
        """``paths`` with every value moved into the range."""
        paths = np.rint(paths) if self.whole else paths
        if self.lower is None and self.upper is None:
            return paths
        return np.clip(paths, self.lower, self.upper)

    def impute(self, values: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """``values [T]``, those that were missing moved into the range.

        Whole numbers are rounded so that their sums from the beginning on are those of ``values``:
        small counts, rounded one by one, would nearly all be 0.
        """
        found = values.copy()
        found[missing] = np.clip(values[missing], self.lower, self.upper)
        if self.whole:
            at = missing & np.isfinite(values)
            sums = np.rint(np.cumsum(found[at]))
            found[at] = np.clip(np.diff(sums, prepend=0.0), self.lower, self.upper)
        return found


def range_of(
    rows: Sequence[np.ndarray], kind: Kind, lower: float | None = None, upper: float | None = None
) -> Range:
    """The range of a variable.

    ``auto`` finds counts (whole numbers, none negative) and values that are never negative, by at
    least 8 known values; others are real.

    Args:
        rows: the variable of each item, NaN where missing.
        kind: of the variable.
        lower: least value, instead of what follows from ``kind``.
        upper: greatest value.
    """
    if kind == "auto":
        kind = _found(rows)
    floor = 0.0 if kind in ("positive", "count") else None
    return Range(floor if lower is None else lower, upper, kind == "count")


def _found(rows: Sequence[np.ndarray]) -> Kind:
    known = [row[~np.isnan(row)] for row in rows]
    if sum(map(len, known)) < 8 or any((row < 0).any() for row in known):
        return "real"
    whole = all((row == np.rint(row)).all() and (row < 2**53).all() for row in known)
    return "count" if whole else "positive"
