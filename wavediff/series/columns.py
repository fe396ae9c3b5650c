"""What a column of a table holds: numbers, text, or the names of items."""

import re

import pandas

TIME_NAMES = frozenset(
    ("ds", "time", "date", "datetime", "timestamp", "timestep", "period", "year", "step", "t")
)
ITEM_NAMES = frozenset(
    (
        *("unique_id", "item_id", "item", "series_id", "series", "id", "key", "name", "symbol"),
        *("ticker", "station", "sensor", "store", "sku", "product", "entity", "group"),
    )
)
_ALMOST_NUMBER = re.compile(
    r"\s*[-+]?([$€£¥]|[A-Z]{3})?\s*-?\d[\d,.' \u00a0\u202f]*\s*([%$€£¥]|[A-Z]{3})?\s*"
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
    column = column.dropna()
    return bool(len(column)) and column.astype(str).map(_almost_number).mean() > 0.5


def is_number(text: str) -> bool:
    """Whether a text is a number, as pandas makes column names unique (``1.5.1``) too."""
    try:
        float(re.sub(r"\.\d+$", "", text) if text.count(".") > 1 else text)
    except ValueError:
        return False
    return True


def _almost_number(text: str) -> bool:
    return is_number(text) or bool(_ALMOST_NUMBER.fullmatch(text))
