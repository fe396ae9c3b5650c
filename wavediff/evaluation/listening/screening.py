"""Post-screening: listeners whose answers are not used, and why."""

import numpy as np

from wavediff.evaluation.listening.plan import ANCHORS, CHOICES, REFERENCE, Plan
from wavediff.evaluation.listening.validate import Session

MOST_MISSED = 0.15  # share of the trials, as BS.1534-3 has it
HIDDEN = 90  # the hidden reference is rated at least so, and the mid anchor at most


def screen(plan: Plan, session: Session) -> str:
    """Return why a listener is excluded; empty if not.

    MUSHRA has the rules of ITU-R BS.1534-3: the hidden reference below 90, or the mid anchor above
    90, in more than 15 % of the trials. Choices: more than 15 % of the attention trials wrong. MOS:
    the low anchor, on average, no worse than the reference, or all ratings equal.
    """
    if plan.method == "mushra":
        return _screen_mushra(plan, session)
    return _screen_choices(plan, session) if plan.method in CHOICES else _screen_mos(plan, session)


def ratings(plan: Plan, session: Session, condition: str) -> list[int]:
    """Return the ratings that a listener gave to a condition, in the order of the answers."""
    trials = {trial.id: trial for trial in plan.trials}
    return [
        rating
        for answer in session.answers
        for stimulus, rating in (answer.ratings or {}).items()
        if trials[answer.trial].condition(stimulus) == condition
    ]


def _screen_mushra(plan: Plan, session: Session) -> str:
    hidden = [r < HIDDEN for r in ratings(plan, session, REFERENCE)]
    anchor = [r > HIDDEN for r in ratings(plan, session, ANCHORS["mid"])]
    for what, missed in (("hidden reference below", hidden), ("mid anchor above", anchor)):
        if missed and np.mean(missed) > MOST_MISSED:
            return f"rates the {what} {HIDDEN} in {sum(missed)} of {len(missed)} trials"
    return ""


def _screen_choices(plan: Plan, session: Session) -> str:
    checks = {trial.id: trial for trial in plan.trials if trial.check}
    wrong = [
        checks[answer.trial].condition(answer.choice) != REFERENCE
        if answer.x is None
        else answer.choice != answer.x
        for answer in session.answers
        if answer.trial in checks and answer.choice is not None
    ]
    if wrong and np.mean(wrong) > MOST_MISSED:
        return f"{sum(wrong)} of {len(wrong)} attention trials wrong"
    return ""


def _screen_mos(plan: Plan, session: Session) -> str:
    given = [r for condition in plan.conditions for r in ratings(plan, session, condition)]
    if len(given) > 1 and len(set(given)) == 1:
        return f"rates all {len(given)} sounds {given[0]}"
    anchor = ratings(plan, session, ANCHORS["low"])
    reference = ratings(plan, session, REFERENCE)
    if anchor and reference and np.mean(anchor) >= np.mean(reference):
        means = f"{np.mean(anchor):.1f} and {np.mean(reference):.1f}"
        return f"rates the low anchor no worse than the reference ({means} on average)"
    return ""
