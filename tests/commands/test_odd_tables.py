"""Dates, numbers and leftovers of spreadsheets as people have them: read, told, and kept."""

import io

import pandas
import pytest

from wavediff.cli import run
from wavediff.commands import backtest, impute
from wavediff.series import table_files

FAST = ["--samples", "4", "--steps", "2", "--device", "cpu"]
DAYS = pandas.date_range("2024-01-20", periods=24)
LATE = pandas.date_range("2024-01-10", periods=24)
HOURS = pandas.date_range("2024-01-31 09:00", periods=24, freq="h")
MONTHS = [f"01/{month:02}/2023" for month in range(1, 13)]


def table(*columns, header="date,x", mark=","):
    """Text of columns of equal length; numbers are added as the last one."""
    rows = [
        f"{mark.join(map(str, cells))}{mark}{k}.5"
        for k, cells in enumerate(zip(*columns, strict=True))
    ]
    return "\n".join([header.replace(",", mark), *rows]) + "\n"


def stamps(lines, columns=1, mark=","):
    return [mark.join(line.split(mark)[:columns]) for line in lines[1:]]


AMBIGUOUS = {
    "slashes": (MONTHS, "%m/%d/%Y", "%d/%m/%Y", ["01/13/2023", "01/14/2023"]),
    "points": (
        [text.replace("/", ".") for text in MONTHS], "%d.%m.%Y", "%m.%d.%Y",
        ["01.01.2024", "01.02.2024"],
    ),
    "two digits": ([f"01/{k:02}/03" for k in range(1, 13)], "%m/%d/%y", "%d/%m/%y",
                   ["01/13/03", "01/14/03"]),
    "numbers": ([f"01{k:02}2023" for k in range(1, 13)], "%d%m%Y", "%m%d%Y",
                ["01012024", "01022024"]),
    "clock": ([f"01/0{k}/2024 00:00" for k in range(1, 9)],
              "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M", ["01/09/2024 00:00", "01/10/2024 00:00"]),
}  # fmt: skip


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_two_readings_of_dates_are_both_told(name, made):
    cells, taken, other, following = AMBIGUOUS[name]
    lines, told = made(table(cells))
    note = next(line for line in told.splitlines() if "are read" in line)
    assert f"({taken}, at frequency" in note
    assert f"by {other}" in note
    assert "at frequency D from 20" in note
    assert "at frequency MS from 20" in note
    assert "--date-format decides" in note
    assert stamps(lines) == following
    for command in (impute, backtest):
        found = made(table(cells), command=command)
        assert note in (found if command is backtest else found[1])
    _, told = made(table(cells), "--date-format", other)
    assert "are read" not in told
    meant = "MS" if "MS" in note.partition("but")[2] else "D"
    assert f"at frequency {meant}, variables" in told


def test_three_readings_of_two_digit_years_are_told(made):
    _, told = made(table([f"{k:02}/02/03" for k in range(1, 13)]))
    assert "by %d/%m/%y" in told
    assert "by %y/%m/%d fit too" in told


@pytest.mark.parametrize("cells", [[f"2023-01-{k:02}" for k in range(1, 13)],
                                   [f"2023/{k:02}/01" for k in range(1, 13)]])  # fmt: skip
def test_a_year_in_front_is_never_ambiguous(cells, made):
    assert "--date-format" not in made(table(cells))[1]


