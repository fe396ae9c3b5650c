"""Numbers as people write them: thousands separators, decimal commas, currency signs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas

from wavediff.errors import UserError, shorten

# what stands for a missing value, beside what pandas takes for one
MISSING = frozenset(
    (
        "-", "--", "---", "\u2013", "\u2014", ".", "..", "...", "?", "*", "na", "n/a", "n.a.",
        "#n/a", "nan", "nil", "null", "none", "missing", "#div/0!", "#value!", "#ref!", "#num!",
    )
)  # fmt: skip
TRUTH = {"true": True, "false": False}
SIGN = (
    r"[$\u20ac\u00a3\u00a5\u20b9\u20bd\u20a9\u20ba\u20aa%\u2030]|[A-Z]{1,3}\$|[A-Z]{3}|kr\.?|z\u0142"
    r"|Fr\.|K\u010d"
)
SHARES = frozenset("%\u2030")  # signs that change a number's value
MINUS = "-\u2212"
SPACES = " \u00a0\u2009\u202f"
# by decimal mark: -$1,234.56, (1 234 EUR), 12.5 %, 1'234-; no thousands follow a zero
AMOUNTS = {
    decimal: re.compile(
        rf"((?P<first>{SIGN})\s{{0,2}}(?=\())?(?P<open>\()?(?P<minus>[{MINUS}+])?\s{{0,2}}(?P<before>{SIGN})?\s{{0,2}}(?P<inner>[{MINUS}])?"
        rf"(?P<whole>(?!0+[{marks}])\d{{1,3}}(?:(?P<mark>[{marks}])\d{{2,3}}(?:(?P=mark)\d{{2,3}})*(?<=\d{{3}}))?"
        rf"|\d+|(?={re.escape(decimal)}\d))"
        rf"(?P<rest>{re.escape(decimal)}\d*)?(?P<exponent>[eE][+-]?\d+)?(?P<trail>[{MINUS}])?\s{{0,2}}(?P<after>{SIGN})?"
        rf"(?P<last>[{MINUS}])?(?(open)\))"
    )
    for decimal, marks in ((".", f"'\u2019_,{SPACES}"), (",", f"'\u2019_.{SPACES}"))
}

LONGEST = 100  # characters of an amount
SIDES = ("first", "before", "after")


@dataclass(frozen=True)
class Notation:
    """How the numbers of a column are written, as far as it is known.

    Attributes:
        likely: the decimal mark where both are possible.
        decimal: the decimal mark; None as long as plain numbers were found only.
        marks: thousands separators.
        signs: of a currency or per cent.
        points: whether a plain number had a decimal point.
        bare: whether a number, but for 0, had no sign.
        doubtful: a number that was read with a thousands separator, as long as that may be a
            decimal mark in all of them.
    """

    likely: str = "."
    decimal: str | None = None
    marks: frozenset[str] = frozenset()
    signs: frozenset[str] = frozenset()
    points: bool = False
    bare: bool = False
    doubtful: str | None = None

    @property
    def is_marked(self) -> bool:
        """Whether numbers have a sign or thousands separators."""
        return bool(self.marks or self.signs)


def stripped(cell: object) -> object:
    """A cell without spaces around it; None for what stands for a missing value."""
    if isinstance(cell, str):
        cell = cell.strip()
        word = cell.casefold() if len(cell) < 10 else cell
        return None if not cell or word in MISSING else TRUTH.get(word, cell)
    return cell if isinstance(cell, bool | int | float | np.generic) else _text(cell)


def _text(cell: object) -> object:
    """Decimal numbers as they are, lists and the like as text."""
    return cell if cell is None or hasattr(cell, "as_tuple") else str(cell)


def numbers(column: pandas.Series, known: Notation) -> tuple[np.ndarray, Notation] | int:
    """The values of a piece of a column, NaN where missing, and what it shows of the notation.

    Args:
        column: text, or numbers and text.
        known: the notation of earlier pieces.

    Returns:
        (float64, the notation), or the place of the first cell that is not a number like the
        others.
    """
    cells = column.map(stripped)
    given = np.flatnonzero(cells.notna())
    values = np.full(len(cells), np.nan)
    if known.decimal is None and known.likely == ".":
        found = _plain(cells.iloc[given])
        if found is not None:
            values[given] = found
            points = known.points or bool((found != np.rint(found)).any())
            return values, replace(known, points=points, bare=known.bare or bool(found.any()))
    texts = [str(cell) for cell in cells.iloc[given]]
    order = [known.likely, *(mark for mark in AMOUNTS if mark != known.likely)]
    place = 0
    for decimal in order if known.decimal is None else [known.decimal]:
        if decimal == "," and known.points:
            continue
        matches = [amount(text, decimal) for text in texts]
        parts = [match.groupdict() for match in itertools.takewhile(bool, matches) if match]
        alike, shown = _alike(parts, known)
        place = max(place, alike)
        if alike < len(texts) or (shown.marks and _may_be_separators(parts)):
            continue
        values[given] = [_value(part) for part in parts]
        doubtful = _doubtful(known, decimal, texts)
        return values, replace(shown, decimal=decimal, doubtful=doubtful)
    return int(given[_strangest(texts, place)])


def _alike(parts: Sequence[Mapping[str, str | None]], known: Notation) -> tuple[int, Notation]:
    """How many amounts have one separator and one sign, and which.

    Numbers without a sign may stand beside a currency's, but not beside per cent.
    """
    marks, signs, bare = known.marks, known.signs, known.bare
    for number, part in enumerate(parts):
        mark = part["mark"] or ""
        marks = marks | ({" " if mark in SPACES else mark} if mark else set())
        own = {part[side] or "" for side in SIDES} - {""}
        signs, bare = signs | own, bare or not (own or _value(part) == 0)
        if len(marks) > 1 or len(signs) > 1 or (bare and signs & SHARES):
            return number, known
    return len(parts), replace(known, marks=marks, signs=signs, bare=bare)


def _may_be_separators(parts: Sequence[Mapping[str, str | None]]) -> bool:
    """Whether all decimal marks may as well be thousands separators, of another kind."""
    rests = [part["rest"] for part in parts if part["rest"]]
    both = any(part["rest"] and part["mark"] for part in parts)
    return bool(rests) and not both and all(len(rest) == 4 for rest in rests)


def _plain(cells: pandas.Series) -> np.ndarray | None:
    """Numbers without signs and separators; None where there are others."""
    try:
        return pandas.to_numeric(cells).to_numpy(np.float64)
    except OverflowError:  # of a whole number with hundreds of digits
        return cells.map(float).to_numpy(np.float64)
    except (ValueError, TypeError):
        return None


def _doubtful(known: Notation, decimal: str, texts: list[str]) -> str | None:
    """``Notation.doubtful`` after these numbers."""
    if known.decimal is not None and known.doubtful is None:
        return None
    mark = "," if decimal == "." else "."
    if known.points or not all(amount(text, mark) for text in texts):
        return None
    return known.doubtful or next((text for text in texts if mark in text), None)


def amount(text: str, decimal: str) -> re.Match[str] | None:
    """The parts of a number with that decimal mark; None for another text."""
    return AMOUNTS[decimal].fullmatch(text) if len(text) <= LONGEST else None


def is_amount(text: str) -> bool:
    """Whether a text is a number in any notation."""
    return any(amount(text, decimal) for decimal in AMOUNTS)


def _value(part: Mapping[str, str | None]) -> float:
    digits = re.sub(r"\D", "", part["whole"] or "") or "0"
    rest = (part["rest"] or "").replace(",", ".")
    signs = (part[side] for side in ("minus", "inner", "trail", "last"))
    negative = part["open"] or any(sign and sign in MINUS for sign in signs)
    return float(digits + rest + (part["exponent"] or "")) * (-1 if negative else 1)


def _strangest(texts: list[str], number: int) -> int:
    """The first cell that is no number in any notation, or else ``number``."""
    for place, text in enumerate(texts):
        if not is_amount(text):
            return place
    return min(number, len(texts) - 1)


def has_decimal_comma(cell: str) -> bool:
    """Whether a number can only be read with a decimal comma."""
    return "," in cell and amount(cell, ",") is not None and amount(cell, ".") is None


def refused(table: str, name: str, row: str, cell: object) -> UserError:
    """The error for a cell that is not a number."""
    return UserError(
        f"{table}: {shorten(cell)!r} in column {shorten(name)}, {row}, is not a number like the "
        "others: correct it, leave the cell empty where the value is missing, or leave the column "
        "out by naming the others as --targets"
    )
