"""Damaged, foreign and absurd tables: one sentence and exit code 2, or what can be used of them."""

import bz2
import datetime
import decimal
import gzip
import io
import lzma
import os
import resource
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pandas
import pyarrow as pa
import pytest
from pyarrow import parquet

from wavediff.cli import run
from wavediff.commands import backtest, forecast, impute
from wavediff.errors import LONGEST
from wavediff.series import table_bytes, table_files

FAST = ["--samples", "4", "--steps", "2", "--device", "cpu"]
pytestmark = pytest.mark.usefixtures("model_is_loaded_once")
HOURS = [f"2024-01-01 {hour:02d}:00" for hour in range(24)]
LONG = "x" * 200_000


def table(times=HOURS, values=None, header="time,x") -> str:
    values = range(1, len(times) + 1) if values is None else values
    return "\n".join([header, *(f"{t},{v}" for t, v in zip(times, values, strict=True))]) + "\n"


@pytest.fixture
def refused(tmp_path, capsys):
    """The sentence with which a command refuses a table."""

    def check(data, *words, name="t.csv", command=forecast):
        path, out = tmp_path / name, tmp_path / f"out{name[1:]}"
        if isinstance(data, pa.Table):
            parquet.write_table(data, path)
        else:
            path.write_bytes(data.encode() if isinstance(data, str) else data)
        options = [] if command is backtest else ["-o", str(out), "--overwrite"]
        code = run(command.main, [str(path), *options, *FAST, *words])
        told = capsys.readouterr()
        lines = told.err.strip().splitlines()
        assert (code, told.out) == (2, ""), lines
        assert lines[-1].startswith("error: ")
        assert len(told.err) < 3 * LONGEST
        assert not out.exists()
        return lines[-1]

    return check


PACKED = gzip.compress(table().encode())
MANY = gzip.compress(table(pandas.date_range("2020", periods=20_000, freq="h")).encode())


def changed(data: bytes, place: int, value: int) -> bytes:
    return data[:place] + bytes([value]) + data[place + 1 :]


@pytest.mark.parametrize(
    "data",
    [
        PACKED[:-20], PACKED[:12], PACKED[:3], MANY[: len(MANY) // 2], PACKED + b"garbage",
        changed(PACKED, 2, 9), changed(PACKED, len(PACKED) - 6, PACKED[-6] ^ 0x55),
        changed(MANY, len(MANY) // 2, MANY[len(MANY) // 2] ^ 0x55),
    ],
    ids=["end", "head", "3 bytes", "half", "trailing", "method", "checksum", "flipped"],
)  # fmt: skip
def test_a_damaged_gzip_file_is_told(refused, data):
    assert "is a damaged gzip file" in refused(data, name="t.csv.gz")


def test_no_flipped_byte_of_a_gzip_file_goes_unnoticed(refused):
    generator = np.random.default_rng(0)
    for place in generator.choice(len(PACKED), 12, replace=False):
        if place not in range(4, 10):  # time, level and system have no checksum
            refused(changed(PACKED, int(place), PACKED[place] ^ 0x41), name="t.csv.gz")


def archive() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        file.writestr("a.csv", table())
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (archive(), "a zip archive or a workbook of Excel"),
        (bz2.compress(table().encode()), "compressed by bzip2"),
        (lzma.compress(table().encode()), "compressed by xz"),
        (gzip.compress(PACKED), "compressed twice"),
        (table().encode("utf-16")[:-3], "not text in UTF-8"),
        (table().encode("utf-16-le"), "NUL bytes, as UTF-16 does"),
        (table().encode("utf-16-be"), "NUL bytes, as UTF-16 does"),
        (table() + "\0" * 500, "NUL bytes"),
        (table().replace("3", "\0"), "NUL bytes"),
        ("Größe,x\n2024-01-01,\x81\n".encode("latin-1"), "not text in UTF-8"),
        (table().encode() + b"2024-01-02 00:00,\xe9\n", "'é' in column x, line 26"),
        ("<!DOCTYPE html><html>", "a web page"),
        ('[{"time": 1}]', "JSON"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "not text in UTF-8"),
        ('time,x\n2024-01-01,"1\n2024-01-02,2\n', "a quote that begins in line 2 never ends"),
        ('"time,x\n2024-01-01,1\n', "a quote that begins in line 1 never ends"),
        ("time\n2024-01-01\n2024-01-02\n", "no column with numbers"),
        ("x\n1\n2\n", "no time column"),
        ("time,x", "has no rows"),
        (",,,\n,,,\n", "has no rows"),
        ("", "is empty"),
        ("time,x\n2024-01-01,1,\n2024-01-02,2,\n", "more fields in its rows"),
        (table() + "Total,300\n", "'Total' in the time column"),
        (f"time,{LONG}\n2024-01-01,1\n", r"the name of column 2 has 200000 characters"),
        (",".join(["time", *map(str, range(30_000))]) + "\n", "30001 columns, more than 20000"),
    ],
)
def test_what_is_no_table_is_told(refused, data, words):
    assert words in refused(data)


