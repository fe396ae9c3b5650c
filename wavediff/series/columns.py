"""What a column of a table holds: numbers, text, or the names of items."""

import re
from collections.abc import Iterable

import pandas

from wavediff.series.amounts import is_amount, stripped

TIME_NAMES = frozenset(
    ("ds", "time", "date", "datetime", "timestamp", "timestep", "period", "year", "step", "t")
)
LONGEST = 1000  # characters of a number
ITEM_NAMES = frozenset(
    (
        *("unique_id", "item_id", "item", "series_id", "series", "id", "key", "name", "symbol"),
        *("ticker", "station", "sensor", "store", "sku", "product", "entity", "group"),
    )
)


def is_date(column: pandas.Series) -> bool:
    """Whether a column has a type of dates: timestamps or periods."""
    return pandas.api.types.is_datetime64_any_dtype(column) or isinstance(
        column.dtype, pandas.PeriodDtype
    )


def is_text(column: pandas.Series) -> bool:
    """Whether a column has neither numbers nor dates by its type."""
    return not (pandas.api.types.is_numeric_dtype(column) or is_date(column))


def mostly_numbers(column: pandas.Series) -> bool:
    """Whether more than half of the values of a text column are numbers, or almost (``3 %``)."""
    known = map(stripped, cells(column.dropna()))
    numbers = [_almost_number(cell) for cell in known if cell is not None]
    return bool(numbers) and sum(numbers) > 0.5 * len(numbers)


def cells(column: pandas.Series) -> Iterable[object]:
    """The cells of a column; those of a dictionary are not copied, however long they are."""
    if isinstance(column.dtype, pandas.CategoricalDtype):
        names = list(column.cat.categories)
        return (names[code] if code >= 0 else None for code in column.cat.codes)
    return column


def is_number(text: str) -> bool:
    """Whether a text is a number, as pandas makes column names unique (``1.5.1``) too."""
    try:
        float(re.sub(r"\.\d+$", "", text) if text.count(".") > 1 else text)
    except ValueError:
        return False
    return True


def _almost_number(cell: object) -> bool:
    text = cell if isinstance(cell, str) else str(cell)
    if len(text) > LONGEST:
        return False
    return isinstance(cell, bool) or is_number(text) or is_amount(text.strip())
