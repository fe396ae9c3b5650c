"""What a format of dates makes of a column, to choose between those that fit."""

import numpy as np
import pandas

from wavediff.errors import UserError
from wavediff.series import centuries, frequency
from wavediff.series.date_formats import parsed


def order(form: str) -> str:
    """What comes first in a format."""
    names = {"d": "day", "m": "month", "Y": "year", "y": "year"}
    return next(f"{names[letter]} first" for letter in form if letter in names)


def reading(sample: pandas.Series, form: str) -> str:
    """The frequency of a sample in that format, and its first and last timestamp."""
    found = parsed(sample, form).tz_localize(None).as_unit("us")
    if "%y" in form:
        found = centuries.before(found, centuries.last_year(found))
    times = np.unique(found.to_numpy())
    try:
        freq = f"at frequency {frequency.infer([times], [''])}"
    except UserError:
        freq = "at no regular frequency"
    return f"{freq} from {frequency.text(times[0])} to {frequency.text(times[-1])}"


def differ(sample: pandas.Series, one: str, other: str) -> bool:
    """Whether two formats read the sample differently."""
    return not parsed(sample, one).equals(parsed(sample, other))
