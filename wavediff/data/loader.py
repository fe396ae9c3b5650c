"""The settings that all datasets of audio share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, TypeGuard, TypeVar

from wavediff.errors import UserError, shorten

T = TypeVar("T")

BALANCES = ("clips", "seconds")


@dataclass(frozen=True)
class Loader:
    """The settings of ``conf/data/loader.yaml``, documented in ``wavediff.data``.

    Raises:
        UserError: for an invalid value.
    """

    split: Mapping[str, int | None] | None
    normalize: float | None
    gain_db: Sequence[float] | None
    min_seconds: float
    max_seconds: float
    balance: str
    cache: bool
    workers: int
    mix: Mapping[str, Any] | None

    def __post_init__(self) -> None:
        parts = self.split
        check("split", parts, parts is None or _is_split(parts), "{every: 20, test: 0, ...}")
        peak = self.normalize
        check("normalize", peak, peak is None or (is_number(peak) and peak > 0), "0.95")
        gain = self.gain_db
        check("gain_db", gain, gain is None or is_range(gain), "[-6, 0]")
        longest = self.max_seconds
        check("max_seconds", longest, is_number(longest) and longest > 0, "30")
        shortest = self.min_seconds
        fits = is_number(shortest) and 0 <= shortest <= longest
        check("min_seconds", shortest, fits, "0.5, and no more than data.max_seconds")
        check("balance", self.balance, self.balance in BALANCES, " or ".join(BALANCES))
        check("cache", self.cache, isinstance(self.cache, bool), "true")
        processes = type(self.workers) is int and self.workers >= 0
        check("workers", self.workers, processes, "2, or 0 to decode in the training process")
        mix = self.mix is None or isinstance(self.mix, Mapping)
        check("mix", self.mix, mix, "null, or the settings of conf/data/mixing.yaml")


LOADER = tuple(field.name for field in fields(Loader))


def split(
    items: Sequence[T | None],
    every: int | None,
    test: int | None = None,
    validation: int | None = None,
) -> dict[str, list[T]]:
    """Split items by their number modulo ``every``.

    An item that is repeated, to be drawn more often, keeps its first number and is not repeated
    for testing and validation.

    Args:
        items: the items; a None has a number but is in no part.
        every: the modulus; None puts all into training.
        test: the remainder of items for testing, or None.
        validation: the remainder of items for validation, or None.

    Returns:
        ``{"train", "test", "validation"}`` -> items.
    """
    parts: dict[str, list[T]] = {"train": [], "test": [], "validation": []}
    numbers: dict[T, int] = {}
    for number, item in enumerate(items):
        first = number if item is None else numbers.setdefault(item, number)
        part = "train"
        if every is not None:
            part = {test: "test", validation: "validation"}.get(first % every, "train")
        if item is not None and (part == "train" or first == number):
            parts[part].append(item)
    return parts


def check(name: str, value: object, good: bool, example: str) -> None:
    """Check a setting.

    Raises:
        UserError: about ``data.{name}``, with an example of a valid value, unless ``good``.
    """
    if not good:
        raise UserError(f"data.{name}={shorten(value)} is invalid. Use, for example, {example}.")


def is_number(value: object) -> TypeGuard[float]:
    """Return whether ``value`` is a real number, not a bool."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_range(value: object) -> bool:
    """Return whether ``value`` is [min, max]."""
    return (
        isinstance(value, Sequence)
        and len(value) == 2
        and all(map(is_number, value))
        and value[0] <= value[1]
    )


def _is_split(value: object) -> bool:
    """Return whether ``value`` is a split: remainders below ``every``, or None for no part."""
    if not isinstance(value, Mapping) or set(value) - {"every", "test", "validation"}:
        return False
    every = value.get("every")
    if type(every) is not int or every < 1:
        return False
    numbers = [value[part] for part in ("test", "validation") if value.get(part) is not None]
    return all(type(n) is int and 0 <= n < every for n in numbers) and (
        len(numbers) == len(set(numbers))
    )
