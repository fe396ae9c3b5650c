"""Tables with odd cells, columns, rows or bytes."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from numpy.random import Generator

from fuzzing.damage import damage_file, damaged
from fuzzing.material import Case, Material, output_of

CELLS = [
    "", " ", "nan", "NaN", "inf", "-inf", "1e400", "1e308", "-1e308", "abc", "1,5", "1.234,56",
    "1_000", "0x10", "(5)", "5-", "€5", "5 %", "٣", "\u22125", "TRUE",
    '"', '""', "'", "\x00", "\ufeff",
    "x" * 200_000, "None", "-", "2024-01-01", "20240230", "0000-Q1", "0000-00-00", "9999-12-31",
    "99999-01-01", "1677-01-01", "2262-05-01", "2024-02-30", "24:00", "2024-01-01T25:00",
    "2024-01-01 00:00+99:00", "1e18", "99999999999999999999", "-1",
]  # fmt: skip


def table_case(rng: Generator, folder: Path, material: Material) -> Case:
    """A table with odd cells, columns, rows or bytes."""
    how = str(rng.choice(["cells", "cells", "text", "bytes", "parquet", "gzip", "times"]))
    path, damage = folder / "table.csv", ""
    if how in ("bytes", "gzip"):
        text = (material.folder / "table.csv").read_bytes()
        if how == "gzip":
            path = folder / "table.csv.gz"
            text = gzip.compress(text)
        data, damage = damaged(rng, text)
        path.write_bytes(data)
    elif how == "parquet":
        path, damage = folder / "table.parquet", _parquet(rng, folder, material)
    elif how == "text":
        damage = str(rng.choice(list(TEXTS)))
        path.write_bytes(TEXTS[damage]((material.folder / "table.csv").read_text()))
    else:
        frame = pandas.read_csv(material.folder / "table.csv", dtype=str)
        if rng.random() < 0.5:
            frame = frame.head(int(rng.choice([1, 2, 5, 50])))
        columns = ["time"] if how == "times" else list(frame)
        for _ in range(rng.integers(1, 6)):
            cell = CELLS[rng.integers(len(CELLS))]
            column = columns[rng.integers(len(columns))]
            row = slice(None) if rng.random() < 0.2 else int(rng.integers(len(frame)))
            frame.loc[frame.index[row], column] = cell
            damage += f"{column}[{row if row != slice(None) else 'all'}] = {cell[:20]!r} "
        frame.to_csv(path, index=False)
    words = _table_command(rng, material, path.name)
    return Case(words, f"{how}: {damage}", output_of(words))


TEXTS: dict[str, Callable[[str], bytes]] = {
    "no header": lambda text: text.partition("\n")[2].encode(),
    "header alone": lambda text: text.partition("\n")[0].encode(),
    "utf-16": lambda text: text.encode("utf-16"),
    "latin-1": lambda text: text.replace("load", "größe").encode("latin-1"),
    "open quote": lambda text: text.replace("\n", '\n"', 3).encode(),
    "semicolons": lambda text: text.replace(",", ";").replace(".", ",").encode(),
    "tabs": lambda text: text.replace(",", "\t").encode(),
    "one column": lambda text: "\n".join(line.split(",")[1] for line in text.splitlines()).encode(),
    "more fields": lambda text: text.replace("\n", ",7,7\n").replace(",7,7\n", "\n", 1).encode(),
    "ragged": lambda text: text.replace(",", "", 5).encode(),
    "duplicate names": lambda text: text.replace("count", "load", 1).encode(),
    "no names": lambda text: text.replace("time,load,count,item", ",,,", 1).encode(),
    "long names": lambda text: text.replace("load", "n" * 100_000, 1).encode(),
    "twice": lambda text: (text + text).encode(),
    "NUL bytes": lambda text: text.replace("\n", "\x00\n", 9).encode(),
    "carriage returns": lambda text: text.replace("\n", "\r").encode(),
    "blank lines": lambda text: text.replace("\n", "\n\n\n").encode(),
    "comments": lambda text: ("# made by\n# a script\n" + text).encode(),
    "wide": lambda text: f"{','.join(f'c{i}' for i in range(20_000))}\n{'1,' * 19_999}1\n".encode(),
    "html": lambda text: b"<!doctype html><html><body>404</body></html>",
    "json": lambda text: b'[{"time": "2024-01-01", "load": 1}]',
}  # fmt: skip


def _parquet(rng: Generator, folder: Path, material: Material) -> str:
    import pyarrow
    from pyarrow import parquet

    path = folder / "table.parquet"
    table = parquet.read_table(material.folder / "table.parquet").replace_schema_metadata()
    count = len(table)
    columns: dict[str, Any] = {
        "duplicate": table["load"],
        "nested": pyarrow.array([[1.0, 2.0]] * count),
        "struct": pyarrow.array([{"a": 1}] * count),
        "binary": pyarrow.array([b"\xff\x00"] * count),
        "decimal": pyarrow.array(np.arange(count)).cast(pyarrow.decimal128(30, 3)),
        "dictionary": pyarrow.array(["a", "b"] * (count // 2)).dictionary_encode(),
        "boolean": pyarrow.array([True, False] * (count // 2)),
        "null": pyarrow.nulls(count),
        "duration": pyarrow.array(np.arange(count), pyarrow.duration("s")),
        "time of day": pyarrow.array(np.arange(count), pyarrow.time64("us")),
        "huge integers": pyarrow.array([2**63 - 1] * count),
    }
    how = str(rng.choice(["bytes", "metadata", *columns]))
    if how == "bytes":
        shutil.copy(material.folder / "table.parquet", path)
        return damage_file(rng, path)
    if how == "metadata":
        wrong = [
            b"{",
            b"[]",
            b'{"index_columns": 3}',
            b'{"columns": [], "index_columns": ["x"]}',
            b"\xff",
        ]
        table = table.replace_schema_metadata({"pandas": wrong[rng.integers(len(wrong))]})
    elif how == "duplicate":
        table = table.append_column("load", columns[how])
    elif rng.random() < 0.3:
        table = table.set_column(0, "time", columns[how])
    elif rng.random() < 0.5:
        table = table.set_column(1, "load", columns[how])
    else:
        table = table.append_column("more", columns[how])
    parquet.write_table(table, path)
    return how


OPTIONS: dict[str, list[str]] = {
    "--horizon": ["0", "-1", "1", "6", "300", "100000", "9" * 20, "abc", "1e3", ""],
    "--freq": ["1ns", "h", "D", "MS", "W-MON", "abc", "-h", "0h", "99999999h", "", "\ud800",
               "x" * 9000],
    "--time": ["time", "load", "nothing", "", "x" * 9000],
    "--target": ["load", "count", "time", "item", "nothing", "", "load,load"],
    "--item": ["item", "time", "load", "nothing", ""],
    "--known": ["count", "load", "item", "nothing", "time"],
    "--samples": ["1", "0", "-3", "100000000", "abc"],
    "--date-format": ["%Y", "%Y-%m-%d %H:%M:%S", "%Q", "%", "", "abc"],
    "--tz": ["Europe/Berlin", "UTC", "Nowhere", "", "../x"],
    "--lower": ["0", "nan", "inf", "1e400", "abc", "1000"],
    "--kind": ["count", "positive", "real", "auto", "abc"],
    "--seed": ["-1", "9" * 30, "0", "abc"],
    "--windows": ["1", "0", "1000"],
    "--quantiles": ["0.1", "0", "1", "2", "-1", "abc", "0.1,0.9"],
}  # fmt: skip


def _table_command(rng: Generator, material: Material, name: str) -> list[str]:
    series = str(material.run("series"))
    words = [
        ["forecast", name, "-o", "out.csv", "--horizon", "4", "--samples", "5"],
        ["forecast", name, "-o", "out.csv", "--samples", "5", "--checkpoint", series],
        ["impute", name, "-o", "out.csv", "--samples", "5"],
        ["backtest", name, "--horizon", "4", "--samples", "5"],
    ][rng.choice(4, p=[0.6, 0.15, 0.15, 0.1])]  # fmt: skip
    for _ in range(rng.choice([0, 0, 1, 2])):
        option = list(OPTIONS)[rng.integers(len(OPTIONS))]
        values = OPTIONS[option]
        words += [option, values[rng.integers(len(values))]]
    return words