PARTS = {
    "date and time": ("Date,Time,x", HOURS.strftime("%Y-%m-%d,%H:%M"), "2024-02-01,09:00"),
    "date and hour": ("date,hour,x", HOURS.strftime("%Y-%m-%d,%-H"), "2024-02-01,9"),
    "padded hour": ("date,hour,x", HOURS.strftime("%Y-%m-%d,%H"), "2024-02-01,09"),
    "digits": ("Date,Time,x", HOURS.strftime("%d/%m/%Y,%H%M"), "01/02/2024,0900"),
    "am": ("Date,Time,x", HOURS.strftime("%-m/%-d/%Y,%-I:%M %p"), "2/1/2024,9:00 AM"),
    "german": ("Datum,Uhrzeit,x", HOURS.strftime("%d.%m.%Y,%H:%M"), "01.02.2024,09:00"),
    "months": (
        "Year,Month,x", [f"{2020 + k // 12},{k % 12 + 1}" for k in range(24)], "2022,1"
    ),
    "names": (
        "Year,Month,x", pandas.date_range("2020", periods=24, freq="MS").strftime("%Y,%B"),
        "2022,January",
    ),
    "days": ("year,month,day,x", DAYS.strftime("%Y,%-m,%-d"), "2024,2,13"),
    "hours": ("year,month,day,hour,x", HOURS.strftime("%Y,%-m,%-d,%-H"), "2024,2,1,9"),
    "quarters": (
        "Year,Quarter,x", [f"{2020 + k // 4},{k % 4 + 1}" for k in range(24)], "2026,1"
    ),
    "Q1": ("Jahr,Quartal,x", [f"{2020 + k // 4},Q{k % 4 + 1}" for k in range(24)], "2026,Q1"),
    "points": ("Date,Time,x", HOURS.strftime("%d/%m/%Y,%H.%M.%S"), "01/02/2024,09.00.00"),
    "day of year": (
        "YEAR,DOY,x", [f"{2023 + (k > 7)},{k + 358 if k < 8 else k - 7}" for k in range(24)],
        "2024,17",
    ),
    "nasa": ("YEAR,MO,DY,HR,x", HOURS.strftime("%Y,%-m,%-d,%-H"), "2024,2,1,9"),
    "weeks": ("Year,Week,x", [f"2021,{k}" for k in range(30, 53)] + ["2022,1"], "2022,2"),
}  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_timestamps_in_several_columns_are_one(name, made):
    header, cells, following = PARTS[name]
    lines, told = made(table(cells, header=header))
    columns = header.split(",")[:-1]
    assert f"the columns {', '.join(columns)} are read as one timestamp" in told
    assert lines[0].split(",")[: len(columns)] == columns
    assert stamps(lines, len(columns))[0] == following
    text = table(cells, header=header).replace(",5.5\n", ",\n")
    lines, told = made(text, command=impute)
    assert "the columns" in told
    assert stamps(lines, len(columns)) == list(cells)


def test_parts_beside_items_and_in_another_order(made):
    rows = [f"{station},{cells},{k}" for station in "ab" for k, cells in enumerate(
        HOURS.strftime("%H:%M,%Y-%m-%d"))]  # fmt: skip
    lines, told = made("\n".join(["Station,Time,Date,x", *rows]) + "\n")
    assert "2 items by Station, 48 steps by Date+Time at frequency h" in told
    assert lines[1].startswith("2024-02-01,09:00,a,")


def test_what_may_be_combined_in_several_ways_is_refused(made):
    cells = HOURS.strftime("%Y-%m-%d,%H:%M,%H:30")
    text = table(cells, header="Date,Start,End,x")
    assert "name two columns by --time (in Python time=), as Date+Start" in made(text, code=2)
    lines, _ = made(text, "--time", "Date+End")
    assert stamps(lines, 2) == ["2024-02-01,09:30", "2024-02-01,10:30"]
    assert "no column Ende: it has Date" in made(text, "--time", "Date+Ende", code=2)
    text = table(HOURS.strftime("%Y-%m-%d,%H:%M"), header="Date,Time,x")
    assert "as Date+Time, or the one with the series" in made(text, "--time", "Date", code=2)
    assert "24 items by Time" in made(text, "--time", "Date", "--item", "Time", "--freq", "D")[1]


@pytest.mark.parametrize("role", ["item", "targets", "known", "static"])
def test_a_part_of_the_timestamps_is_nothing_else(role, made):
    text = table(HOURS.strftime("%Y-%m-%d,%-H"), header="Date,hour,x")
    told = made(text, "--time", "Date+hour", f"--{role}", "hour", code=2)
    assert f"the column hour is named for {role}, and holds a part of the timestamps" in told


def test_a_wrong_part_is_refused_with_its_line(made):
    for header, cells, shown in (
        ("Year,Month,x", range(1, 14), "'2020 13' in the time column Year+Month, line 14"),
        ("Year,Month,x", ["Jan", "Feb", "Foo"], "'2020 Foo' in the time column Year+Month, line 4"),
        ("Year,Quarter,x", range(1, 6), "'2020 quarter 5' in the time column Year+Quarter, line 6"),
    ):
        text = table([2020] * len(cells), cells, header=header)
        assert shown in made(text, code=2)


