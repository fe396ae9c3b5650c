"""Tests of listening tests against closed forms, and error rates on simulated listeners."""

from itertools import product
from math import comb

import listening_set
import numpy as np
import pytest
from scipy import stats

from wavediff.evaluation.listening.analysis import analyse
from wavediff.evaluation.listening.plan import identity
from wavediff.evaluation.listening.screening import screen
from wavediff.evaluation.listening.statistics import (
    binomial,
    binomial_power,
    detectable_share,
    holm,
    share_interval,
    wilcoxon,
)
from wavediff.evaluation.listening.validate import check


def sessions(plan, answers, rng):
    """Simulated listeners, one for each function that answers."""
    name = identity(plan.encoded())
    return [
        check(listening_set.simulated(plan, f"l{n}", answer, rng), plan, name)
        for n, answer in enumerate(answers)
    ]


def test_the_binomial_test_sums_the_tail():
    tail = sum(comb(16, k) for k in range(12, 17)) / 2**16
    assert binomial(12, 16, "greater") == pytest.approx(tail)
    assert binomial(12, 16, "two-sided") == pytest.approx(2 * tail)
    assert binomial(8, 16, "two-sided") == 1


def test_the_interval_of_a_share_is_where_the_tails_have_2_5_percent():
    low, high = share_interval(12, 16)
    assert stats.binom.sf(11, 16, low) == pytest.approx(0.025)
    assert stats.binom.cdf(12, 16, high) == pytest.approx(0.025)
    assert share_interval(0, 5)[0] == 0


def test_the_signed_rank_test_counts_signs():
    # all of n positive: 2 of 2^n combinations are as extreme
    assert wilcoxon([1, 2, 3, 4, 5, 6]) == pytest.approx(2 / 2**6)
    assert wilcoxon([1, 1, 1, 1, 1, 0]) == pytest.approx(2 / 2**5)  # ties are exact, too
    assert wilcoxon([0, 0]) == 1
    values = [3, -1, 3, 2, 2, -2, 5]
    ranks = stats.rankdata(np.abs(values))
    mean = ranks.sum() / 2
    observed = abs(ranks[np.array(values) > 0].sum() - mean)
    sums = [
        sum(r for r, sign in zip(ranks, s, strict=True) if sign) for s in product([0, 1], repeat=7)
    ]
    assert wilcoxon(values) == pytest.approx(np.mean(np.abs(np.array(sums) - mean) >= observed))
    many = np.random.default_rng(0).integers(-9, 12, 40)
    assert wilcoxon(many) == pytest.approx(
        stats.wilcoxon(many[many != 0], method="asymptotic", correction=True).pvalue
    )


def test_holm_multiplies_by_what_is_left():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1, 1]
    assert holm([]) == []


def test_power_by_the_closed_form():
    for n, alternative in product([1, 5, 16, 31], ["greater", "two-sided"]):
        rejected = [k for k in range(n + 1) if binomial(k, n, alternative) <= 0.05]
        expected = stats.binom.pmf(rejected, n, 0.7).sum()
        assert binomial_power(n, 0.7, alternative) == pytest.approx(expected, abs=1e-12)
    # 16 trials: 12 right answers are needed
    tail = sum(comb(16, k) * 0.8**k * 0.2 ** (16 - k) for k in range(12, 17))
    assert binomial_power(16, 0.8, "greater") == pytest.approx(tail)
    assert binomial_power(16, 0.5, "greater") == pytest.approx(binomial(12, 16, "greater"))
    share = detectable_share(16, "greater", 0.05)
    assert binomial_power(16, share, "greater") == pytest.approx(0.8, abs=1e-6)
    assert detectable_share(4, "greater", 0.05) is None


def prefers(rng, share):
    """Chooses ours with a probability; hears the anchor of attention trials."""

    def answer(conditions, x):
        if "low anchor" in conditions:
            return conditions.index("reference")
        return conditions.index("ours" if rng.random() < share else "theirs")

    return answer


def test_a_preference_is_found_as_often_as_the_closed_form_says():
    rng = np.random.default_rng(1)
    plan = listening_set.plan("ab", 8, checks=2)
    tests, share = 250, 0.62
    found = 0
    for _ in range(tests):
        analysis = analyse(plan, sessions(plan, [prefers(rng, share)] * 8, rng))
        found += analysis.comparisons[0].significant
    power = binomial_power(64, share, "two-sided")
    spread = np.sqrt(power * (1 - power) / tests)
    assert 0.3 < power < 0.7
    assert found / tests == pytest.approx(power, abs=3 * spread)


def rates(rng, quality, scale=12.0):
    """Rates conditions by their quality, with a bias of the listener and noise."""
    bias = rng.normal(0, 5)

    def answer(condition):
        if condition == "reference":
            return 100
        return np.clip(round(quality[condition] + bias + scale * rng.standard_normal()), 0, 100)

    return answer


