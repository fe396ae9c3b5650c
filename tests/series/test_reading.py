"""Tables of series as people have them, good and bad."""

import gzip

import numpy as np
import pandas
import pytest

from wavediff.errors import UserError
from wavediff.series.frequency import infer, normalize, positions, stamps
from wavediff.series.reading import read_series

HOURS = [f"2024-01-01 {hour:02d}:00" for hour in range(24)]


@pytest.fixture
def read(tmp_path):
    """read(text, **settings): the series in a CSV of that text."""

    def make(text: str | bytes, **settings):
        path = tmp_path / "table.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_series(path, **settings)

    return make


def table(times, values=None, header="time,x") -> str:
    values = range(len(times)) if values is None else values
    return "\n".join([header, *(f"{t},{v}" for t, v in zip(times, values, strict=True))]) + "\n"


def test_a_wide_table_with_missing_cells_and_missing_rows(read):
    series = read("when,a,b\n2024-01-01,1,\n2024-01-02,2,5\n2024-01-04,,7\n")
    assert (len(series), series.freq, series.variables) == (1, "D", ["a", "b"])
    nan = np.nan
    np.testing.assert_array_equal(series.items[0].values, [[1, 2, nan, nan], [nan, 5, nan, 7]])
    assert series.items[0].start == pandas.Timestamp("2024-01-01")
    assert list(series.labels(0, 3, 5)) == ["2024-01-04", "2024-01-05"]
    assert (series.origin.time, series.origin.item_column) == ("when", None)
    assert series.origin.step.tolist() == [0, 1, 3]
    assert (
        "one item, 4 steps by when at frequency D, variables a, b, 50 % missing"
        in (series.notes[0])
    )


def test_a_long_table_of_two_items_of_different_lengths_by_months(read):
    early = pandas.date_range("2020", periods=5, freq="MS")
    late = pandas.date_range("2021", periods=9, freq="MS")
    rows = [f"{t:%Y-%m-%d},b,{i}" for i, t in enumerate(early)]
    rows += [f"{t:%Y-%m-%d},a,{i}" for i, t in enumerate(late)]
    rows = rows[::2] + rows[1::2]
    series = read("\n".join(["month,item,x", *rows]) + "\n")
    assert series.freq == "MS"
    assert [(item.name, item.length) for item in series.items] == [("b", 5), ("a", 9)]
    np.testing.assert_array_equal(series.items[1].values, [np.arange(9.0)])
    assert "the rows were not in the order of time: they are sorted" in series.notes
    origin = series.origin
    names = [series.items[i].name for i in origin.item]
    assert names == [row.split(",")[1] for row in rows]
    found = [series.items[i].values[0, s] for i, s in zip(origin.item, origin.step, strict=True)]
    assert found == [float(row.split(",")[2]) for row in rows]  # every row knows its cell


def test_a_frame_comes_back(read):
    series = read("time,item,x,y\n" + "".join(f"{t},{i},{i},2\n" for i in "12" for t in HOURS))
    frame = series.frame()
    assert list(frame.columns) == ["time", "item", "x", "y"]
    again = read_series(frame)
    for one, other in zip(series.items, again.items, strict=True):
        assert (one.name, one.start) == (other.name, other.start)
        np.testing.assert_array_equal(one.values, other.values)


FREQUENCIES = ["h", "15min", "3h", "D", "2D", "B", "W-SUN", "W-WED", "MS", "ME", "2MS"]
FREQUENCIES += ["QS-JAN", "QS-FEB", "QE-DEC", "YS-JAN", "YE-DEC", "BME", "BMS", "s"]


@pytest.mark.parametrize("freq", FREQUENCIES)
def test_a_frequency_is_found_despite_gaps_and_goes_on(read, freq):
    times = pandas.date_range("2019-02-01", periods=60, freq=freq)
    kept = [i for i in range(40) if i not in (7, 8, 20)]
    series = read(table(times[kept], kept))
    assert series.freq == freq
    expected = np.where(np.isin(np.arange(40), kept), np.arange(40.0), np.nan)
    np.testing.assert_array_equal(series.items[0].values, [expected])
    assert (series.times(0, 0, 60) == times).all()
    assert (series.times(0, 35, 45) == times[35:45]).all()
    before = stamps(times[30], freq, -30, 30)  # and backwards
    assert (before == times).all()