STAMPS = {
    "infinite step": (["0", "inf", "2"], "step,x", "inf in the time column step, line 3"),
    "first is infinite": (["inf", "1", "2"], "step,x", "inf in the time column step, line 2"),
    "large step": (["0", "1e30", "2"], "step,x", "1e+30 in the time column step, line 3"),
    "10^25": (["0", "1", str(10**25)], "step,x", "is not a whole number of a step"),
    "10^18": (["0", "1", str(10**18)], "step,x", "is not a whole number of a step"),
    "2^63": ([str(2**63), str(2**63 + 1)], "step,x", "in nanoseconds since 1970"),
    "half": (["0.5", "1", "2"], "step,x", "no time column"),
    "seconds": ([1700000000, 1700003600, 10**17], "timestamp,x", "in seconds since 1970"),
    "infinite second": ([1700000000, 1700003600, "inf"], "timestamp,x", "in seconds since 1970"),
    "text in seconds": ([1700000000, 1700003600, 17e8, "soon"], "ds,x", "soon in the time column"),
    "30 February": (["20240228", "20240229", "20240230"], "date,x", "20240230 in the time column"),
    "month 13": (
        ["202411", "202412", "202413"],
        "date,x",
        "202413 in the time column date",
    ),
    "year 0": (["0000-Q1", "0000-Q2"], "date,x", "'0000-Q1' in the time column"),
    "quarter 5": (["2020-Q3", "2020-Q4", "2020-Q5"], "date,x", "'2020-Q5' in the time column"),
    "week 54": (["2020-W52", "2020-W54"], "date,x", "'2020-W54' in the time column"),
    "year 10000": (["2024-01-01", "2024-01-02", "10000-01-01"], "date,x", "'10000-01-01' in"),
    "year 99999": ([2000, 2001, 99999], "year,x", "99999 in the time column year, line 4"),
    "infinite year": ([2000, 2001, "inf"], "year,x", "inf in the time column year, line 4"),
    "year 10^18": ([2000, 2001, 10**18], "year,x", "in the time column year, line 4"),
    "minus one": ([2000, 2001, -1], "year,x", "-1 in the time column year, line 4"),
    "other digits": (
        [1700000000, 1700003600, "17000\u0661\u0662600"],
        "timestamp,x",
        "in the time column",
    ),
    "long": ([*HOURS[:5], LONG], "time,x", "xxx...' in the time column time, line 7"),
    "far away": (["2024-01-01", "2024-01-02", "9999-12-31"], "date,x", "correct the timestamps"),
}


@pytest.mark.parametrize("name", STAMPS)
def test_timestamps_that_cannot_be(refused, name):
    times, header, words = STAMPS[name]
    assert words in refused(table(times, header=header))


@pytest.mark.parametrize(
    "freq",
    ["1ns", "ns", "0h", "-1D", "9" * 21 + "h", "9999999999h", "10000000000D", "99999999YS", "h;",
     "1e3h", "D" * 100_000, "None", "\0", "month", "W-XXX", "100000B", "bh", "WOM-1MON"],
)  # fmt: skip
def test_frequencies_that_cannot_be(refused, freq):
    for command in (forecast, impute, backtest):
        found = refused(table(), f"--freq={freq}", command=command)
        assert "frequency" in found
        assert len(found) < 300


def test_a_frequency_too_coarse_for_its_horizon(refused):
    words = ["--freq", "900YS", "--horizon", "1000"]
    assert "go beyond the year 200000" in refused(table(HOURS[:1]), *words)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([1, 2, "9" * 400, 4], "inf in column x, line 4, is too large"),
        ([1, 2, "9" * 5000, 4], "in column x, line 4, is not a number"),
        ([1, 2, "1e999", 4], "is too large"),
        ([1, 2, "-inf", 4], "-inf in column x, line 4, is too large"),
        ([1, 2, LONG, 4], "xxx...' in column x, line 4, is not a number"),
        ([1, 2, '"' + "1 " * 200_000 + '"', 4], "in column x, line 4, is not a number"),
        ([1, 2, "1+2j", 4], "'1+2j' in column x, line 4, is not a number"),
        ([1, 2, "\u221e", 4], "in column x, line 4, is not a number"),
    ],
)
def test_numbers_that_cannot_be(refused, cells, words):
    assert words in refused(table(HOURS[:4], cells))
    assert words in refused(table(HOURS[:4], cells), command=impute)


def column(**columns) -> pa.Table:
    return pa.table({"time": pa.array(pandas.date_range("2024", periods=6, freq="h")), **columns})


