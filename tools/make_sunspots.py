"""Writes the yearly sunspot numbers of statsmodels, 1700 to 2008, to a CSV file."""

import argparse
import sys
from pathlib import Path

from wavediff.cli import run
from wavediff.files import atomic_path
from wavediff.series.datasets import statsmodels


def main(argv: list[str] | None = None) -> int:
    """Run the tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="CSV")
    output = parser.parse_args(argv).output
    series = statsmodels("sunspots")
    frame = series.frame()
    frame["year"] = frame.pop("time").dt.year
    with atomic_path(output) as path:
        frame[["year", *series.variables]].to_csv(path, index=False)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