@pytest.mark.parametrize(
    ("cells", "freq", "last"),
    [
        (["2024Q1", "2024Q2", "2024Q4"], "QS-JAN", "2024Q4"),
        (["2024-01", "2024-02", "2024-04"], "MS", "2024-04"),
        (["2024-01-15", "2024-02-15", "2024-04-15"], "MS", "2024-04-15"),
        (["20240101", "20240102", "20240104"], "D", "20240104"),
        (["202401", "202402", "202404"], "MS", "202404"),
        (["31/01/24", "01/02/24", "03/02/24"], "D", "03/02/24"),
        (["31.01.24", "01.02.24", "03.02.24"], "D", "03.02.24"),
        (["31-01-24 14:00", "31-01-24 15:00", "31-01-24 17:00"], "h", "31-01-24 17:00"),
        (["31/01/2024 12:00 PM", "31/01/2024 01:00 PM", "31/01/2024 03:00 PM"], "h",
         "31/01/2024 03:00 PM"),
        (["Q1 2020", "Q2 2020", "Q4 2020"], "QS-JAN", "Q4 2020"),
        (["2020 Q1", "2020 Q2", "2020 Q4"], "QS-JAN", "2020 Q4"),
        (["2015M01", "2015M02", "2015M04"], "MS", "2015M04"),
        (["2020-W52", "2020-W53", "2021-W02"], "W-MON", "2021-W02"),
        (["5 Jan 2024", "6 Jan 2024", "8 Jan 2024"], "D", None),
        (["1706745600", "1706749200", "1706756400"], "h", "1706756400"),
        (["2024/01/01 01:00:00", "2024/01/01 02:00:00", "2024/01/01 04:00:00"], "h", None),
        (["2024-01-01T01:00:00+01:00", "2024-01-01T02:00:00+01:00", "2024-01-01T04:00:00+01:00"],
         "h", "2024-01-01T04:00:00+01:00"),
        (["13/01/2024", "14/01/2024", "16/01/2024"], "D", "16/01/2024"),
        (["01/13/2024", "01/14/2024", "01/16/2024"], "D", "01/16/2024"),
        (["1.2.2024", "2.2.2024", "4.2.2024"], "D", None),
    ],
)  # fmt: skip
def test_stamps_are_read_and_written_as_the_table_has_them(read, cells, freq, last):
    series = read(table(cells, header="date,x"))
    assert (series.freq, series.items[0].length) == (freq, 4)
    label = series.labels(0, 3, 4)[0]
    assert str(label).removesuffix(" 00:00:00") == (last or cells[-1])


def test_years_seconds_and_plain_steps_are_numbers(read):
    years = read(table([1700, 1701, 1703], header="YEAR,x"))
    assert years.freq == "YS-JAN"
    assert list(years.labels(0, 3, 5)) == [1703, 1704]
    seconds = read(table([1700000000, 1700003600, 1700010800], header="timestamp,x"))
    assert (seconds.freq, seconds.items[0].length) == ("h", 4)
    steps = read(table([0, 10, 30], header="step,x"))
    assert steps.freq is None
    assert list(steps.times(0, 3, 5)) == [30, 40]


def test_an_ambiguous_order_of_day_and_month_is_told(read):
    series = read(table(["01/02/2024", "02/02/2024", "03/02/2024"]))
    assert any("read month first" in note for note in series.notes)
    assert any("%d/%m/%Y fits too: --date-format decides" in note for note in series.notes)
    series = read(table(["01/02/2024", "02/02/2024", "03/02/2024"]), date_format="%d/%m/%Y")
    assert series.freq == "D"
    assert not any("first" in note for note in series.notes)
    # without one, the order that gives a regular series
    months = pandas.date_range("2020-01-01", periods=30, freq="MS").strftime("%d/%m/%y")
    series = read(table(list(months)))
    assert (series.freq, series.items[0].length) == ("MS", 30)
    # one day above 12, far down, decides for the whole column
    days = pandas.date_range("2024-01-01", periods=40).strftime("%d/%m/%y")
    assert read(table(list(days))).freq == "D"
    assert not any("first" in note for note in read(table(["2024-01-02", "2024-01-03"])).notes)


def test_delimiters_decimal_commas_and_packed_files(read, tmp_path):
    series = read("Datum;Wert\n01.02.2024;1,5\n02.02.2024;2,5\n")
    np.testing.assert_array_equal(series.items[0].values, [[1.5, 2.5]])
    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress(table(HOURS).encode()))
    assert read_series(packed).items[0].length == 24
    assert read("\ufefftime,x\n2024-01-01,1\n2024-01-02,1\n").time_name == "time"


