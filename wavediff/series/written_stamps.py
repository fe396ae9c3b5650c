"""Timestamps as the table that they continue writes them."""

from __future__ import annotations

import re

import numpy as np
import pandas

from wavediff.series.counted_stamps import EXCEL, EXCEL_EPOCH
from wavediff.series.date_formats import MONTH_NAME

EPOCH = {"s": 10**6, "ms": 10**3, "us": 1, "ns": 1}  # numbers since 1970, in microseconds


def exact(form: str, sample: pandas.Series, moved: bool = False) -> str:
    """``form`` with what strftime has no directive for, as ``written`` takes it.

    With ``moved`` timestamps are written in another time zone, by their distance from UTC.

    ``%:z`` is a distance from UTC with a colon, ``%3f`` a fraction of three digits, ``%P`` am,
    ``%Q`` a.m., ``%^b`` JAN, ``%_b`` jan and ``%-d`` a day without a leading zero (``%-m``,
    ``%-H``, ``%-I`` and ``%-j`` likewise).
    """
    value = sample.iloc[0]
    form = _unpadded(form, sample)
    if moved and (there := re.search("%Z|(Z|UTC|GMT)$", form)):
        form = form.replace(there[0], "%:z")
    elif "%Z" in form and (names := sample.str.extract(ZONE)[0]).nunique() == 1:
        form = form.replace("%Z", names.iloc[0])  # GMT, which is called UTC otherwise
    if form.endswith("%z"):
        if sample.str.endswith("Z").all() and not moved:
            form = form.removesuffix("%z") + "Z"
        elif ":" in value[-5:] or value.endswith("Z"):
            form = form.removesuffix("%z") + "%:z"
    digits = re.search(r"[.,](\d+)(?=\D*$|[Z+-])", value) if "%f" in form else None
    if digits and len(digits[1]) < 6:
        form = form.replace("%f", f"%{len(digits[1])}f")
    if "%p" in form:
        half = re.search(r"([ap])(\.?)\s?m", value, re.IGNORECASE)
        if half and half[1].islower():
            form = form.replace("%p", "%Q" if half[2] else "%P")
    name = MONTH_NAME.search(value)
    if name and ("%b" in form or "%B" in form):
        case = "^" if name[0].isupper() else "_" if name[0].islower() else ""
        form = re.sub("%([bB])", rf"%{case}\1", form)
    return form


# of a format: the directives that may lack a leading zero, and what the others look like
PADDED = {"%d": "date", "%m": "date", "%j": "date", "%H": "clock", "%I": "clock"}
DIRECTIVES = {"%Y": r"\d{4}", "%f": r"\d+", "%z": r"\S+", "%Z": r"\S+", "%p": r"[ap]\.?\s?m\.?"}
DIRECTIVES |= dict.fromkeys(("%a", "%A", "%b", "%B"), r"[^\W\d]+")
JUDGED = 20_000  # timestamps by which leading zeros are judged


def _unpadded(form: str, sample: pandas.Series) -> str:
    """``form`` with ``%-d`` for ``%d`` and so on where days below 10 have no leading zero.

    Where no day below 10 comes, the month decides, and the other way round; of clocks it is a part
    of their own, unless nothing but the date shows it.
    """
    parts = re.split(r"(%[A-Za-z])", form)
    found = [part for part in parts if part in PADDED]
    if not found or re.search("%[YymdjHIMS]%[YymdjHIMS]", form):
        return form
    shape = "".join(
        r"(\d{1,3})"
        if part in PADDED
        else DIRECTIVES.get(part, r"\d{1,2}")
        if part.startswith("%")
        else re.escape(part)
        for part in parts
    )
    cells = sample.iloc[:: max(1, len(sample) // JUDGED)].str.extract(shape, re.IGNORECASE)
    shown: dict[str, bool] = {}
    for part, column in zip(found, cells.items(), strict=True):
        texts = column[1].dropna()
        if (texts.str.len() == 1).any():
            shown[part] = True
        elif texts.str.startswith("0").any():
            shown[part] = False
    groups = {PADDED[part]: short for part, short in shown.items()}
    for part in found:
        group = groups.get(PADDED[part], groups.get("date", False))
        if shown.get(part, group):
            form = form.replace(part, f"%-{part[1]}")
    return form


ZONE = r"([A-Za-z]+(?:/\w+)*)\s*$"  # the name of a time zone
EXACT = re.compile(r"(%:z|%\df|%P|%Q|%[\^_][bB]|%-[dmjHI])")


def written(times: pandas.DatetimeIndex, form: str) -> pandas.Index:
    """Timestamps in a format of ``exact`` or ``template``, or as numbers: years for ``year``, or of
    ``EPOCH`` or ``excel``, with ``.f`` where they have a fraction."""
    if form == "year":
        return times.year
    unit = form.removesuffix(".f")
    if unit == EXCEL:
        days = times.as_unit("us").astype(np.int64) / 86400e6 + EXCEL_EPOCH
        return pandas.Index(days if form != unit else days.astype(np.int64))
    if unit in EPOCH:
        count = times.as_unit("us").astype(np.int64)
        if form != unit:  # with a fraction
            return pandas.Index(count / EPOCH[unit])
        return pandas.Index(count * 1000 if unit == "ns" else count // EPOCH[unit])
    if "{" not in form:
        parts = [_part(times, part) for part in EXACT.split(form) if part]
        return pandas.Index(["".join(texts) for texts in zip(*parts, strict=True)], dtype=object)
    calendar = times.isocalendar()
    years = calendar["year"] if "{w" in form else times.year
    return pandas.Index(
        [
            form.format(
                y=year,
                s=year % 100,
                q=time.quarter,
                m=time.month,
                w=week,
                d=time.isoweekday(),
                j=time.day_of_year,
            )
            for time, year, week in zip(times, years, calendar["week"], strict=True)
        ]
    )


def _part(times: pandas.DatetimeIndex, part: str) -> list[str]:
    """Timestamps in a part of a format of ``exact``."""
    if not EXACT.fullmatch(part):
        return times.strftime(part).tolist()
    if part == "%:z":
        return [f"{text[:3]}:{text[3:]}" for text in times.strftime("%z")]
    if part.endswith("f"):
        return [text[: int(part[1])] for text in times.strftime("%f")]
    if part in ("%P", "%Q"):
        dots = part == "%Q"
        return [f"{t[0]}.{t[1]}." if dots else t for t in times.strftime("%p").str.lower()]
    texts = times.strftime(f"%{part[-1]}")
    if part[1] == "-":
        return [text.lstrip("0") or "0" for text in texts]
    return (texts.str.upper() if part[1] == "^" else texts.str.lower()).tolist()
