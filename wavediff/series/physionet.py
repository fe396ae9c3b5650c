"""PhysioNet Challenge 2012: 48 hours of 4,000 patients in intensive care, most values missing."""

import csv
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wavediff.data.download import fetch_file
from wavediff.errors import UserError
from wavediff.inputs import expanded
from wavediff.series.series_set import Series, SeriesSet

# Silva et al. 2012, "Predicting in-hospital mortality of ICU patients"; ODC-By 1.0.
SET_A = "https://physionet.org/files/challenge-2012/1.0.0/set-a.tar.gz"
HOURS = 48
# With enough values; in CSDI's order, which its draws depend on.
VARIABLES = (
    *("DiasABP", "HR", "Na", "Lactate", "NIDiasABP", "PaO2", "WBC", "pH", "Albumin", "ALT"),
    *("Glucose", "SaO2", "Temp", "AST", "Bilirubin", "HCO3", "BUN", "RespRate", "Mg", "HCT"),
    *("SysABP", "FiO2", "K", "GCS", "Cholesterol", "NISysABP", "TroponinT", "MAP", "TroponinI"),
    *("PaCO2", "Platelets", "Urine", "NIMAP", "Creatinine", "ALP"),
)
PARTS = ("train", "validation", "test", "masked")


def physionet(
    root: str, part: str = "train", missing: float = 0.1, fold: int = 0, seed: int = 1
) -> SeriesSet:
    """The patients of set A in the protocol of CSDI (Tashiro et al. 2021; ``dataset_physio.py``).

    An hour has the last value in it. Each variable is standardised over all patients.

    Args:
        root: folder with ``set-a.tar.gz``, or the folder ``set-a`` with a file for each patient.
        part: ``train``; ``validation``; ``test``, the complete patients of a fold; or ``masked``,
            the same without the values to be imputed and scored.
        missing: the share of each patient's values to be imputed and scored.
        fold: 0 to 4, the fifth that is for testing.
        seed: of the draws of values and patients.

    Raises:
        UserError: for an argument out of range, or files that cannot be read.
    """
    if part not in PARTS:
        raise UserError(f"data.part={part} is invalid: choose one of {', '.join(PARTS)}")
    if not 0 < missing < 1:
        raise UserError(f"data.missing={missing} is out of range: give a share between 0 and 1")
    if fold not in range(5):
        raise UserError(f"data.fold={fold} is out of range: give 0 to 4")
    names, values, hidden = [], [], []
    draw = np.random.RandomState(seed)
    for name, text in _files(expanded(root)):
        hours = _hours(name, text)
        places = np.flatnonzero(~np.isnan(hours.reshape(-1)))
        if not len(places):
            continue
        mask = np.zeros(hours.size, bool)
        mask[draw.choice(places, int(len(places) * missing), replace=False)] = True
        names.append(name)
        values.append(hours)
        hidden.append(mask.reshape(hours.shape))
    cells = _standardised(np.stack(values))
    if part == "masked":
        cells = np.where(np.stack(hidden), np.nan, cells)
    chosen = _split(len(names), fold, seed)["test" if part == "masked" else part]
    items = [Series(names[i], 0, np.ascontiguousarray(cells[i].T)) for i in chosen]
    return SeriesSet(items, list(VARIABLES))


def _split(count: int, fold: int, seed: int) -> dict[str, np.ndarray]:
    """The numbers of the patients in each part."""
    numbers = np.arange(count)
    np.random.RandomState(seed).shuffle(numbers)
    start, stop = int(fold * 0.2 * count), int((fold + 1) * 0.2 * count)
    rest = np.delete(numbers, np.arange(start, stop))
    np.random.RandomState(seed).shuffle(rest)
    train = int(count * 0.7)
    return {"test": numbers[start:stop], "train": rest[:train], "validation": rest[train:]}


def _standardised(cells: np.ndarray) -> np.ndarray:
    """``[patients, hours, variables]`` with mean 0 and standard deviation 1 of each variable."""
    count = np.isfinite(cells).sum((0, 1)).clip(1)
    cells = cells - np.nansum(cells, (0, 1)) / count
    spread = np.sqrt(np.nansum(cells**2, (0, 1)) / count)
    return cells / np.where(spread > 0, spread, 1.0)


def _hours(name: str, text: str) -> np.ndarray:
    """float64 ``[48, 35]``: the last value of each hour, NaN where there is none."""
    hours = np.full((HOURS, len(VARIABLES)), np.nan)
    columns = {variable: k for k, variable in enumerate(VARIABLES)}
    try:
        for row in csv.DictReader(io.StringIO(text)):
            hour, column = int(row["Time"].split(":")[0]), columns.get(row["Parameter"])
            if column is not None and hour < HOURS:
                hours[hour, column] = float(row["Value"])
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise UserError(
            f"{name} is not a patient of PhysioNet Challenge 2012 ({error!r}): remove set-a and "
            "try again"
        ) from error
    return hours


def _files(root: Path) -> Iterator[tuple[str, str]]:
    """(number, text of the file) of each patient, in order of the numbers."""
    folder, found = root / "set-a", {}
    if folder.is_dir():
        found = {path.stem: path.read_text() for path in folder.glob("[0-9]*.txt")}
    else:
        folder = fetch_file(SET_A, root, "8 MB")
        try:
            with tarfile.open(folder) as archive:
                for member in archive:
                    inside = Path(member.name)
                    if member.isfile() and inside.suffix == ".txt" and inside.stem.isdigit():
                        file = archive.extractfile(member)
                        found[inside.stem] = file.read().decode() if file else ""
        except (OSError, tarfile.TarError, EOFError, UnicodeDecodeError) as error:
            raise UserError(
                f"{folder} cannot be read ({error}): remove it and try again"
            ) from error
    if not found:
        raise UserError(f"{folder} has no patients (132539.txt, ...): remove it and try again")
    yield from sorted(found.items())