def test_parquet_and_frames_with_an_index(tmp_path):
    frame = pandas.DataFrame({"x": [1.0, 2, 3]}, pandas.date_range("2024", periods=3, freq="h"))
    frame.to_parquet(tmp_path / "t.parquet")
    for source in (frame, tmp_path / "t.parquet"):
        series = read_series(source)
        assert series.freq == "h"
        np.testing.assert_array_equal(series.items[0].values, [[1, 2, 3]])
    periods = frame.set_axis(pandas.period_range("2024-01", periods=3, freq="M"))
    assert read_series(periods).freq == "MS"
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        read_series(tmp_path / "bad.parquet")


def test_arrays_are_series_of_plain_steps():
    values = np.random.default_rng(0).normal(size=(3, 10, 2))
    series = read_series(values)
    assert (len(series), series.freq, len(series.variables)) == (3, None, 2)
    np.testing.assert_array_equal(series.items[1].values, values[1].T)
    assert read_series(values[0]).items[0].values.shape == (2, 10)
    assert read_series(values[0, :, 0], freq="M").freq == "ME"
    for bad in (np.array(["a"]), np.zeros((0, 3)), np.full((3, 1), np.nan), np.array([np.inf])):
        with pytest.raises(UserError, match="array"):
            read_series(bad)


def test_covariates_reach_beyond_the_targets_and_statics_are_kept(read):
    text = "time,x,promo,size,kind\n2024-01-01,1,0,3,u\n2024-01-02,2,,3,u\n2024-01-03,,1,3,u\n"
    series = read(text, known=["promo"], static=["size", "kind"])
    item = series.items[0]
    np.testing.assert_array_equal(item.values, [[1, 2]])
    np.testing.assert_array_equal(item.known, [[0, 0.5, 1]])
    assert dict(item.static) == {"size": 3.0, "kind": "u"}
    assert "missing values of the known column promo are interpolated" in series.notes
    with pytest.raises(UserError, match=r"static column promo has 2 values"):
        read(text, static=["promo"])


def test_columns_that_hold_nothing_to_model_are_left_out_and_told(read):
    series = read(",date,x,empty,note\n0,2024-01-01,1,,hi\n1,2024-01-02,2,,ho\n")
    assert series.variables == ["x"]
    assert len([note for note in series.notes if "left out" in note]) == 3


