"""Notations, centuries, titles, and encodings of tables as programs and people write them."""

import decimal
import gzip
import io
import re

import pandas
import pytest

from wavediff.cli import run
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


CENTURIES = {
    "years": (range(1950, 2010), "31-Dec-{s:02}", "31-Dec-10"),
    "newest first": (range(2009, 1949, -1), "31-Dec-{s:02}", "31-Dec-10"),
    "slashes": (range(1950, 2010), "12/31/{s:02}", "12/31/10"),
    "years before": (range(1930, 1980), "31-Dec-{s:02}", "31-Dec-80"),
    "quarters": ([1960 + k / 4 for k in range(60)], "Q{q} {s:02}", "Q1 75"),
    "months": ([1966 + k / 12 for k in range(60)], "{b}-{s:02}", "Jan-71"),
    "ends of quarters": ([1965 + k / 4 for k in range(40)], "{e}.{s:02}", "31.03.75"),
    "numbers": ([1966 + k / 12 for k in range(60)], "{s:02}{m:02}01", "710101"),
    "numbers to 2000": ([1966 + k / 12 for k in range(420)], "{s:02}{m:02}01", "010101"),
    "a century": (range(1920, 2020), "31-Dec-{s:02}", "31-Dec-20"),
    "a century but one": (range(1920, 2019), "31-Dec-{s:02}", "31-Dec-19"),
    "later": (range(1975, 2060), "31-Dec-{s:02}", "31-Dec-60"),
}


def written(years, form):
    ends = ("31.03", "30.06", "30.09", "31.12")
    for year in years:
        month = round(year % 1 * 12) + 1
        q, b = (month + 2) // 3, pandas.Timestamp(2000, month, 1).strftime("%b")
        yield form.format(s=int(year) % 100, m=month, q=q, b=b, e=ends[q - 1])


@pytest.mark.parametrize("name", CENTURIES)
def test_two_digit_years_are_of_the_century_that_puts_rows_in_order(name, made):
    years, form, following = CENTURIES[name]
    cells = list(written(years, form))
    lines, told = made(table(cells, range(len(cells))))
    assert stamps(lines)[0] == following
    assert f"{len(cells)} steps by date" in told
    assert ("two-digit years are read as" in told) == (name != "later")
    text = "".join(f"{cell},{item},{k}\n" for item in "ab" for k, cell in enumerate(cells))
    lines, _ = made(f"date,item,x\n{text}")
    assert stamps(lines)[0] == following


MONTHS = pandas.date_range("2019-01", periods=24, freq="MS")
POINTED = {
    "sap": ("0CALMONTH", "%m.%Y", ";", [f"100{k},26-" for k in range(24)]),
    "points": ("CALMONTH", "%m.%Y", ",", [f"{k}.5" for k in range(24)]),
    "whole": ("Monat/Jahr", "%m.%Y", ";", range(24)),
    "year first": ("Date", "%Y.%m", ",", [f"{k}.5" for k in range(24)]),
}


@pytest.mark.parametrize("name", POINTED)
def test_months_with_a_point_are_no_numbers(name, made):
    column, form, mark, cells = POINTED[name]
    text = table(MONTHS.strftime(form), cells, f"{column},x", mark)
    lines, told = made(text)
    assert f"24 steps by {column} at frequency MS, variables x," in told
    assert stamps(lines)[0] == pandas.Timestamp("2021-01").strftime(form)
    assert name != "sap" or float(lines[1].split(",")[2]) < -900


def test_parquet_columns_of_decimals_and_of_text_are_numbers(made):
    frame = pandas.DataFrame(
        {
            "day": DAYS.strftime("%Y%m%d"),
            "a": [None if k == 3 else decimal.Decimal(f"{1013 + k}.25") for k in range(24)],
            "b": [f"{1013 + k}.{25 + k}" for k in range(24)],
            "c": [f"{101325 + k}" for k in range(24)],
            "d": [f"{1012325 + k}" for k in range(24)],
        }
    )
    for given in (frame, frame.assign(day=DAYS)):
        file = io.BytesIO()
        given.to_parquet(file)
        told = made(file.getvalue(), name="t.parquet", command=backtest)
        assert "24 steps by day at frequency D, variables a, b, c, d, 1.04 % missing" in told