def test_a_time_beside_one_row_a_day_is_no_part(made):
    lines, _ = made(table(DAYS.strftime("%Y-%m-%d"), HOURS.strftime("%H:%M"), header="Date,Time,x"))
    assert lines[0].startswith("Date,x_q0.1")
    assert stamps(lines) == ["2024-02-13", "2024-02-14"]


def test_a_format_of_a_date_and_a_time_in_two_columns(made):
    cells = HOURS.strftime("%d/%m/%Y,%H:%M")
    for form in ("%d/%m/%Y %H:%M", "%d/%m/%Y"):
        lines, _ = made(table(cells, header="Date,Time,x"), "--date-format", form)
        assert stamps(lines, 2)[0] == "01/02/2024,09:00"


@pytest.mark.parametrize("large", [False, True])
def test_changing_distances_from_utc_are_told(large, made, monkeypatch):
    if large:  # the change is in a later piece
        monkeypatch.setattr(table_files, "CELLS", 2)
        monkeypatch.setattr(table_files, "SAMPLE", 10)
    start = "2024-03-30" if large else "2024-03-31"
    times = pandas.date_range(start, periods=40, freq="h", tz="Europe/Berlin")
    text = table([time.isoformat() for time in times], header="time,x")
    lines, told = made(text)
    zone = "UTC+01:00" if large else "UTC"
    assert f"the distance from UTC changes: the timestamps come back in {zone}; give --tz" in told
    found = pandas.to_datetime(stamps(lines), utc=True)
    assert list(found) == list(pandas.date_range(times[-1], periods=3, freq="h")[1:])
    lines, told = made(text, "--tz", "Europe/Berlin")
    assert "distance" not in told
    assert stamps(lines)[0].endswith("+02:00")


UNPADDED = [
    (HOURS, "%-m/%-d/%Y %H:%M"), (HOURS, "%-m/%-d/%Y %-H:%M"), (HOURS, "%-m/%-d/%Y %-I:%M %p"),
    (HOURS, "%-d.%-m.%Y %-H:%M"), (DAYS, "%-d.%-m.%Y"), (DAYS, "%Y-%-m-%-d"), (DAYS, "%-d.%-m.%y"),
    (LATE, "%-d %b %Y"), (LATE, "%B %-d, %Y"), (LATE, "%m/%-d/%Y"),
    (pandas.date_range("2023-02-01", periods=24, freq="MS"), "%-m/%Y"),
    (pandas.date_range("2023-02-01", periods=24, freq="MS"), "%YM%-m"),
    (pandas.date_range("2024-10-14", periods=24), "%-m/%-d/%Y"),
]  # fmt: skip


@pytest.mark.parametrize(("times", "form"), UNPADDED)
def test_leading_zeros_are_as_they_were(times, form, made):
    times = times.append(times[-1:] + times.freq).append(times[-1:] + 2 * times.freq)
    cells = [text.replace("%-m", str(time.month)) for text, time in zip(
        times.strftime(form), times, strict=True)]  # fmt: skip
    lines, _ = made(table([f'"{cell}"' for cell in cells[:-2]]))
    found = pandas.read_csv(io.StringIO("\n".join(lines)), dtype=str)["date"]
    assert list(found) == cells[-2:]


SIGNS = {
    "per cent": (";", lambda k: f"{k + 20},5 %", r"\d+,\d+ %"),
    "dollars": ("\t", lambda k: f"${1000 + k:,}.25", r"\$1,0\d\d\.\d{2,}"),
    "minus": ("\t", lambda k: f"-${1000 + k:,}.25", r"-\$1,0\d\d\.\d{2,}"),
    "brackets": (";", lambda k: f"(${k + 20}.25)", r"\(\$\d+\.\d{2,}\)"),
    "euros": (";", lambda k: f"1.2{k + 20},50 €", r"1\.2\d\d,\d{2,} €"),
    "code": (",", lambda k: f"EUR {k + 20}.25", r"EUR \d+\.\d{2,}"),
    "thousands": (";", lambda k: f"1.2{k + 20}", r"1\.2\d\d"),
    "lakhs": (";", lambda k: f"12,34,5{k + 20}.5", r"12,34,5\d\d(\.\d+)?"),
    "apostrophes": (";", lambda k: f"1'2{k + 20}.5", r"1'2\d\d(\.\d+)?"),
}