BAD = {
    "no time column": ("a,b\n1,2\n3,4\n", {}, r"no time column .*: a, b\)"),
    "no header": ("2024-01-01,1\n2024-01-02,3\n", {}, "no header"),
    "two time columns": ("a,b,x\n2024-01-01,2024-02-01,1\n", {}, r"several time columns \(a, b\)"),
    "duplicate": (table([*HOURS[:3], HOURS[1]]), {}, r"01:00:00 comes twice \(line 3 and line 5\)"),
    "duplicate of an item": (
        "time,item,x\n2024-01-01,a,1\n2024-01-01,b,1\n2024-01-02,a,1\n2024-01-02,a,2\n",
        {},
        r"2024-01-02 comes twice of item a \(line 4 and line 5\)",
    ),
    "two keys": (
        "time,store,sku,x\n"
        + "".join(f"2024-01-01,{a},{b},1\n" for a in "ab" for b in "xy"),
        {},
        "store and sku in one",
    ),
    "hours, then days": (
        table([*HOURS, *(f"2024-01-{day:02d} 00:00" for day in range(2, 20))]),
        {},
        r"mixed frequencies: most timestamps are 1 hour apart, but 2024-01-03 .*--freq h",
    ),
    "off the grid": (
        table([*HOURS[:5], "2024-01-01 05:20", *HOURS[6:9]]),
        {},
        "mixed frequencies.*05:20:00 comes 80 minutes after",
    ),
    "items of two frequencies": (
        "time,item,x\n"
        + "".join(f"{t},a,1\n" for t in HOURS)
        + "".join(f"2024-01-{day:02d} 00:00,b,1\n" for day in range(1, 9)),
        {},
        "mixed frequencies: the timestamps of b are 1 day apart",
    ),
    "text": (table(HOURS[:5], [1, 2, "oops", 4, 5]), {}, "'oops' in column x, line 4"),
    "text far down": (
        table(pandas.date_range("2024", periods=3000, freq="h"), [1] * 2000 + ["bad"] + [2] * 999),
        {},
        "'bad' in column x, line 2002",
    ),
    "thousands": ('time,x\n2024-01-01,"1,200"\n2024-01-02,$5 EUR\n', {}, "'\\$5 EUR' in column x"),
    "no value": (table(HOURS[:3], ["", "", ""]), {}, "no column with numbers"),
    "no value in a named column": (
        table(HOURS[:3], ["", "", ""]), {"targets": ["x"]}, "column x has no value"
    ),
    "one row": (table(HOURS[:1]), {}, "table.csv: one timestamp has no frequency: .* freq"),
    "infinite": (table(HOURS[:3], [1, "inf", 2]), {}, "inf in column x, line 3, is too large"),
    "far too large": (table(HOURS[:3], [1, 1e300, 2]), {}, "too large"),
    "empty": ("", {}, "is empty"),
    "blank": ("\n\n", {}, "is empty"),
    "only a header": ("time,x\n", {}, "has no rows"),
    "binary": (bytes(range(256)) * 9, {}, "not text in UTF-8"),
    "fields": ("time,x\n2024-01-01,1\n2024-01-02,1,2\n", {}, "Expected 2 fields in line 3, saw 3"),
    "more fields": ("time,x\n2024-01-01,1,3\n2024-01-02,1,2\n", {}, "more fields in its rows"),
    "bad stamp": (table([*HOURS[:3], "soon"]), {}, "'soon' in the time column time, line 5"),
    "no stamp": (table([*HOURS[:3], ""]), {}, "time column time is empty in line 5"),
    "far future": (table(["2024-01-01", "2024-01-02", "4024-01-02"]), {}, "correct the timestamps"),
    "unknown column": (table(HOURS), {"targets": ["y"]}, "no column y: it has time, x"),
    "unknown frequency": (table(HOURS), {"freq": "xx"}, "'xx' is not a frequency"),
    "another frequency": (table(HOURS), {"freq": "D"}, "not on the grid of the frequency D"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(read, name):
    text, settings, words = BAD[name]
    with pytest.raises(UserError, match=words) as caught:
        read(text, **settings)
    assert "\n" not in str(caught.value)


def test_missing_files_and_frames_without_time(tmp_path):
    for source in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(UserError, match="give a CSV or Parquet file"):
            read_series(source)
    with pytest.raises(UserError, match="no time column"):
        read_series(pandas.DataFrame({"x": [1.0, 2.0]}))


def test_what_looks_odd_but_is_usable(read):
    assert read(table(HOURS[:4], [1, 1, 1, 1])).items[0].values.tolist() == [[1, 1, 1, 1]]
    assert read(table(HOURS[:3], [1, 1e30, 2])).items[0].values[0, 1] == 1e30
    assert read(table(HOURS[:1]), freq="H").freq == "h"
    days = [f"2024-01-{day:02d}" for day in range(2, 20)]
    mixed = read(table([*HOURS, *(f"{day} 00:00" for day in days)]), freq="h")
    assert mixed.items[0].length == 24 * 18 + 1


def test_a_zone_with_summer_time_keeps_its_days_and_hours():
    hours = pandas.date_range("2024-03-30", periods=72, freq="h", tz="Europe/Berlin")
    series = read_series(pandas.DataFrame({"t": hours, "x": 1.0}))
    assert (series.freq, series.items[0].length) == ("h", 72)
    assert (series.times(0) == hours).all()
    days = pandas.date_range("2024-03-30", periods=5, freq="D", tz="Europe/Berlin")
    assert read_series(pandas.DataFrame({"t": days, "x": 1.0})).freq == "D"


def test_random_gaps_do_not_change_the_frequency():
    rng = np.random.default_rng(0)
    for freq in ("h", "B", "MS", "W-SUN"):
        times = pandas.date_range("2000-01-03", periods=300, freq=freq)
        kept = times[rng.random(300) < 0.6].to_numpy().astype("M8[us]")
        assert infer([kept], ["x"]) == freq
        assert positions(kept, freq).max() < 300


def test_old_names_of_frequencies_are_understood():
    assert [normalize(freq) for freq in ("H", "15T", "M", "2A", "W")] == [
        "h", "15min", "ME", "2YE-DEC", "W-SUN",
    ]  # fmt: skip
    for freq in ("-1h", "month", ""):
        with pytest.raises(UserError, match="is not a frequency"):
            normalize(freq)


def test_large_tables_are_read_in_pieces(read, monkeypatch):
    monkeypatch.setattr("wavediff.series.table_files.CELLS", 3)  # the least, 1000 rows, in each
    times = pandas.date_range("2024", periods=3500, freq="min")
    rows = [f"{t},{i},{n}\n" for i in "ab" for n, t in enumerate(times)]
    series = read("time,item,x\n" + "".join(rows))
    assert [item.length for item in series.items] == [3500, 3500]
    np.testing.assert_array_equal(series.items[1].values, [np.arange(3500.0)])


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1,234.5", "2,000", "-3"], [1234.5, 2000, -3]),
        (["$1,200", "$900", "-$5"], [1200, 900, -5]),
        (["1 234 EUR", "5 EUR", "7"], [1234, 5, 7]),
        (["12.5 %", "3 %", "4%"], [12.5, 3, 4]),
        (["1.234,5", "2,5", "3,0"], [1234.5, 2.5, 3]),
        (["1", "   ", "3"], [1, np.nan, 3]),
    ],
)
def test_amounts_of_one_notation_are_numbers(read, cells, values):
    rows = [f'2024-01-{day:02};"{cell}"' for day, cell in enumerate(cells, 1)]
    series = read("\n".join(["date;x", *rows]) + "\n")
    np.testing.assert_array_equal(series.items[0].values[0], values)