ROWS = table(DATED, range(24))
TITLES = {
    "sep": ("sep=;\r\nReport\r\n\r\n", ";", "lines 1 to 3 are"),
    "sep, wide": ("sep=;\nReport;\n;\n", ";", "lines 1 to 3 are"),
    "as many cells": ("Sales report, all shops\n\n", ",", "lines 1 to 2 are"),
    "more cells": ("Sales report, all shops, of 2024\n\n", ",", "lines 1 to 2 are"),
    "delimiters": ("Sales report, all shops\n,\n", ",", "lines 1 to 2 are"),
    "another delimiter": ("Sales report, all shops\n\n", ";", "lines 1 to 2 are"),
}


@pytest.mark.parametrize("name", TITLES)
def test_titles_above_an_empty_line_are_left_out(name, made):
    above, mark, words = TITLES[name]
    text = above + ROWS.replace(",", mark)
    lines, told = made(text)
    assert f"{words} above the header and left out" in told
    assert stamps(lines)[0] == "2024-02-13"
    lines, _ = made(text.replace(f"{mark}5\n", f"{mark}\n"), command=impute)
    assert lines[: len(above.splitlines())] == above.splitlines()


def test_the_first_of_two_tables_is_no_title(made):
    other = "name,count\nall,3\n"
    assert "'name' in the time column date" in made(f"{ROWS}\n{other}", code=2)


@pytest.mark.parametrize("column", ["shop", "station"])
def test_words_for_nothing_are_names_of_items(column, made):
    names = ["NA", "007", "null", "None", "nan", "N/A"]
    rows = [f"{day},{name},{'NA' if k == 3 else k}\n" for name in names
            for k, day in enumerate(DATED)]  # fmt: skip
    words = ["--item", "shop"] if column == "shop" else []
    lines, told = made(f"date,{column},x\n" + "".join(rows), *words)
    assert f"6 items by {column}, 144 steps" in told
    assert "4.17 % missing" in told
    assert {line.split(",")[1] for line in lines[1:]} == set(names)
    rows[30] = rows[30].replace("007", "")
    assert "is empty in line 32" in made(f"date,{column},x\n" + "".join(rows), *words, code=2)


DECIMALS = {
    "two": (",", lambda k: f"{100 + 1.37 * k:.2f}", r"\d+\.\d\d"),
    "three, comma": (";", lambda k: f"{1.37 * k:.3f}".replace(".", ","), r"\d+,\d{3}"),
    "whole": (",", lambda k: 10 + k * k % 7, r"\d+"),
    "large": (",", lambda k: 123456789 + k * k % 7, r"1234567\d\d"),
    "up to two": (",", lambda k: round(0.25 * k, 2), r"\d+(\.\d{1,2})?"),
    "accounting": (",", lambda k: f"({100 + 1.37 * k:.2f})", r"\(\d+\.\d\d\)"),
    "minus last": (";", lambda k: f"{100 + 1.37 * k:.2f}-".replace(".", ","), r"\d+,\d\d-"),
    "zero": (",", lambda k: f"{-1 if k % 2 else 0}.00", r"-?\d\.\d\d"),
}


@pytest.mark.parametrize("name", DECIMALS)
def test_imputed_cells_have_the_decimals_of_their_column(name, made):
    mark, write, pattern = DECIMALS[name]
    cells = ["" if k in (5, 11) else write(k) for k in range(24)]
    lines, _ = made(table(DATED, cells, mark=mark), command=impute)
    found = [line.split(mark)[1] for line in lines[1:]]
    assert [found[k] for k in range(24) if cells[k] != ""] == [str(c) for c in cells if c != ""]
    assert all(re.fullmatch(pattern, found[k]) for k in (5, 11))


