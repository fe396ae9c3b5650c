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
