"""Prove the measures of series against published values.

    python tools/prove_series_measures.py --m4 m4/ --pm25 pm25/

M4-Hourly (the competition's M4-Hourly-train.csv and M4-Hourly-test.csv): seasonal naive, 48 steps
ahead with a season of 24, has a nine-decile CRPS of 0.0483091941 (GluonTS) and a MASE of 1.193 (the
competition). PM2.5 (CSDI's pm25_ground.txt and pm25_missing.txt): lines through the gaps of each of
the months 3, 6, 9 and 12 miss 20,434 hidden values by 14.46 on average. Exits with 1 where a value
differs.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from wavediff.cli import run
from wavediff.errors import UserError
from wavediff.series.backtest import backtest
from wavediff.series.baselines import FORECASTS, linear_interpolation
from wavediff.series.metrics import measures, sums


def m4_hourly(folder: Path, names: list[str], first: int | None) -> dict[str, dict[str, float]]:
    """Baselines on the competition's split, each series with its whole history."""
    past = pd.read_csv(folder / "M4-Hourly-train.csv", index_col=0)[:first]
    future = pd.read_csv(folder / "M4-Hourly-test.csv", index_col=0)
    known = [past.loc[name].dropna().to_numpy() for name in past.index]
    items = [
        np.concatenate([x, future.loc[name].to_numpy()])[None]
        for name, x in zip(past.index, known, strict=True)
    ]
    models = {name: FORECASTS[name] for name in names}
    return backtest(items, models, None, 48, [[len(x)] for x in known], season=24)


def pm25(folder: Path) -> dict[str, float]:
    """Linear interpolation, a month at a time, scored where only the ground truth has a value."""
    truth, given = (
        pd.read_csv(folder / f"pm25_{name}.txt", index_col="datetime", parse_dates=True)
        for name in ("ground", "missing")
    )
    parts = []
    for month in (3, 6, 9, 12):
        chosen = truth.index.month == month
        values, target = given[chosen].to_numpy().T, truth[chosen].to_numpy().T
        hidden = np.where(np.isnan(values), target, np.nan)
        parts.append(sums(linear_interpolation(values)[None], hidden))
    return measures(parts)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--m4", type=Path, help="folder of M4-Hourly-train.csv and -test.csv")
    parser.add_argument("--pm25", type=Path, help="folder of pm25_ground.txt and pm25_missing.txt")
    parser.add_argument("--model", action="append", choices=list(FORECASTS), default=[])
    parser.add_argument("--first", type=int, help="only that many series of M4, proving nothing")
    arguments = parser.parse_args(argv)
    if arguments.m4 is None and arguments.pm25 is None:
        raise UserError("nothing to prove: give --m4 or --pm25")
    proofs = []
    if arguments.m4 is not None:
        names = ["seasonal naive", *arguments.model]
        for name, row in m4_hourly(arguments.m4, names, arguments.first).items():
            print(f"M4-Hourly, {name}: " + ", ".join(f"{k} {v:.10g}" for k, v in row.items()))
            if name == "seasonal naive" and arguments.first is None:
                proofs.append(abs(row["CRPS (9 deciles)"] - 0.0483091941) < 1e-10)
                proofs.append(abs(row["MASE"] - 1.193) < 5e-4)
    if arguments.pm25 is not None:
        row = pm25(arguments.pm25)
        print(f"PM2.5, linear interpolation: MAE {row['MAE']:.6g} of {row['points']:.0f} points")
        proofs += [abs(row["MAE"] - 14.46) < 5e-3, row["points"] == 20434]
    if proofs:
        print("as published" if all(proofs) else "NOT as published")
    return 0 if all(proofs) else 1


if __name__ == "__main__":
    sys.exit(run(main))
