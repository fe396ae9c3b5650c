"""Sentences about the series of a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wavediff.errors import listed, shorten
from wavediff.series.series_set import Series
from wavediff.series.table import Table

# A value is reported as very large above the first, or above the second times the median |value|.
LARGE, OUTLYING = 1e15, 1e6
CODES = frozenset((99, 999, 9999, 99999, 999999, 99.9, 999.9, 9999.9, 99.99, 999.99, 9999.99))
FAR = 3.0  # times the size of the other values
NAMED = 5  # variables in a sentence


def odd(items: Sequence[Series], targets: Sequence[str]) -> list[str]:
    """Notes about variables that are suspicious: constant, or with very large values."""
    constant, large = [], []
    for v, name in enumerate(targets):
        values = np.concatenate([item.values[v] for item in items])
        values = values[~np.isnan(values)]
        if len(values) < 2:
            continue
        low, high = values.min(), values.max()
        if low == high:
            constant.append(f"{shorten(name, 30)} ({low:g})")
            continue
        sizes = np.abs(values, out=values)
        largest, usual = sizes.max(), np.median(sizes)
        if largest > LARGE or largest > OUTLYING * usual > 0:
            size = f"up to {largest:.3g}, half of them below {usual:.3g}"
            large.append(f"{shorten(name, 30)} ({size})")
    notes = []
    for name, code in _codes(items, targets):
        notes.append(
            f"{shorten(name, 30)} has {code:g}, far from its other values, which is used as it is: "
            "empty its cells if it stands for a missing value"
        )
    if constant:
        notes.append(f"the same value in every row: {listed(constant, NAMED)}")
    if large:
        notes.append(
            "very large values, which are used as they are (empty their cells if they are errors): "
            f"{listed(large, NAMED)}"
        )
    return notes


def _codes(items: Sequence[Series], targets: Sequence[str]) -> list[tuple[str, float]]:
    """Variables with a number that usually stands for a missing value, and that number."""
    found = []
    for v, name in enumerate(targets):
        values = np.concatenate([item.values[v] for item in items])
        values = values[~np.isnan(values)]
        if len(values) < 2:
            continue
        code = next((end for end in (values.min(), values.max()) if abs(end) in CODES), None)
        others = values[values != code]
        if code is None or not len(others) or len(others) < len(values) / 2:
            continue
        low, high = others.min(), others.max()
        if max(low - code, code - high) > FAR * max(high - low, abs(low), abs(high)):
            found.append((name, float(code)))
    return found


def summary(
    table: Table,
    items: Sequence[Series],
    freq: str | None,
    item_column: str | None,
    targets: Sequence[str],
) -> str:
    """The first note."""
    steps = sum(series.length for series in items)
    missing = sum(int(np.isnan(series.values).sum()) for series in items)
    each = f"{len(items)} items by {shorten(item_column)}" if item_column else "one item"
    return (
        f"{table.name}: {each}, {steps} steps by {shorten(table.time_name)} at frequency "
        f"{freq or 'none (plain numbers)'}, variables {listed(targets, NAMED)}, "
        f"{100 * missing / (steps * len(targets)):.3g} % missing"
    )


def longer(items: Sequence[Series], names: Sequence[str]) -> list[str]:
    """A sentence where some variables have values after others end: a known future?"""
    ends = np.array(
        [
            [
                np.flatnonzero(~np.isnan(row))[-1] if np.isfinite(row).any() else -1
                for row in x.values
            ]
            for x in items
        ]
    )
    ahead = (ends - ends.min(1, keepdims=True) >= 2).all(0)
    if not ahead.any() or ahead.all():
        return []
    more_known = [name for name, more in zip(names, ahead, strict=True) if more]
    shorter = [name for name, more in zip(names, ahead, strict=True) if not more]
    return [
        f"{listed(more_known)} has values after {listed(shorter)} ends: give --known "
        f"{','.join(map(shorten, more_known[:NAMED]))} if they are known in advance, "
        "or they are forecast as well"
    ]
