"""Notations, centuries, titles, and encodings of tables as programs and people write them."""

import pandas
import pytest

from wavediff.commands import backtest, forecast, impute

DAYS = pandas.date_range("2024-01-20", periods=24)
DATED = list(DAYS.strftime("%Y-%m-%d"))


def table(stamps, cells, header="date,x", mark=","):
    """Text of a table of two columns."""
    rows = [f"{stamp}{mark}{cell}" for stamp, cell in zip(stamps, cells, strict=True)]
    return "\n".join([header.replace(",", mark), *rows]) + "\n"


def stamps(lines, mark=","):
    return [line.split(mark)[0] for line in lines[1:]]


@pytest.mark.parametrize(
    "cells",
    [
        [f'"0,{500 + 7 * k}"' for k in range(24)],
        [f'"{k % 2},{500 + 7 * k}"' for k in range(24)],
        [f'"-0,{500 + 7 * k}"' for k in range(24)],
        [f'"(0,{500 + 7 * k})"' for k in range(24)],
    ],
)
def test_no_thousands_follow_a_zero(cells, made):
    lines, told = made(table(DATED, cells))
    assert "thousands" not in told
    assert all(abs(float(cell)) < 3 for line in lines[1:] for cell in line.split(",")[1:])


@pytest.mark.parametrize("mark", [",", ";"])
def test_shares_with_and_without_a_sign_are_refused(mark, made):
    cells = [f"{k + 12}.5%" if k % 2 else f"0.{k + 12}5" for k in range(24)]
    told = made(table(DATED, cells, mark=mark), code=2)
    assert "'12.5%' in column x" not in told
    assert "line 3, is not a number like the others" in told
    lines, _ = made(table(DATED, ["0", *(f"{k}.5%" for k in range(23))], mark=mark))
    assert len(lines) == 3


ZONED = {
    "UTC": (pandas.date_range("2024-03-28 23:00", periods=24, freq="h"), "%d.%m.%Y %H:%M UTC"),
    "GMT": (
        pandas.date_range("2024-03-01", periods=24, freq="h"), '"%a, %d %b %Y %H:%M:%S GMT"',
    ),
    "Z": (pandas.date_range("2024-03-28 23:00", periods=24, freq="h"), "%Y-%m-%dT%H:%M:%SZ"),
}  # fmt: skip


@pytest.mark.parametrize("name", ZONED)
def test_names_of_zones_come_back(name, made):
    times, form = ZONED[name]
    text = table(times.strftime(form), range(24))
    following = (times[-1] + times.freq).strftime(form)
    assert made(text)[0][1].startswith(following)
    lines, _ = made(text, "--tz", "Europe/Berlin")
    assert "%" not in lines[1]
    local = (times[-1] + times.freq).tz_localize("UTC").tz_convert("Europe/Berlin")
    assert lines[1].startswith(local.strftime(form.replace(name, "").rstrip('" ')))
    assert "+01:00" in lines[1]
    again = [lines[0].replace("x_q0.5", "x"), *lines[1:]]
    assert "at frequency h" in made("\n".join(again))[1]


def test_a_gap_of_a_known_column_inside_the_horizon_is_refused(made):
    rows = [f"{day},{k if k < 20 else ''},{k % 3}" for k, day in enumerate(DATED)]
    text = "\n".join(["date,x,promo", *rows]) + "\n"
    words = ["--known", "promo", "--horizon", "4"]
    assert len(made(text, *words)[0]) == 5
    gap = text.replace(f"{DATED[21]},,0", f"{DATED[21]},,")
    for given in (gap, text.replace(f"{DATED[21]},,0\n", "")):
        told = made(given, *words, code=2)
        assert "the known column promo has no value for 2024-02-10" in told
        made(given, *words[:3], "1")
    before = text.replace(f"{DATED[9]},9,0", f"{DATED[9]},9,")
    assert "missing values of the known column promo are interpolated" in made(before, *words)[1]