@pytest.mark.parametrize("name", SIGNS)
def test_imputed_cells_have_the_signs_of_their_column(name, made):
    mark, write, pattern = SIGNS[name]
    cells = ["" if k in (5, 11) else write(k) for k in range(24)]
    rows = [f"{day:%Y-%m-%d}{mark}{cell}" for day, cell in zip(DAYS, cells, strict=True)]
    lines, told = made("\n".join([f"date{mark}x", *rows]) + "\n", command=impute)
    assert "numbers are read without their marks: x (" in told
    frame = pandas.read_csv(io.StringIO("\n".join(lines)), sep=mark, dtype=str)
    for k, cell in enumerate(cells):
        assert frame.x[k] == cell if cell else frame.x.str.fullmatch(pattern)[k]
    again, _ = made("\n".join(f"{x.date}{mark}{x.x}" for x in [pandas.Series(
        {"date": "date", "x": "x"}), *(row for _, row in frame.iterrows())]) + "\n")  # fmt: skip
    assert len(again) == 3


def test_imputed_cells_of_a_parquet_file_with_signs(tmp_path, capsys):
    cells = [None if k == 5 else f"${1000 + k:,}.25" for k in range(24)]
    path, out = tmp_path / "t.parquet", tmp_path / "out.parquet"
    pandas.DataFrame({"date": DAYS, "x": cells}).to_parquet(path)
    assert run(impute.main, [str(path), "-o", str(out), *FAST]) == 0
    found = pandas.read_parquet(out)
    assert found.x[4] == cells[4]
    assert found.x.str.fullmatch(r"\$1,0\d\d\.\d+")[5]


@pytest.mark.parametrize("name", ["Nr", "No", "No.", "#", "lfd. Nr.", "Unnamed: 0", "", "Row ID",
                                  "Obs", "S.No", "whatever"])  # fmt: skip
def test_row_numbers_are_left_out(name, made):
    first = len(name) % 2
    text = table(range(first, first + 24), DAYS.strftime("%Y-%m-%d"), header=f"{name},date,x")
    lines, told = made(text)
    assert "only counts the rows and is left out" in told
    assert lines[0].startswith("date,x_q0.1")
    if name == "Nr":
        assert made(text, "--targets", "Nr,x")[0][0].startswith("date,Nr_q0.1")


def test_a_count_that_is_all_there_is_stays(made):
    days = DAYS.strftime("%Y-%m-%d")
    lines, _ = made("date,total\n" + "".join(f"{day},{k}\n" for k, day in enumerate(days)))
    assert lines[0].startswith("date,total_q0.1")