@pytest.mark.parametrize("cells", [["$5", "5 EUR", "3"], ["1,234", "1'234", "5"], ["1", "x", "3"]])
def test_amounts_of_several_notations_are_refused(read, cells):
    rows = [f'2024-01-{day:02};"{cell}"' for day, cell in enumerate(cells, 1)]
    with pytest.raises(UserError, match="is not a number"):
        read("\n".join(["date;x", *rows]) + "\n")


def test_the_31st_goes_on_at_the_ends_of_shorter_months(read):
    series = read(table(["2023-10-31", "2023-11-30", "2023-12-31"]), freq="MS")
    assert list(series.labels(0, 3, 6)) == ["2024-01-31", "2024-02-29", "2024-03-31"]


def test_trading_hours_and_single_events_are_asked_about(read):
    days = pandas.bdate_range("2024-01-01", periods=8)
    hours = [f"{day.date()} {hour:02}:30" for day in days for hour in range(9, 16)]
    with pytest.raises(UserError, match="more than half of them empty: trading hours"):
        read(table(hours))
    generator = np.random.default_rng(0)
    events = np.sort(generator.choice(100_000, 60, replace=False))
    stamps = pandas.Timestamp("2024-01-01") + pandas.to_timedelta(events, unit="min")
    with pytest.raises(UserError, match=r"mixed frequencies|more than half of them empty"):
        read(table([str(stamp) for stamp in stamps]))
    assert read(table(hours), freq="h").freq == "h"  # who asks for it gets it


def test_zones_are_kept_across_clock_changes(read):
    hours = pandas.date_range("2024-03-30 12:00", periods=24, freq="h", tz="Europe/Berlin")
    series = read_series(pandas.DataFrame({"t": hours, "x": 1.0}))
    ahead = pandas.date_range("2024-03-31 13:00", periods=3, freq="h", tz="Europe/Berlin")
    assert list(series.times(0, 24, 27)) == list(ahead)
    days = pandas.date_range("2024-03-29", periods=4, freq="D", tz="Europe/Berlin")
    series = read_series(pandas.DataFrame({"t": days, "x": 1.0}))
    wanted = [pandas.Timestamp("2024-04-02", tz="Europe/Berlin")]
    assert list(series.times(0, 4, 5)) == wanted

    cells = [stamp.isoformat() for stamp in days]  # midnights, the distance from UTC changes
    series = read(table(cells))
    assert (series.freq, list(series.labels(0, 4, 5))) == ("D", ["2024-04-02T00:00:00"])
    assert any("taken as local days" in note for note in series.notes)
    series = read(table(cells), tz="Europe/Berlin")
    assert list(series.labels(0, 4, 5)) == ["2024-04-02T00:00:00+02:00"]


def test_an_hour_that_comes_twice_needs_a_zone(read):
    hours = pandas.date_range("2024-10-26 22:00", periods=12, freq="h", tz="Europe/Berlin")
    cells = [stamp.strftime("%Y-%m-%d %H:%M") for stamp in hours]
    with pytest.raises(UserError, match=r"02:00:00 comes twice.*or give --tz ZONE if a clock"):
        read(table(cells))
    series = read(table(cells), tz="Europe/Berlin")
    assert (series.freq, series.items[0].length) == ("h", 12)
    assert list(series.labels(0, 12, 13)) == ["2024-10-27 09:00"]
    with pytest.raises(UserError, match="there is no time zone 'Berlin/Europe'"):
        read(table(cells), tz="Berlin/Europe")
