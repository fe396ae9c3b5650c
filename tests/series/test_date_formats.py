"""Timestamps as people and machines write them: one format of a column, which comes back."""

import pandas
import pytest

from wavediff.errors import UserError
from wavediff.series.reading import read_series

DAYS = pandas.date_range("2024-01-28", periods=7)
HOURS = pandas.date_range("2024-01-31 09:00", periods=7, freq="h")


@pytest.fixture
def read(tmp_path):
    def make(cells, **settings):
        path = tmp_path / "t.csv"
        rows = [f'"{cell}";{number}' for number, cell in enumerate(cells)]
        path.write_text("\n".join(["date;x", *rows]) + "\n")
        return read_series(path, **settings)

    return make


FORMATS_OF_DAYS = [
    "%d. %m. %Y", "%Y_%m_%d", "%d-%m-%Y", "%m-%d-%Y", "%d-%m-%y", "%d-%B-%Y", "%b-%d-%Y",
    "%d%b%Y", "%d %b. %Y", "%a, %d %b %Y", "%A %d %B %Y", "%B %d, %Y", "%d.%b.%Y", "%d%m%Y",
    "%m%d%Y", "%Y%m%d",
]  # fmt: skip
FORMATS_OF_HOURS = [
    "%d/%m/%Y %I%p", "%d/%m/%Y %I:%M%p", "%d/%m/%Y, %H:%M", "%d.%m.%Y %H:%M Uhr",
    "%d/%m/%Y - %H:%M", "%Y%m%dT%H%M%S", "%Y%m%dT%H%M%SZ", "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%dT%H:%M:%S.000Z", "%Y-%m-%dT%H:%M:%S+0000", "%Y-%m-%dT%H:%M:%S.%f",
    "%Y-%m-%d %H:%M:%S,%f", "%Y-%m-%d %H:%M:%S UTC", "%d/%b/%Y:%H:%M:%S", "%a %b %d %H:%M:%S %Y",
    "%Y-%m-%d %Hh", "%Y-%m-%d %H", "%Y-%m-%dT%H", "%Y%m%d%H", "%Y%m%d%H%M", "%Y%m%d%H%M%S",
    "%d-%m-%Y %H:%M",
]  # fmt: skip


@pytest.mark.parametrize(
    ("times", "form"),
    [*((DAYS, form) for form in FORMATS_OF_DAYS), *((HOURS, form) for form in FORMATS_OF_HOURS)],
)
def test_a_format_is_found_and_written(read, times, form):
    series = read(times[:6].strftime(form))
    assert series.freq == ("D" if times is DAYS else "h")
    assert series.items[0].length == 6
    assert series.items[0].start.tz_localize(None) == times[0]
    assert str(series.labels(0, 6, 7)[0]) == times[6].strftime(form)


@pytest.mark.parametrize(
    ("cells", "freq", "following"),
    [
        (["31/01/2024 09:00 a.m.", "31/01/2024 10:00 a.m."], "h", "31/01/2024 11:00 a.m."),
        (["31/01/2024 09:00 am", "31/01/2024 10:00 am"], "h", "31/01/2024 11:00 am"),
        (["31/01/2024 9AM", "31/01/2024 10AM"], "h", "31/01/2024 11AM"),
        (["29-JAN-2024", "30-JAN-2024"], "D", "31-JAN-2024"),
        (["29 january 2024", "30 january 2024"], "D", "31 january 2024"),
        (["2020-Q3", "2020-Q4"], "QS-JAN", "2021-Q1"),
        (["2020:Q3", "2020:Q4"], "QS-JAN", "2021:Q1"),
        (["3Q20", "4Q20"], "QS-JAN", "1Q21"),
        (["3Q2020", "4Q2020"], "QS-JAN", "1Q2021"),
        (["Q3'99", "Q4'99"], "QS-JAN", "Q1'00"),
        (["Q3-20", "Q4-20"], "QS-JAN", "Q1-21"),
        (["2020/1", "2020/2", "2020/3", "2020/4", "2021/1"], "QS-JAN", "2021/2"),
        (["2020/1", "2020/2", "2020/3", "2020/4", "2020/5"], "MS", "2020/6"),
        (["2020-W5", "2020-W6"], "W-MON", "2020-W7"),
        (["W51 2020", "W52 2020", "W53 2020"], "W-MON", "W01 2021"),
        (["KW05/2020", "KW06/2020"], "W-MON", "KW07/2020"),
        (["M11 2020", "M12 2020"], "MS", "M01 2021"),
        (["11/2020", "12/2020"], "MS", "01/2021"),
        (["Nov '20", "Dec '20"], "MS", "Jan '21"),
        (["0001-Q1", "0001-Q2"], "QS-JAN", "0001-Q3"),
        ([2020, 2021, 2022], "YS-JAN", "2023"),
        ([1700000000.5, 1700003600.5], "h", "1700007200.5"),
        ([1700000000 * 10**9, 1700003600 * 10**9], "h", str(1700007200 * 10**9)),
        (["2024-01-01T00:00:00.123Z", "2024-01-01T00:00:01.123Z"], "s", "2024-01-01T00:00:02.123Z"),
        ([f"2024-01-01T00:00:0{k}.123456789" for k in range(3)], "s",
         "2024-01-01T00:00:03.123456"),
        (["2024-01-01", "2024-01-01 12:00", "2024-01-02"], "12h", "2024-01-02 12:00:00"),
        (["2024-01-01T00:00:00", "2024-01-01T00:00:00.500000"], "500ms", "2024-01-01 00:00:01"),
    ],
)  # fmt: skip
def test_cells_are_read_and_go_on(read, cells, freq, following):
    series = read(cells)
    assert (series.freq, series.items[0].length) == (freq, len(cells))
    assert str(series.labels(0, len(cells), len(cells) + 1)[0]) == following


def test_a_zone_is_not_called_utc(read):
    series = read(HOURS.strftime("%Y-%m-%dT%H:%M:%SZ"), tz="Europe/Berlin")
    assert series.labels(0, 7, 8)[0] == "2024-01-31T17:00:00+01:00"


def test_years_come_back_as_numbers(read):
    series = read([2020, 2021, 2022])
    assert series.time_is_year
    assert list(series.labels(0, 3, 5)) == [2023, 2024]


def test_numbers_of_steps_are_no_dates(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("step,x\n" + "".join(f"{20240101 + k},{k}\n" for k in range(20)))
    assert read_series(path).freq is None


@pytest.mark.parametrize(
    "cells",
    [
        ["FY2020", "FY2021"], ["2019/20", "2020/21"],
        ["2020-01-01 to 2020-01-07", "2020-01-08 to 2020-01-14"], ["1st Jan 2020", "2nd Jan 2020"],
        ["31/01/24", "01.02.24"], ["2024-01-01", "02/01/2024"],
    ],
)  # fmt: skip
def test_other_formats_are_refused(read, cells):
    with pytest.raises(UserError, match=r"no time column|is not a timestamp like the others"):
        read(cells)


@pytest.mark.parametrize("form", ["%", "%Q", "%d/%d/%d"])
def test_a_format_that_is_none_is_told(read, form):
    with pytest.raises(UserError, match="is not a format of timestamps"):
        read(DAYS.strftime("%d/%m/%Y"), date_format=form)
