"""Tests and intervals of listening tests."""

from collections.abc import Sequence

import numpy as np
from scipy import stats
from scipy.optimize import brentq

LEVEL = 0.05  # of all tests together
EXACT_UP_TO = 12  # differences with ties, of whose signs all combinations are counted


def wilcoxon(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test.

    Zeros are left out (Wilcoxon 1945). Without ties the distribution is exact up to 50
    differences, with ties up to ``EXACT_UP_TO``; beyond, it is the normal approximation.
    """
    values = np.round(np.asarray(differences, dtype=np.float64), 9)  # ties of means are ties
    values = values[values != 0]
    if not len(values):
        return 1.0
    ties = len(set(np.abs(values))) < len(values)
    if not ties:
        return float(stats.wilcoxon(values, method="auto").pvalue)
    if len(values) <= EXACT_UP_TO:
        return _signed_rank_exact(values)
    return float(stats.wilcoxon(values, method="asymptotic", correction=True).pvalue)


def _signed_rank_exact(values: np.ndarray) -> float:
    """The share of all combinations of signs whose rank sum is as far from its mean."""
    ranks = stats.rankdata(np.abs(values))
    bits = np.arange(2 ** len(ranks))[:, None] >> np.arange(len(ranks)) & 1
    sums = bits @ ranks
    centre = ranks.sum() / 2
    observed = abs(ranks[values > 0].sum() - centre)
    return float(np.mean(np.abs(sums - centre) >= observed - 1e-9))


def binomial(successes: int, n: int, alternative: str) -> float:
    """Return the p-value of the exact binomial test of a share of one half.

    Args:
        successes: of ``n``.
        alternative: ``two-sided`` (a preference) or ``greater`` (better than guessing).
    """
    return float(stats.binomtest(successes, n, 0.5, alternative).pvalue) if n else 1.0


def share_interval(successes: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share by Clopper and Pearson."""
    interval = stats.binomtest(successes, n).proportion_ci(0.95, "exact")
    return float(interval.low), float(interval.high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm (1979), in the same order.

    All that are at most 0.05 are significant, with at most 5 % chance of any false one.
    """
    order = np.argsort(p_values, kind="stable")
    m, highest, adjusted = len(p_values), 0.0, [0.0] * len(p_values)
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (m - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def binomial_power(n: int, share: float, alternative: str, level: float = LEVEL) -> float:
    """Return the probability that the exact binomial test finds a true share.

    It is the probability of all counts k, of Binomial(n, share), that the test rejects.
    """
    return float(stats.binom.pmf(_rejected(n, alternative, level), n, share).sum())


def _rejected(n: int, alternative: str, level: float) -> np.ndarray:
    """The counts for which ``binomial`` is at most ``level``."""
    counts = np.arange(n + 1)
    if alternative == "greater":
        p = stats.binom.sf(counts - 1, n, 0.5)
    else:  # symmetric: both tails
        p = 2 * stats.binom.sf(np.maximum(counts, n - counts) - 1, n, 0.5)
    return counts[p <= level]


def detectable_share(n: int, alternative: str, level: float, power: float = 0.8) -> float | None:
    """Return the smallest share above one half that is found with ``power``; None if none is."""
    rejected = _rejected(n, alternative, level)
    if not len(rejected):
        return None

    def excess(share: float) -> float:
        return float(stats.binom.pmf(rejected, n, share).sum()) - power

    return float(brentq(excess, 0.5, 1.0))
