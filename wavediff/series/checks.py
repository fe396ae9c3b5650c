"""Checked arguments of the classes for series: a wrong one is named in a sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas
import torch

from wavediff.errors import UserError, shorten

MOST_STEPS = 10_000_000  # of training, a period
LARGEST = 1e37  # values above cannot be computed with in float32


def described(value: object) -> str:
    """A value for a message; of a large object its type."""
    if value is None or isinstance(value, bool | int | float | str | np.number):
        return shorten(repr(value) if isinstance(value, str) else value)
    return f"a {type(value).__name__}"


def whole(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """A whole number in a range.

    Raises:
        UserError: for another value.
    """
    number = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not number or value < least:
        raise UserError(f"{name} is {described(value)}: it must be {least} or more, a whole number")
    if most is not None and value > most:
        raise UserError(f"{name} is {described(value)}: it must be {most} or less")
    return int(value)


def real(name: str, value: Any, least: float = -LARGEST) -> float:
    """A number from ``least`` (not included where it is 0) to ``LARGEST``.

    Raises:
        UserError: for another value.
    """
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or math.isnan(value) or value < least or (least == 0 and value == 0):
        low = "above 0" if least == 0 else "a number"
        raise UserError(f"{name} is {described(value)}: it must be {low}")
    if value > LARGEST:
        raise UserError(f"{name} is {described(value)}: it must be {LARGEST:g} or less")
    return float(value)


def bound(name: str, value: Any) -> float | None:
    """A number; None for None and for an infinity that is no bound.

    Raises:
        UserError: for another value.
    """
    if value is None or value == (-math.inf if name == "lower" else math.inf):
        return None
    return real(name, value)


def text(name: str, value: Any) -> str | None:
    """A text, or None; a frequency of pandas as its alias.

    Raises:
        UserError: for another value.
    """
    value = getattr(value, "freqstr", value)
    if value is None or isinstance(value, str):
        return value
    raise UserError(f"{name} is {described(value)}: it must be a text")


def flag(name: str, value: Any) -> bool:
    """True or False.

    Raises:
        UserError: for another value.
    """
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise UserError(f"{name} is {described(value)}: it must be True or False")


def names(name: str, given: Any) -> list[str]:
    """One name of a column, or several, none twice.

    Raises:
        UserError: for another value.
    """
    if isinstance(given, str | int) and not isinstance(given, bool):
        return [str(given)]
    several = isinstance(given, Sequence | set | frozenset | np.ndarray | pandas.Index)
    found: Iterable[Any] = given if several else [None]
    if not all(isinstance(one, str | int) and not isinstance(one, bool) for one in found):
        raise UserError(
            f"{name} is {described(given)}: give the name of a column, or a list of them"
        )
    return list(dict.fromkeys(map(str, found)))


def levels(quantiles: Any) -> list[float]:
    """Levels of quantiles, none twice.

    Raises:
        UserError: for one outside of [0, 1].
    """
    several = isinstance(quantiles, Sequence | np.ndarray) and not isinstance(quantiles, str)
    found = list(quantiles) if several and np.ndim(quantiles) == 1 else [quantiles]
    numbers = all(isinstance(q, int | float | np.number) for q in found)
    if not found or not numbers or not all(0 <= q <= 1 for q in found):
        shown = shorten(quantiles) if several else described(quantiles)
        raise UserError(f"quantiles are {shown}: give numbers between 0 and 1, as (0.1, 0.9)")
    return list(dict.fromkeys(map(float, found)))


def device(name: str | torch.device) -> str:
    """A device of torch by its name; ``auto`` is a GPU where there is one.

    Raises:
        UserError: for another one.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(name).type
    except (RuntimeError, TypeError) as error:
        raise UserError(f"device is {described(name)}: it must be auto, cpu or cuda") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no CUDA device that torch can use: give the device cpu")
    return str(name)
