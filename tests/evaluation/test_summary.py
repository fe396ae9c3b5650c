import numpy as np
import pytest

from wavediff.evaluation.summary import summarize


def test_students_interval():
    # n = 4, s = 1.2910, t(0.975, 3) = 3.1824
    summary = summarize([1.0, 2.0, 3.0, 4.0])
    assert (summary.n, summary.mean) == (4, 2.5)
    assert summary.low == pytest.approx(2.5 - 3.1824 * 1.2910 / 2, abs=1e-3)
    assert summary.high == pytest.approx(2.5 + 3.1824 * 1.2910 / 2, abs=1e-3)


def test_the_interval_holds_the_true_mean_95_times_of_100():
    rng = np.random.default_rng(0)
    held = sum((s := summarize(rng.normal(7, 2, size=5))).low <= 7 <= s.high for _ in range(1000))
    assert held / 1000 == pytest.approx(0.95, abs=0.02)


def test_few_values():
    assert summarize([]).mean is None
    one = summarize([3.0])
    assert (one.n, one.mean, one.low, one.high) == (1, 3.0, None, None)