DATED = DAYS.strftime("%Y-%m-%d")
LEFTOVERS = {
    "sep": (f"sep=;\r\n{table(DATED, mark=';')}", ";", "line 1 is above the header"),
    "quoted sep": (f'"sep=,"\n{table(DATED)}', ",", "line 1 is above the header"),
    "titles": (f"Sales\n\nof,2024\n{table(DATED)}", ",", "lines 1 to 3 are above the header"),
    "wide titles": (
        f"Sales;;\n;;\n{table(DATED, range(24), header='date,y,x', mark=';')}", ";",
        "lines 1 to 2 are above the header and left out: Sales",
    ),
    "other delimiter": (f"Sales, of all\n{table(DATED, mark=';')}", ";", "line 1 is above"),
    "trailing": (
        "\n".join(f"{line},,,," for line in table(DATED).splitlines()) + "\n,,,,,\n,,,,,\n", ",",
        "rows without any cell are left out: 2",
    ),
    "between": (table(DATED).replace("2024-01-25", ",\n2024-01-25"), ",", "left out: 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", LEFTOVERS)
def test_leftovers_of_spreadsheets_are_read_and_kept(name, made):
    text, mark, words = LEFTOVERS[name]
    lines, told = made(text)
    assert words in told
    assert "24 steps by date at frequency D" in told
    assert stamps(lines) == ["2024-02-13", "2024-02-14"]
    for gap in ("4.5", "23.5"):
        given = text.replace(f"{mark}{gap}", mark)
        lines, _ = made(given, command=impute)
        before = given.splitlines()
        assert len(lines) == len(before)
        header = next(k for k, line in enumerate(lines) if f"{mark}x_std" in line)
        assert lines[:header] == before[:header]
        for line, old in zip(lines[header + 1 :], before[header + 1 :], strict=True):
            assert line.split(mark)[0] == old.split(mark)[0]
            if not old.strip(mark):
                assert not line.strip(mark)
        place = lines[header].split(mark).index("x")
        rows = [line.split(mark) for line in lines[header + 1 :]]
        values = [float(row[place]) for row in rows if row[0]]
        assert max(abs(value - k - 0.5) for k, value in enumerate(values)) < 3


BELOW = table(DATED).split("\n", 1)[1]
FOREIGN = {
    "units": (f"date,x\n,kWh\n{BELOW}", "line 2", "has units"),
    "format": (
        f"date,x\nYYYY-MM-DD,kWh\n{BELOW}",
        "line 2",
        "has units",
    ),
    "total": (f"{table(DATED)}Total,300\n", "line 26", "has totals"),
    "summe": (f"{table(DATED)}Summe,300\n", "line 26", "has totals"),
    "nameless": (f"{table(DATED)},300\n", "line 26", "has totals"),
    "remark": (f"{table(DATED)}Source: the bank,\n", "line 26", "a remark"),
    "below titles": (f"Sales\n\n{table(DATED)}Total,300\n", "line 28", "has totals"),
    "after blanks": (f"date,x\n,\n{BELOW}Sum,3\n", "line 27", "totals"),
    "numbers": (f"{table(DAYS.strftime('%Y%m%d'))}Total,300\n", "line 26", "has totals"),
    "delimiters": ("date,x\n2024-01-01,1,\n2024-01-02,2,\n", "line 1", "delimiters at the ends"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_lines_that_are_no_rows_are_named(name, made):
    text, line, words = FOREIGN[name]
    told = made(text, code=2)
    assert line in told
    assert words in told


NUMBERED = {
    "Buchungsdatum": (DAYS.strftime("%Y%m%d"), "20240213"),
    "Tag": (DAYS.strftime("%Y%m%d"), "20240213"),
    "key": (DAYS.strftime("%Y-%m-%d"), None),
    "field": (HOURS.strftime("%Y%m%d%H"), "2024020109"),
    "Monat": (pandas.date_range("2022-01", periods=24, freq="MS").strftime("%Y%m"), "202401"),
    "Jahr": (range(2000, 2024), "2024"),
    "created_time": (range(1706745600, 1706745600 + 24 * 3600, 3600), "1706832000"),
    "Datum": (range(45292, 45316), "45316"),
    "date": (DAYS.strftime("%y%m%d"), "240213"),
    "Date": (DAYS.strftime("%Y%j"), "2024044"),
}


@pytest.mark.parametrize("name", [name for name in NUMBERED if name != "key"])
def test_numbers_of_dates_are_found_under_any_name(name, made):
    cells, following = NUMBERED[name]
    lines, told = made(table([str(1000 + 7 * k % 50) for k in range(24)], cells,
                             header=f"y,{name},x"))  # fmt: skip
    assert f"24 steps by {name} at frequency" in told
    assert stamps(lines)[0] == following


def test_days_of_spreadsheets_follow_the_calendar(made):
    firsts = pandas.date_range("2023-01-01", periods=12, freq="MS")
    days = (firsts - pandas.Timestamp("1899-12-30")).days
    lines, told = made(table(days, header="Date,x"))
    assert "12 steps by Date at frequency MS" in told
    assert "are days since 1899-12-30" in told
    assert stamps(lines) == ["45292", "45323"]


@pytest.mark.parametrize(
    ("test", "words"),
    [
        (
            "4.7",
            ["the last 4 steps", "(of --test 4.7:", "the last 1 of them are in no window of 3"],
        ),
        ("2", ["the last 3 steps of each item (of --test 2:"]),
        ("500", ["the last 23 steps of each item (of --test 500:", "the last 2 of them"]),
        ("6", ["the last 6 steps of each item\n"]),
    ],
)
def test_a_backtest_says_which_steps_are_tested(test, words, made):
    told = made(table(DATED), "--horizon", "3", "--test", test, command=backtest)
    for word in words:
        assert word in told


PARTS_OF_YEARS = {
    "quarters": ([10 * (2018 + k // 4) + k % 4 + 1 for k in range(24)], "QS-JAN", "20241"),
    "weeks": ([*range(202040, 202054), *range(202101, 202111)], "W-MON", "202111"),
}


@pytest.mark.parametrize("name", PARTS_OF_YEARS)
def test_numbers_of_quarters_and_weeks_go_on_in_the_next_year(name, made):
    cells, freq, following = PARTS_OF_YEARS[name]
    lines, told = made(table(cells))
    assert f"24 steps by date at frequency {freq}" in told
    assert stamps(lines)[0] == following


def test_a_weekday_tells_days_from_months(made):
    for form, following in (("%d/%m/%Y", "Sat 13/01/2024"), ("%m/%d/%Y", "Sat 01/13/2024")):
        days = pandas.date_range("2024-01-01", periods=12).strftime(f"%a {form}")
        lines, told = made(table(days))
        assert "--date-format" not in told
        assert stamps(lines)[0] == following


def test_steps_that_are_mostly_absent_are_asked_about(made):
    steps = [100 * (k // 8) + k % 8 for k in range(24)]
    assert "would be 208 steps, more than half of them empty" in made(
        table(steps, header="step,x"), code=2
    )
    assert made(table(range(0, 240, 10), header="step,x"))[0][1].startswith("240,")


def test_a_number_written_as_text_names_no_series(made):
    cells = HOURS.strftime("%d/%m/%Y;%H:%M:%S")
    rows = [f"{cell};{'?' if k == 4 else f'{k / 7:.3f}'};{k}" for k, cell in enumerate(cells)]
    _, told = made("\n".join(["Date;Time;a;b", *rows]) + "\n")
    assert "one item, 24 steps by Date+Time at frequency h, variables a, b" in told
    assert "name" not in told.split("variables")[1]


def test_a_number_of_each_row_names_no_series(made):
    rows = [f"{50 * (item == 'b') + k},{item},{day:%Y-%m-%d},{k}"
            for item in "ab" for k, day in enumerate(DAYS)]  # fmt: skip
    _, told = made("\n".join(["id,product,date,x", *rows]) + "\n")
    assert "2 items by product, 48 steps by date at frequency D, variables x," in told


def test_a_number_that_stands_for_a_missing_value_is_told(made):
    for code in ("-9999", "999.9"):
        text = table(DATED).replace(",7.5\n", f",{code}\n")
        assert f"x has {code}, far from its other values" in made(text)[1]
    text = table(DAYS.strftime("%Y-%m-%d")).replace(",7.5\n", ",99\n")
    assert "far from" in made(text)[1]
    text = "date,x\n" + "".join(f"{day},{k * 45.0 % 1000 + k}\n" for k, day in enumerate(DATED))
    assert "far from" not in made(text.replace(",46.0", ",999"))[1]


def test_a_header_below_titles_with_another_delimiter(made):
    titles = "-BEGIN-\nDates: 01/01/2020, all\nLatitude:\t45\n-END-\n"
    _, told = made(titles + table(DATED))
    assert "lines 1 to 4 are above the header and left out: -BEGIN-" in told
    _, told = made("Latitude:\t45\nLongitude:\t8\n\n" + table(DATED))
    assert "lines 1 to 3 are above the header and left out: Latitude" in told


def test_na_is_a_name_among_words(made):
    rows = [f"{day:%Y-%m-%d},{code},{k}" for code in ("NA", "ZA") for k, day in enumerate(DAYS)]
    found, _ = made("\n".join(["date,country,x", *rows]))
    assert {line.split(",")[1] for line in found[1:]} == {"NA", "ZA"}
    rows[3] = rows[3].replace(",NA,3", ",,3")
    assert "the item column country is empty in line 5" in made(
        "\n".join(["date,country,x", *rows]), code=2
    )
