"""Numbers written like the others of their column: decimal mark, thousands separator, sign."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from wavediff.series.amounts import Notation, amount, stripped

DIGITS = 7  # of a number, at least
LARGE = 1e15  # from which numbers have an exponent


@dataclass(frozen=True)
class Style:
    """How the numbers of a column are written.

    Attributes:
        decimal: the decimal mark.
        before: a number without its minus, as a currency sign.
        after: a number, as a per cent sign.
        mark: thousands separator.
        pairs: whether digits above a thousand are in pairs, as in 12,34,567.
        brackets: whether negative numbers are in brackets.
        trailing: whether a minus comes last.
        digits: after the decimal mark, at least and at most; None where that is not limited.
        unlimited: whether a number has an exponent, so that digits say nothing.
    """

    decimal: str = "."
    before: str = ""
    after: str = ""
    mark: str = ""
    pairs: bool = False
    brackets: bool = False
    trailing: bool = False
    digits: tuple[int, int] | None = None
    unlimited: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing more to be found."""
        return bool(self.mark and (self.before or self.after))

    def with_cells(self, cells: Iterable[object]) -> Style:
        """The style with what cells of the column show."""
        found = self
        for cell in cells:
            text = stripped(cell)
            match = amount(text, self.decimal) if isinstance(text, str) else None
            if match is None:
                continue
            mark = match["mark"] or ""
            digits = len(match["rest"] or " ") - 1
            least, most = found.digits or (digits, digits)
            found = replace(
                found,
                before=found.before or _spaced(match, "before") or match["first"] or "",
                after=found.after or _spaced(match, "after"),
                mark=found.mark or mark,
                pairs=found.pairs or bool(mark and re.search(r"\D\d\d\D", match["whole"])),
                brackets=found.brackets or bool(match["open"]),
                trailing=found.trailing or bool(match["trail"] or match["last"]),
                digits=(min(digits, least), max(digits, most)),
                unlimited=found.unlimited or bool(match["exponent"]),
            )
        return found

    def number(self, value: float, std: float = 0.0) -> str:
        """A number with the decimals of the column, and seven digits at most, or more where ``std``
        is small."""
        fewest = DIGITS
        if self.digits and not self.unlimited and abs(value) < LARGE:
            least, most = self.digits
            value = float(np.round(value, most)) + 0.0  # no -0
            fewest = max(DIGITS, len(f"{abs(value):.0f}") + least)
        digits = plain(abs(value), std, fewest)
        if "e" in digits:
            digits = digits.replace(".", self.decimal)
        else:
            whole, _, rest = digits.partition(".")
            rest = rest.ljust(self.digits[0] if self.digits else 0, "0")
            digits = self._grouped(whole) + (self.decimal + rest if rest else "")
        text = f"{self.before}{digits}{self.after}"
        if value >= 0:
            return text
        if self.brackets:
            return f"({text})"
        return f"{text}-" if self.trailing else f"-{text}"

    def _grouped(self, whole: str) -> str:
        """Digits with thousands separators."""
        if not self.mark or len(whole) <= 3:
            return whole
        size = 2 if self.pairs else 3
        high = re.sub(rf"(?<=\d)(?=(\d{{{size}}})+$)", lambda _: self.mark, whole[:-3])
        return f"{high}{self.mark}{whole[-3:]}"


def style_of(notation: Notation) -> Style:
    """What is known of a column from reading it."""
    return Style(notation.decimal or notation.likely)


def plain(value: float, std: float = 0.0, fewest: int = DIGITS) -> str:
    """``fewest`` digits, more where ``std`` is small; very large or small values with exponent."""
    digits = min(fewest, 17)
    if std > 0 and value != 0:
        digits = min(17, max(digits, math.ceil(math.log10(abs(value) / std)) + 3))
    if value == 0 or 1e-5 <= abs(value) < LARGE:
        return np.format_float_positional(value, precision=digits, fractional=False, trim="-")
    return f"{value:.{digits}g}"


def _spaced(match: re.Match[str], side: str) -> str:
    """A sign with the spaces between it and the number."""
    if not match[side]:
        return ""
    text = match.string
    if side == "before":
        end = match.start("inner") if match["inner"] else match.start("whole")
        return text[match.start(side) : end]
    begin = re.search(rf"\s*{re.escape(match[side])}", text[match.end("whole") :])
    return begin[0] if begin else match[side]
