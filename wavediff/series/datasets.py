"""Public datasets of time series by name.

Files that their authors publish are downloaded to ``root`` where they are absent. Series of
statsmodels come with its wheel (the extra ``series``).
"""

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from wavediff.data.download import fetch_file
from wavediff.errors import UserError
from wavediff.inputs import expanded
from wavediff.series.reading import read_series
from wavediff.series.series_set import Series, SeriesSet

# Salinas et al. 2019, "High-dimensional multivariate forecasting with low-rank Gaussian copula
# processes", from where GluonTS has them: {name: (frequency, size)}.
COPULA = (
    "https://raw.githubusercontent.com/mbohlkeschneider/gluon-ts/mv_release/datasets/{}_nips.tar.gz"
)
ROLLING = {
    "exchange_rate": ("B", "0.7 MB"),
    "electricity": ("h", "8 MB"),
    "solar": ("h", "3 MB"),
    "traffic": ("h", "20 MB"),
}
STATSMODELS = {  # {name: (variable, frequency)}
    "sunspots": ("sunspots", "YS-JAN"),
    "co2": ("co2", "W-SAT"),
    "elnino": ("temperature", "MS"),
}
ETT = "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/{}.csv"
M4 = "https://raw.githubusercontent.com/Mcompetitions/M4-methods/master/Dataset/{}/Hourly-{}.csv"
# Yi et al. 2016, "ST-MVL: filling missing values in geo-sensory time series data".
STMVL = "https://www.microsoft.com/en-us/research/wp-content/uploads/2016/06/STMVL-Release.zip"
PM25_TEST_MONTHS = (3, 6, 9, 12)

Row = Mapping[str, Any]  # {"start", "target", ...}


def csv(
    path: str,
    time: str | None = None,
    item: str | None = None,
    targets: list[str] | None = None,
    known: Sequence[str] = (),
    static: Sequence[str] = (),
    freq: str | None = None,
) -> SeriesSet:
    """Any CSV or Parquet file; the arguments are those of ``read_series``."""
    return read_series(
        path, time=time, item=item, targets=targets, known=known, static=static, freq=freq
    )


def rolling(root: str, name: str) -> SeriesSet:
    """exchange_rate, electricity, solar or traffic in GluonTS's split.

    The test windows are the end of each series.

    Args:
        root: folder with ``NAME_nips.tar.gz`` or the folder ``NAME_nips``.
        name: one of ``ROLLING``.

    Raises:
        UserError: for another name, or files that cannot be read.
    """
    if name not in ROLLING:
        raise UserError(f"data.name={name} is invalid: choose one of {', '.join(ROLLING)}")
    freq, size = ROLLING[name]
    folder = _root(root)
    unpacked = folder / f"{name}_nips"
    if unpacked.is_dir():
        parts = {part: _lines(unpacked / part / f"{part}.json") for part in ("train", "test")}
    else:
        parts = _archive(fetch_file(COPULA.format(name), folder, size))
    train, test = parts["train"], parts["test"]
    items = [_longest(test[number :: len(train)]) for number in range(len(train))]
    starts = {start for start, _ in items}
    if len(starts) == len({len(values) for _, values in items}) == 1:
        values = np.stack([values for _, values in items])
        series = [Series(name, starts.pop(), values)]
        return SeriesSet(series, [f"v{i}" for i in range(len(values))], freq)
    series = [Series(str(i), start, values[None]) for i, (start, values) in enumerate(items)]
    return SeriesSet(series, ["value"], freq)


def ett(root: str, name: str) -> SeriesSet:
    """Seven loads and temperatures of a transformer, hourly or every 15 minutes (Zhou et al. 2021,
    "Informer").

    Args:
        root: folder with ``NAME.csv``.
        name: ETTh1, ETTh2, ETTm1 or ETTm2.

    Raises:
        UserError: for another name, or a file that cannot be read.
    """
    if name not in ("ETTh1", "ETTh2", "ETTm1", "ETTm2"):
        raise UserError(f"data.name={name} is invalid: choose ETTh1, ETTh2, ETTm1 or ETTm2")
    size = "2.6 MB" if name.startswith("ETTh") else "10 MB"
    return read_series(fetch_file(ETT.format(name), _root(root), size))