X = pa.array([1.0, 2.0, 4.0, 3.0, 5.0, 2.0])
STAMPED = column().column("time")
DUPLICATE = pa.Table.from_arrays([STAMPED, X, X], names=["time", "x", "x"])
BAD_PARQUET = {
    "two of one name": (DUPLICATE, [], "has two columns of the name 'x'"),
    "two times": (
        pa.Table.from_arrays([STAMPED, STAMPED, X], names=["time", "time", "x"]),
        [],
        "has two columns of the name 'time'",
    ),
    "lists": (column(x=pa.array([[1.0]] * 6)), ["--targets", "x"], "the column x is of type list"),
    "only lists": (column(x=pa.array([[1.0]] * 6)), [], "no column with numbers"),
    "bytes": (
        column(x=X, b=pa.array([b"\xff"] * 6)),
        ["--item", "b"],
        "the column b is of type binary",
    ),
    "no rows": (column(x=X).slice(0, 0), [], "has no rows"),
    "no columns": (pa.table({}), [], "has no rows"),
    "infinite": (column(x=pa.array([1.0, np.inf] * 3)), [], "inf in column x, row 1, is too large"),
    "no date": (
        pa.table({"date": pa.array([datetime.date(2024, 1, 1), None]), "x": X[:2]}),
        [],
        "is empty in row 1",
    ),
    "far future": (
        pa.table({"time": pa.array([2**61, 2**61 + 1]).cast(pa.timestamp("us")), "x": X[:2]}),
        [],
        "is not in the years 1 to 9999",
    ),
    "a zone on Mars": (
        pa.table({"time": pa.array([1, 2]).cast(pa.timestamp("us", "Mars/Base")), "x": X[:2]}),
        [],
        "no time column (its columns: x)",
    ),
}


@pytest.mark.parametrize("name", BAD_PARQUET)
def test_parquet_that_cannot_be_used(refused, name):
    data, words, sentence = BAD_PARQUET[name]
    assert sentence in refused(data, *words, name="t.parquet")


