"""The settings that all datasets share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, TypeVar

from wavediff.errors import UserError

T = TypeVar("T")

BALANCES = ("clips", "seconds")


@dataclass(frozen=True)
class Loader:
    """What ``conf/data/loader.yaml`` sets; ``wavediff.data`` says what each of them means. Raises
    UserError for a value that makes no sense."""

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
    """{"train", "test", "validation"} by number modulo ``every``; a None takes a number only.

    An item that comes again, to be drawn oftener, counts by its first number; it is tested once.
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
    """Raises UserError about data.``name`` unless ``good``."""
    if not good:
        raise UserError(f"data.{name}={value} makes no sense: give something like {example}")


def is_number(value: object) -> bool:
    """A real number, not true or false."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_range(value: object) -> bool:
    """[lowest, highest]."""
    return (
        isinstance(value, Sequence)
        and len(value) == 2
        and all(map(is_number, value))
        and value[0] <= value[1]
    )


def _is_split(value: object) -> bool:
    """A part may be None (there is none); a remainder never reached is a slip."""
    if not isinstance(value, Mapping) or set(value) - {"every", "test", "validation"}:
        return False
    every = value.get("every")
    if type(every) is not int or every < 1:
        return False
    numbers = [value[part] for part in ("test", "validation") if value.get(part) is not None]
    return all(type(n) is int and 0 <= n < every for n in numbers) and (
        len(numbers) == len(set(numbers))
    )
