"""The analysis of a listening test: who is excluded, means, and what differs.

Ratings: the unit is the listener. A listener's ratings of a condition are averaged over the trials;
means have t intervals over listeners, and pairs are compared by Wilcoxon's signed-rank test. The
results hold for other listeners, and these recordings. Choices: the exact binomial test counts
every choice; it takes them as independent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from wavediff.evaluation.listening.plan import ANCHORS, CHOICES, REFERENCE, RESERVED, Plan
from wavediff.evaluation.listening.screening import ratings, screen
from wavediff.evaluation.listening.statistics import (
    LEVEL,
    binomial,
    detectable_share,
    holm,
    share_interval,
    wilcoxon,
)
from wavediff.evaluation.listening.validate import Session
from wavediff.evaluation.summary import Summary, summarize


@dataclass(frozen=True)
class Condition:
    """The ratings of a condition."""

    name: str
    summary: Summary  # over listeners
    median: float  # of the listeners' means
    by_listener: dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """Two conditions, ``a`` against ``b``.

    The estimate is a difference of mean ratings, the share of choices for ``a``, or for ABX the
    share of right answers. ``n`` is the number of listeners, or of choices.
    """

    a: str
    b: str
    n: int
    estimate: float
    low: float | None  # of the 95 % interval
    high: float | None
    p: float
    p_holm: float  # adjusted for all comparisons
    detectable: float | None = None  # share found with a power of 80 %

    @property
    def significant(self) -> bool:
        """Whether it is, at 5 % for all comparisons together."""
        return self.p_holm <= LEVEL


@dataclass(frozen=True)
class Analysis:
    """The results of a test."""

    plan: Plan
    listeners: list[str]  # whose answers are used
    excluded: dict[str, str]  # listener -> why
    conditions: list[Condition]  # of ratings
    comparisons: list[Comparison]


def analyse(plan: Plan, sessions: Sequence[Session], screening: bool = True) -> Analysis:
    """Analyse the sessions of a test, one per listener.

    Args:
        plan: the test.
        sessions: at least one.
        screening: exclude listeners (``screen``).
    """
    reasons = {s.listener: screen(plan, s) if screening else "" for s in sessions}
    used = [session for session in sessions if not reasons[session.listener]]
    conditions: list[Condition] = []
    comparisons: list[Comparison] = []
    if used and plan.method in CHOICES:
        comparisons = _choices(plan, used)
    elif used:
        conditions = _conditions(plan, used)
        comparisons = _differences(plan, conditions)
    adjusted = holm([comparison.p for comparison in comparisons])
    return Analysis(
        plan,
        [session.listener for session in used],
        {listener: reason for listener, reason in reasons.items() if reason},
        conditions,
        [
            replace(comparison, p_holm=p)
            for comparison, p in zip(comparisons, adjusted, strict=True)
        ],
    )


def _conditions(plan: Plan, sessions: Sequence[Session]) -> list[Condition]:
    found = []
    for name in plan.conditions:
        means = {s.listener: float(np.mean(ratings(plan, s, name))) for s in sessions}
        values = list(means.values())
        found.append(Condition(name, summarize(values), float(np.median(values)), means))
    return found


def _differences(plan: Plan, conditions: Sequence[Condition]) -> list[Comparison]:
    """Pairs of systems, and each system against the hidden reference."""
    compared = [c for c in conditions if c.name not in ANCHORS.values()]
    found = []
    for a, b in combinations(compared, 2):
        values = [a.by_listener[name] - b.by_listener[name] for name in a.by_listener]
        summary = summarize(values)
        found.append(
            Comparison(
                a.name,
                b.name,
                len(values),
                float(np.mean(values)),
                summary.low,
                summary.high,
                wilcoxon(values),
                1.0,
            )
        )
    return found


def _choices(plan: Plan, sessions: Sequence[Session]) -> list[Comparison]:
    trials = {trial.id: trial for trial in plan.trials if not trial.check}
    counts: dict[tuple[str, str], list[bool]] = {}
    for session in sessions:
        for answer in session.answers:
            if answer.trial not in trials:
                continue
            trial = trials[answer.trial]
            first, second = (stimulus.condition for stimulus in trial.stimuli)
            # the system, where it is compared with the reference
            pair = (second, first) if first == REFERENCE else (first, second)
            condition = trial.condition(str(answer.choice))
            right = answer.choice == answer.x if plan.method == "abx" else condition == pair[0]
            counts.setdefault(pair, []).append(right)
    alternative = "greater" if plan.method == "abx" else "two-sided"
    found = []
    for (a, b), chosen in sorted(counts.items(), key=lambda entry: _order(plan, *entry[0])):
        successes, n = sum(chosen), len(chosen)
        low, high = share_interval(successes, n)
        p = binomial(successes, n, alternative)
        detectable = detectable_share(n, alternative, LEVEL / len(counts))
        found.append(Comparison(a, b, n, successes / n, low, high, p, 1.0, detectable))
    return found


def _order(plan: Plan, a: str, b: str) -> tuple[int, int]:
    names = [*plan.systems, *RESERVED]
    return names.index(a), names.index(b)