def test_without_a_difference_5_percent_of_families_have_a_false_one():
    """Three systems that are alike: Holm keeps any false difference to 5 %."""
    rng = np.random.default_rng(2)
    systems = ("a", "b", "c")
    plan = listening_set.plan("mushra", 3, systems)
    quality = dict.fromkeys(systems, 60) | {"low anchor": 20, "mid anchor": 40}
    tests, single, family = 400, 0, 0
    for _ in range(tests):
        analysis = analyse(plan, sessions(plan, [rates(rng, quality) for _ in range(10)], rng))
        among = [c for c in analysis.comparisons if "reference" not in (c.a, c.b)]
        # against the reference, which is better, all are found
        assert all(c.significant for c in analysis.comparisons if c not in among)
        single += sum(c.p <= 0.05 for c in among)
        family += any(c.significant for c in among)
    assert single / (3 * tests) == pytest.approx(0.05, abs=0.02)
    assert 0.01 < family / tests < 0.05 + 3 * np.sqrt(0.05 * 0.95 / tests)


def test_a_choice_by_chance_is_found_in_at_most_5_percent():
    rng = np.random.default_rng(3)
    plan = listening_set.plan("ab", 6)
    found = [
        analyse(plan, sessions(plan, [prefers(rng, 0.5)] * 8, rng)).comparisons[0].significant
        for _ in range(400)
    ]
    level = binomial_power(48, 0.5, "two-sided")
    assert 0.02 < level <= 0.05
    assert np.mean(found) == pytest.approx(level, abs=3 * np.sqrt(level / 400))


def test_means_are_over_listeners():
    plan = listening_set.plan("mushra", 4)
    quality = {"ours": 70, "theirs": 50, "low anchor": 20, "mid anchor": 40}
    rng = np.random.default_rng(4)
    answers = [rates(rng, {k: v + d for k, v in quality.items()}, 0) for d in (-6, 0, 6)]
    analysis = analyse(plan, sessions(plan, answers, rng))
    ours = next(c for c in analysis.conditions if c.name == "ours")
    values = list(ours.by_listener.values())
    assert len(values) == ours.summary.n == 3
    half = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / np.sqrt(3)
    assert ours.summary.low == pytest.approx(np.mean(values) - half)
    first = analysis.comparisons[0]
    assert (first.a, first.b, first.estimate) == ("ours", "theirs", pytest.approx(20))


def test_abx_counts_right_answers():
    rng = np.random.default_rng(5)
    plan = listening_set.plan("abx", 10, ("mp3",), checks=2)

    def hears(conditions, x):
        return x

    analysis = analyse(plan, sessions(plan, [hears] * 2, rng))
    (comparison,) = analysis.comparisons
    assert (comparison.a, comparison.n, comparison.estimate) == ("mp3", 20, 1)
    assert comparison.p == pytest.approx(2.0**-20)


@pytest.mark.parametrize(
    ("reference", "anchor", "reason"),
    [
        ([100, 90, 95, 100, 100, 100, 80], 50, ""),  # one of seven is 14 %
        ([100, 90, 95, 100, 100, 80], 50, "rates the hidden reference below 90 in 1 of 6 trials"),
        ([100, 100, 100, 100, 100, 100], 91, "rates the mid anchor above 90 in 6 of 6 trials"),
        ([100, 100, 100, 100, 100, 100], 90, ""),
    ],
)
def test_mushra_listeners_are_screened_by_bs_1534(reference, anchor, reason):
    plan = listening_set.plan("mushra", len(reference))
    given = iter(reference)

    def answer(condition):
        return {"reference": lambda: next(given), "mid anchor": lambda: anchor}.get(
            condition, lambda: 40
        )()

    (session,) = sessions(plan, [answer], np.random.default_rng(0))
    assert screen(plan, session) == reason


def test_guessing_listeners_fail_the_attention_trials():
    rng = np.random.default_rng(6)
    for method, systems in (("ab", ("ours", "theirs")), ("abx", ("ours",))):
        plan = listening_set.plan(method, 4, systems, checks=4)
        guess = [lambda conditions, x: int(rng.integers(2))] * 200
        failed = [bool(screen(plan, s)) for s in sessions(plan, guess, rng)]
        # one of four is more than 15 %: 1 in 16 passes
        assert np.mean(failed) == pytest.approx(15 / 16, abs=0.06)
        attend = [lambda conditions, x: prefers(rng, 0.5)(conditions, x) if x is None else x]
        (session,) = sessions(plan, attend, rng)
        assert screen(plan, session) == ""


def test_mos_listeners_are_screened_by_the_anchor():
    plan = listening_set.plan("mos", 6, checks=2)
    rng = np.random.default_rng(7)
    (good,) = sessions(plan, [lambda c: 1 if c == "low anchor" else 4], rng)
    (bad,) = sessions(plan, [lambda c: 4 if c == "low anchor" else 3], rng)
    (equal,) = sessions(plan, [lambda c: 3], rng)
    assert screen(plan, good) == ""
    assert "anchor no worse than the reference (4.0 and 3.0" in screen(plan, bad)
    assert screen(plan, equal) == "rates all 8 sounds 3"
    analysis = analyse(plan, [good], screening=True)
    assert [c.name for c in analysis.conditions] == ["ours", "theirs", "reference", "low anchor"]
