"""Means over files with confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from wavediff.evaluation.pairs import PairResult


@dataclass(frozen=True)
class Summary:
    """The mean of ``n`` values and its 95 % confidence interval, ``low`` to ``high``."""

    n: int
    mean: float | None  # None for no values
    low: float | None  # None for fewer than two values
    high: float | None


def summarize(values: Sequence[float]) -> Summary:
    """Return the mean and its 95 % confidence interval mean +- t s / sqrt(n).

    s is the sample standard deviation (n - 1), t the 97.5 % quantile of Student's distribution with
    n - 1 degrees of freedom.
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
    """One metric over many files."""

    estimate: Summary
    noisy: Summary
    improvement: Summary  # per file, positive for better, whether or not higher is better


def summarize_files(results: Sequence[PairResult], metric: str) -> Scores:
    """Summarise a metric over the files for which it is defined."""
    columns = zip(*((r.values, r.noisy_values, r.improvements) for r in results), strict=True)
    return Scores(*(summarize([c[metric] for c in column if metric in c]) for column in columns))
