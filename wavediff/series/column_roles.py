"""What the columns of a table are: which one names the items, and which are to be modelled."""

import re
from collections.abc import Collection, Sequence

import numpy as np
import pandas

from wavediff.errors import UserError, listed, shorten
from wavediff.series.columns import ITEM_NAMES
from wavediff.series.frequency import text
from wavediff.series.stamp_parts import is_clock
from wavediff.series.table import Table

SEVERAL = 3  # columns that have a sentence each
FEWEST_COUNTED = 8  # rows that show that a column counts them, whatever its name
COUNTER = re.compile(  # names of columns that number the rows
    r"Unnamed: \d+(_level_\d+)?|#||n|i|idx|index|rows?[ _.]?(id|n(o|r|um|umber)?)?\.?|level_0"
    r"|((s|sr|sl|lfd|lf|seq|serial)[ _.]*)?(no|nr|num|number|nummer|n°|nº|№)\.?|obs(ervation)?"
    r"|record|seq(uence)?|pos(ition)?|line|zeile|instant|rec[ _]?no|id",
    re.IGNORECASE,
)


def find_item_column(table: Table, taken: Collection[str]) -> str | None:
    """The text column that distinguishes series; None where timestamps are unique without one.

    Args:
        table: of all columns.
        taken: columns that are something else.

    Raises:
        UserError: where timestamps come twice and not exactly one column distinguishes their rows.
    """
    order = np.argsort(table.time, kind="stable")
    twice = np.flatnonzero(table.time[order][1:] == table.time[order][:-1])
    texts = {name: column for name, column in table.texts.items() if name not in taken}
    clocks = [name for name, (_, cells) in texts.items() if is_clock(pandas.Series(cells))]
    candidates = {
        name: (codes, cells)
        for name, (codes, cells) in texts.items()
        if name not in clocks and len(cells) < max(len(codes), 3)  # not a number of each row
    }
    if not len(twice):
        named = [name for name in candidates if name.lower() in ITEM_NAMES]
        repeated = [name for name in named if len(candidates[name][1]) <= len(table.time) // 2]
        return repeated[0] if len(repeated) == 1 else None
    fitting = [name for name in candidates if not _comes_twice(table, candidates[name][0])]
    if len(fitting) > 1:
        partitions = {pandas.factorize(candidates[name][0])[0].tobytes() for name in fitting}
        by_name = [name for name in fitting if name.lower() in ITEM_NAMES]
        if len(partitions) == 1:
            fitting = (by_name or fitting)[:1]
        elif len(by_name) == 1:
            fitting = by_name
    if len(fitting) == 1:
        return fitting[0]
    first, second = sorted(order[twice[0] : twice[0] + 2])
    where = (
        f"{table.name}: {text(table.time[first])} comes twice ({table.row(first)} and "
        f"{table.row(second)})"
    )
    if clocks and not fitting and len(table.time_columns) == 1:
        raise UserError(
            f"{where}, and {shorten(clocks[0])} has times of day: name both columns by --time (in "
            f"Python time=), as {shorten(table.time_name)}+{shorten(clocks[0])}, or the one with "
            "the series by --item (item=)"
        )
    named = [name for name in candidates if name.lower() in ITEM_NAMES] or list(candidates)
    if not fitting and len(named) == 1 and len(candidates[named[0]][1]) > 1:
        return named[0]  # its timestamps that come twice are reported later
    if fitting:
        raise UserError(
            f"{where}, and several columns distinguish the rows ({listed(fitting)}): name the "
            "one with the series by --item (in Python item=)"
        )
    some = " and ".join(map(shorten, list(candidates)[:3]))
    together = f" (such as {some} in one)" if len(candidates) > 1 else ""
    raise UserError(
        f"{where}: keep one row for each timestamp, or for each timestamp and item with one column "
        f"that names the item{together}{clock_advice(table)}"
    )


def find_targets(
    table: Table, targets: Sequence[str] | None, taken: Collection[str | None], notes: list[str]
) -> list[str]:
    """The columns to model.

    Args:
        table: of all columns.
        targets: their names; None for all columns of numbers that are not taken.
        taken: columns that are something else.
        notes: receives a sentence about each column that is left out.

    Raises:
        UserError: where there is none, or one is not a column of numbers with a value.
    """
    if targets is not None:
        for name in targets:
            if name in table.texts or name == table.time_name:
                raise UserError(
                    f"{table.name}: the target {shorten(name)} is not a column of numbers"
                )
            if np.isnan(table.numbers[name]).all():
                raise UserError(f"{table.name}: column {shorten(name)} has no value: leave it out")
        if not len(targets):
            raise UserError("targets is empty: name one column at least")
        return list(targets)
    left_out = [name for name in table.texts if name not in taken]
    if left_out:
        notes.append(f"columns without numbers are left out: {listed(left_out)}")
    found: list[str] = []
    empty: list[str] = []
    counted: list[str] = []
    for name, values in table.numbers.items():
        if name in taken:
            continue
        if _counts_rows(table, name):
            counted.append(name)
        elif np.isnan(values).all():
            empty.append(name)
        else:
            found.append(name)
    if found or len(counted) > 1:
        notes += [
            f"column {shorten(name)} only counts the rows and is left out" for name in counted
        ]
    else:
        found = counted
    if len(empty) > SEVERAL:
        notes.append(f"{len(empty)} columns have no value and are left out: {listed(empty)}")
    else:
        notes += [f"column {shorten(name)} has no value and is left out" for name in empty]
    if not found:
        raise UserError(
            f"{table.name} has no column with numbers beside the time column "
            f"{shorten(table.time_name)}: "
            "give one column with numbers at least"
        )
    return found


def _counts_rows(table: Table, name: str) -> bool:
    """Whether a column only numbers the rows, of the table or of each item from 0 or 1 on.

    One with a name for it does, and the first column beside another one with numbers.
    """
    values = table.numbers[name]
    if len(values) < 2 or name in table.time_columns:
        return False
    on, first = np.diff(values) == 1, values[0]
    if COUNTER.fullmatch(name.strip()):
        again = (values[1:] == first) & (first in (0, 1))
        return bool((on | again).all() and on.any())
    return (
        len(values) >= FEWEST_COUNTED
        and bool(on.all())
        and first in (0, 1)
        and table.time.dtype != np.int64
        and name == next(iter(table.columns))
        and len(table.numbers) > 1
    )


def _comes_twice(table: Table, codes: np.ndarray) -> bool:
    order = np.lexsort((table.time, codes))
    same = (np.diff(codes[order]) == 0) & (table.time[order][1:] == table.time[order][:-1])
    return bool(same.any())


def clock_advice(table: Table) -> str:
    """The end of a sentence about a timestamp that comes twice, where a clock may be the reason."""
    times = table.time
    if table.zone is None and times.dtype != np.int64 and (times != times.astype("M8[D]")).any():
        return ", or give --tz ZONE if a clock was set back then"
    return ""