def test_damaged_parquet(refused, tmp_path):
    parquet.write_table(column(x=X, k=pa.array(["a"] * 6)), tmp_path / "good.parquet")
    good = (tmp_path / "good.parquet").read_bytes()
    for data in (b"", good[:-10], good[: len(good) // 2], good[20:], table().encode()):
        assert "cannot be read as Parquet" in refused(data, name="t.parquet")
    generator = np.random.default_rng(0)
    for place in generator.choice(len(good), 60, replace=False):
        (tmp_path / "t.parquet").write_bytes(
            changed(good, int(place), int(generator.integers(256)))
        )
        out = str(tmp_path / "out.csv")
        words = [str(tmp_path / "t.parquet"), "-o", out, "--overwrite", "--horizon", "1", *FAST]
        assert run(forecast.main, words) in (0, 2)


PANDAS = [
    b"{not json", b"[1]", b"\xff\xfe", b"{}",
    b'{"index_columns": ["nope"], "columns": [], "column_indexes": []}',
    b'{"index_columns": ["time"], "columns": 3, "column_indexes": 5}',
]  # fmt: skip
USABLE = {
    "decimals": column(x=pa.array([decimal.Decimal("1.25"), None] * 3)),
    "dictionaries": column(x=X, k=pa.array(["a"] * 6).dictionary_encode()),
    "numbers in a dictionary": column(x=X.dictionary_encode()),
    "large strings": column(x=X, k=pa.array(["a"] * 6, pa.large_string())),
    "truth": column(x=pa.array([True, None, False] * 2)),
    "lists beside": column(x=X, y=pa.array([[1, 2]] * 6), z=pa.array([{"a": 1}] * 6)),
    "bytes beside": column(x=X, y=pa.array([b"\xff"] * 6)),
    "a second time": column(x=X, created=STAMPED),
    "nanoseconds": pa.table({"time": STAMPED.cast(pa.timestamp("ns", "Asia/Kolkata")), "x": X}),
    "dates": pa.table({"d": pa.array([datetime.date(2024, 1, d) for d in range(1, 7)]), "x": X}),
    **{str(bad): column(x=X).replace_schema_metadata({b"pandas": bad}) for bad in PANDAS},
}


@pytest.mark.parametrize("name", USABLE)
def test_parquet_that_can_be_used(name, tmp_path, capsys):
    path, out = tmp_path / "t.parquet", tmp_path / "out.parquet"
    parquet.write_table(USABLE[name], path)
    words = [str(path), "-o", str(out), *FAST]
    assert run(forecast.main, [*words, "--horizon", "2"]) == 0
    found = pandas.read_parquet(out)
    assert [column for column in found if column.endswith("_q0.5")] == ["x_q0.5"]
    assert len(found) == 2
    assert run(impute.main, [*words, "--overwrite"]) == 0
    told = capsys.readouterr().err
    if "beside" in name:
        assert "left out: y" in told
    if name == "a second time":
        assert "columns of timestamps are left out: created" in told


def test_a_cell_of_any_length_is_kept(tmp_path):
    path, out = tmp_path / "t.csv", tmp_path / "out.csv"
    cells = [*HOURS[:12], *HOURS[13:]]
    path.write_text("time,note,x\n" + "".join(f"{t},{LONG},{t[11:13]}\n" for t in cells))
    assert run(impute.main, [str(path), "-o", str(out), *FAST]) == 0
    assert out.read_text().count(LONG) == 23
    path.write_text(path.read_text().replace(",05\n", ",\n"))
    assert run(impute.main, [str(path), "-o", str(out), "--overwrite", *FAST]) == 0
    assert out.read_text().count(LONG) == 23


def test_messages_stay_short(refused, capsys):
    item = "".join(f"{t},{LONG},1\n{t},b,1\n" for t in HOURS[:3])
    assert "comes twice" in refused(f"time,note,x\n{item}")
    words = ["--item", "note"]
    assert "texts of 200000 characters" in refused(f"time,note,x\n{item}", *words)
    item = item.replace(LONG, LONG[:900])
    duplicate = f"time,item,x\n{item}{HOURS[0]},{LONG[:900]},5\n"
    assert len(refused(duplicate)) < 400
    for option in ("--time", "--item", "--targets", "--known", "--static", "--tz", "--freq"):
        assert len(refused(table(), option, LONG)) < 400
    for option in ("--horizon", "--quantiles", "--kind", "--samples", "--lower", "--nonsense"):
        with pytest.raises(SystemExit):
            run(forecast.main, ["t.csv", "-o", "o.csv", option, LONG])
        assert len(capsys.readouterr().err) < 4000  # the usage among it
    many = ",".join(f"column{i}" for i in range(5000))
    assert len(refused(f"time,{many}\n", "--time", "when")) < 600
    with_line = 'time,"a\nb"\n2024-01-01,1\n2024-01-02,3\n2024-01-03,oops\n'
    assert "'oops' in column a b, line 4" in refused(with_line)


def test_long_lines_and_open_quotes_end_early(refused, monkeypatch):
    monkeypatch.setattr(table_bytes, "LINE", 10_000)
    assert "line 2 is longer than 0 MB" in refused("time,x\n" + "1" * 500_000)
    assert "line 1 is longer than 0 MB" in refused("a" * 500_000)
    monkeypatch.setattr(table_bytes, "PIECE", 300_000)
    assert "does not end within 0 MB: close its quotes" in refused(
        'time,x\n2024-01-01,"' + "1\n" * 500_000
    )


def test_a_small_file_of_many_rows_is_refused_at_once(refused, monkeypatch):
    monkeypatch.setattr(table_files, "MEMORY", 1e6)
    rows = pa.table({"time": np.zeros(10**6, np.int64), "x": np.zeros(10**6)})
    assert "has 1000000 rows or more" in refused(rows, name="t.parquet")
    packed = gzip.compress(b"step,x\n" + b"1,1\n" * 10**5)
    assert "rows or more, which would take" in refused(packed, name="t.csv.gz")
    wide = pa.table({f"c{i}": [1.0] for i in range(20_001)})
    assert "20001 columns, more than 20000" in refused(wide, name="t.parquet")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--horizon", "9" * 20], "give a shorter horizon, fewer samples or fewer series"),
        (["--samples", "9" * 20], "give a shorter horizon, fewer samples or fewer series"),
    ],
)
def test_forecasts_of_absurd_size(refused, words, sentence):
    found = table(pandas.date_range("2020", periods=60, freq="D"))
    assert sentence in refused(found, *words)


@pytest.mark.slow
@pytest.mark.parametrize("quote", ["", '"'])
def test_a_line_of_three_gigabytes(quote, tmp_path):
    path, block = tmp_path / "t.csv.gz", b"1" * 2**20
    pack = zlib.compressobj(1, zlib.DEFLATED, 31)
    with open(path, "wb") as file:
        file.write(pack.compress(b"time,x\n2024-01-01,1\n2024-01-02," + quote.encode()))
        for _ in range(3000):
            file.write(pack.compress(block))
        file.write(pack.flush())
    words = ["forecast", str(path), "-o", str(tmp_path / "out.csv"), "--horizon", "2"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(
        [sys.executable, "-m", "wavediff", *words], capture_output=True, env=os.environ, check=False
    )
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 2
    assert b"line 3 is longer than 32 MB" in done.stderr
    assert used.ru_utime - before < 10
    assert used.ru_maxrss < 2e6  # kB
