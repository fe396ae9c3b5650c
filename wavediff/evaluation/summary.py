"""Means over files, with their confidence intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from wavediff.evaluation.pairs import PairResult


@dataclass(frozen=True)
class Summary:
    n: int
    mean: float | None  # None for no values
    low: float | None  # 95 % confidence interval of the mean; None for fewer than two values
    high: float | None


def summarize(values: Sequence[float]) -> Summary:
    """Mean and its 95 % confidence interval over files: mean +- t s / sqrt(n), Student's t.

    s is the sample standard deviation (n - 1), t the 97.5 % quantile for n - 1 degrees of freedom.
    """
    n = len(values)
    if n == 0:
        return Summary(0, None, None, None)
    mean = float(np.mean(values))
    if n == 1:
        return Summary(1, mean, None, None)
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return Summary(n, mean, mean - half, mean + half)


@dataclass(frozen=True)
class Scores:
    """What one measure says of many files."""

    estimate: Summary
    noisy: Summary
    improvement: Summary  # by file, positive for better, whichever way the measure goes


def summarize_files(judgements: Sequence[PairResult], measure: str) -> Scores:
    """``summarize`` each of the three for a measure over the files for which it is there."""
    columns = zip(*((j.values, j.noisy_values, j.improvements) for j in judgements), strict=True)
    return Scores(*(summarize([c[measure] for c in column if measure in c]) for column in columns))