def m4_hourly(root: str) -> SeriesSet:
    """The 414 hourly series of the M4 competition; the last 48 steps of each are its test span.

    The files have no timestamps: as in GluonTS, all series begin at 1750-01-01.

    Args:
        root: folder with ``Hourly-train.csv`` and ``Hourly-test.csv``, or ``M4-Hourly-train.csv``
            and ``M4-Hourly-test.csv``.
    """
    folder, tables = _root(root), []
    for part, size in (("train", "2.3 MB"), ("test", "0.1 MB")):
        local = folder / f"M4-Hourly-{part}.csv"
        place = local if local.is_file() else None
        place = place or fetch_file(M4.format(part.capitalize(), part), folder, size)
        tables.append(pandas.read_csv(place, index_col=0))
    train, test = tables
    start = pandas.Timestamp("1750-01-01")
    items = []
    for name, row in train.iterrows():
        values = row.to_numpy(float)
        values = values[: int(np.flatnonzero(~np.isnan(values))[-1]) + 1]
        future = test.loc[name].to_numpy(float)
        items.append(Series(name, start, np.concatenate([values, future])[None]))
    return SeriesSet(items, ["value"], "h")


def pm25(root: str, part: str = "train") -> SeriesSet:
    """PM2.5 in Beijing, 36 stations, hourly, in the protocol of CSDI.

    Months 3, 6, 9 and 12 are for testing, each of them an item; the runs of months between are for
    training.

    Args:
        root: folder with ``pm25_ground.txt`` and ``pm25_missing.txt``, or ``STMVL-Release.zip``.
        part: ``train``; ``test``, the complete test months; or ``masked``, the same without the
            values to be imputed and scored.

    Raises:
        UserError: for another part, or files that cannot be read.
    """
    if part not in ("train", "test", "masked"):
        raise UserError(f"data.part={part} is invalid: choose train, test or masked")
    folder = _root(root)
    name = "pm25_missing.txt" if part == "masked" else "pm25_ground.txt"
    if (folder / name).is_file():
        frame = pandas.read_csv(folder / name)
    else:
        with zipfile.ZipFile(fetch_file(STMVL, folder, "20 MB")) as archive:
            inside = next(each for each in archive.namelist() if each.endswith(name))
            frame = pandas.read_csv(io.BytesIO(archive.read(inside)))
    whole = read_series(frame, time="datetime")
    times, values = whole.times(0), whole.items[0].values
    testing = times.month.isin(PM25_TEST_MONTHS)
    bounds = np.flatnonzero(np.diff(testing)) + 1
    pieces = zip([0, *bounds], [*bounds, len(times)], strict=True)
    items = [
        Series(times[a].strftime("%Y-%m"), times[a], values[:, a:b].copy())
        for a, b in pieces
        if testing[a] == (part != "train")
    ]
    return SeriesSet(items, whole.variables, whole.freq)


def statsmodels(name: str) -> SeriesSet:
    """Series that come with statsmodels.

    Args:
        name: ``sunspots``, yearly, 1700 to 2008; ``co2``, carbon dioxide at Mauna Loa, weekly, 1958
            to 2001, some missing; or ``elnino``, sea surface temperature in the eastern Pacific,
            monthly, 1950 to 2010.

    Raises:
        UserError: for another name, or where statsmodels is not installed.
    """
    if name not in STATSMODELS:
        raise UserError(f"data.name={name} is invalid: choose one of {', '.join(STATSMODELS)}")
    variable, freq = STATSMODELS[name]
    try:
        from statsmodels import datasets
    except ImportError as error:
        raise UserError(
            f'{name} comes with statsmodels: pip install "wavediff[series]" to have it'
        ) from error
    frame = getattr(datasets, name).load_pandas().data
    if name == "co2":
        return read_series(frame.rename_axis("time"), freq=freq)
    start = pandas.Timestamp(year=int(frame["YEAR"].iloc[0]), month=1, day=1)
    values = frame.drop(columns="YEAR").to_numpy(float).reshape(1, -1)
    return SeriesSet([Series(name, start, values)], [variable], freq)


def _root(root: str) -> Path:
    return expanded(root)


def _lines(path: Path) -> list[Row]:
    try:
        return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): download it again") from error


def _archive(path: Path) -> dict[str, list[Row]]:
    """The rows of train.json and test.json, or of data.json in folders of these names."""
    parts: dict[str, list[Row]] = {"train": [], "test": []}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                inside = Path(member.name)
                if member.isfile() and inside.suffix == ".json" and inside.parent.name in parts:
                    file = archive.extractfile(member)
                    lines = file.read().splitlines() if file else []
                    parts[inside.parent.name] += [json.loads(line) for line in lines if line]
    except (OSError, tarfile.TarError, EOFError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): remove it and try again") from error
    if not parts["train"] or not parts["test"]:
        raise UserError(f"{path} has no train and test series: remove it and try again")
    return parts


def _longest(rows: list[Row]) -> tuple[pandas.Timestamp, np.ndarray]:
    """The longest of the versions of a series, which end with one test window after the other."""
    row = max(rows, key=lambda row: len(row["target"]))
    return pandas.Timestamp(row["start"]), np.array(row["target"], np.float64)