def test_a_year_and_a_coded_period_are_one_timestamp(made):
    kinds = {"M": (12, "MS", "2021,M01"), "Q": (4, "QS-JAN", "2021,Q01")}
    for letter, (count, freq, following) in kinds.items():
        rows = [f"CU{item},{year},{letter}{k:02},{200 + k}\n" for item in "AB"
                for year in range(2015, 2021) for k in range(1, count + 1)]  # fmt: skip
        header = "Series ID,Year,Period,Value\n"
        lines, told = made(header + "".join(rows))
        assert f"2 items by Series ID, {len(rows)} steps by Year+Period at frequency {freq}" in told
        assert lines[1].startswith(following)
        rows.insert(count, f"CUA,2015,{letter}{count + 1:02},206\n")
        told = made(header + "".join(rows), code=2)
        assert f"'2015 {letter}{count + 1:02}' in the time column Year+Period" in told
        assert f"line {count + 2}, is not a timestamp" in told
        assert "delete the lines of whole years" in told


@pytest.mark.parametrize("code", ["utf-16", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_encodings_of_spreadsheets_are_read_and_kept(code, ending, made, tmp_path):
    mark = "\t" if "16" in code else ";"
    cells = [f"1.2{k + 20},5 €" if k != 5 else "" for k in range(24)]
    text = table(DATED, cells, "Tag,Größe", mark).replace("\n", "\r\n")
    data = ("\ufeff" * (code == "utf-16-be") + text).encode(code)
    data = gzip.compress(data) if ending.endswith("gz") else data
    (tmp_path / f"in{ending}").write_bytes(data)
    for command, words in ((forecast, ["--horizon", "2"]), (impute, [])):
        out = tmp_path / ("f.csv" if command is forecast else f"i{ending}")
        words = [*words, "--samples", "4", "--steps", "2"]
        assert run(command.main, [str(tmp_path / f"in{ending}"), "-o", str(out), *words]) == 0
    assert (tmp_path / "f.csv").read_text().startswith("Tag,Größe_q0.1")
    data = (tmp_path / f"i{ending}").read_bytes()
    data = gzip.decompress(data) if ending.endswith("gz") else data
    lines = data.decode("cp1252" if code == "cp1252" else "utf-16").split("\r\n")
    assert lines[0].startswith(f"Tag{mark}Größe{mark}")
    assert lines[1].split(mark)[1] == cells[0]
    assert re.fullmatch(r"1\.2\d\d,\d €", lines[6].split(mark)[1])


def test_windows_text_is_told_and_damaged_utf_8_is_not_taken_for_it(made):
    text = table(DATED, range(24), "Tag,x")
    rows = [f"{day},b,{k}\n" for k, day in enumerate(DATED)]
    late = "Tag,Name,x\n" + "".join(rows) + "2024-02-13,caf\xe9,3\n"
    found = made(late.encode("cp1252"))[1]
    assert "the text is not in UTF-8: it is read as Windows-1252" in found
    damaged = late.replace("Name", "N\xe4me").encode() + b"2024-02-14,\xe9,3\n"
    assert "not text in UTF-8" in made(damaged, code=2)
    assert "not text in UTF-8" in made(text.encode() + b"2024-02-13,\x81\n", code=2)
    assert "not text in UTF-8" in made(text.encode() + b"2024-02-13,\xe9\x02\n", code=2)


@pytest.mark.parametrize("fields", ["3", "3,4", "3,4,5"])
def test_a_first_row_of_more_fields_is_told(made, fields):
    rows = ["date,x,shop", f"2024-01-01,1,a,{fields}", "2024-01-02,2,a", "2024-01-03,3,a"]
    assert "more fields" in made("\n".join(rows), code=2)
