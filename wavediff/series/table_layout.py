"""How a CSV file is laid out: its delimiter, and what stands above its header."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass

from wavediff.series.columns import is_number

DELIMITERS = ",;\t|"
SEARCHED = 40  # lines
FOLLOWING = 5  # rows that show which line is the header
SEP = re.compile(r"\"?sep=(?P<sep>[,;\t|])\"?[,;\t|]*\s*", re.IGNORECASE)  # a line for Excel
DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}([-/.]\d{1,4})?.*")


@dataclass(frozen=True)
class Layout:
    """The delimiter, and the lines above the header that are no part of the table."""

    sep: str
    above: tuple[str, ...] = ()


def layout_of(head: str) -> Layout:
    """The layout of a file by its first lines.

    A line ``sep=;``, and titles (lines of fewer cells than the header below them) are no part of
    the table. Without them, the delimiter is what the first line with any text has most of.
    """
    lines = re.split(r"\r\n|\n|\r", head)
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    told = SEP.fullmatch(lines[first])
    begin = first
    if told:
        begin = next((k for k in range(first + 1, len(lines)) if lines[k].strip()), first)
    sep = told["sep"] if told else max(DELIMITERS, key=lines[first].count)
    found = [
        (number, -len(lines[number].split(mark)), mark)
        for mark in (sep if told else DELIMITERS)
        for number in range(begin + 1, min(begin + SEARCHED, len(lines) - 1))
        if _ends_titles(lines, begin, number, mark)
    ]
    if _is_header(lines[begin:], sep):  # unless it is a title with an empty line below
        found = [each for each in found if _is_apart(lines, begin, each[0], each[2])]
    if found:
        number, _, mark = min(found)
        return Layout(mark, tuple(lines[:number]))
    return Layout(sep, tuple(lines[:begin]) if told else ())


def _cells(line: str, sep: str) -> list[str]:
    """The cells of a line; none of one that is not CSV by itself."""
    try:
        found = next(csv.reader([line], delimiter=sep, strict=True), [])
    except csv.Error:
        return []
    return [cell.strip() for cell in found]


def _is_header(lines: list[str], sep: str) -> bool:
    """Whether the first line has several names, and those below have no more cells, but usually
    several too."""
    names = _cells(lines[0], sep)
    widths = [len(_cells(line, sep)) for line in lines[1:SEARCHED] if line.strip()]
    several = sum(width > 1 for width in widths) > len(widths) // 2
    return sum(map(bool, names)) > 1 and several and len(names) >= max(widths)


def _ends_titles(lines: list[str], first: int, number: int, sep: str) -> bool:
    """Whether a line is the header below titles: names, no fewer of them than any line above has
    cells, or after an empty line, and rows of as many cells with numbers or dates below."""
    names = _cells(lines[number], sep)
    filled = [name for name in names if name]
    above = [sum(map(bool, _cells(line, sep))) for line in lines[first:number]]
    below = [line for line in lines[number + 1 : number + 1 + FOLLOWING] if line.strip()]
    rows = [_cells(line, sep) for line in below]
    return (
        len(filled) > 1
        and len(set(filled)) == len(filled)
        and not any(is_number(name) or DATE.fullmatch(name) for name in filled)
        and (max(above) <= len(filled) or _is_apart(lines, first, number, sep))
        and bool(rows)
        and all(len(row) == len(names) for row in rows)
        and _has_values(rows[0])
    )


def _is_apart(lines: list[str], first: int, number: int, sep: str) -> bool:
    """Whether an empty line comes before a line, and no rows of another table."""
    empty = not any(_cells(lines[number - 1], sep)) or not lines[number - 1].strip()
    return empty and not any(_has_values(_cells(line, sep)) for line in lines[first + 1 : number])


def _has_values(row: list[str]) -> bool:
    """Whether cells have a number or a date."""
    return any(is_number(cell.replace(",", ".")) or DATE.fullmatch(cell) for cell in row)
