"""Answers of one listener, checked against the test: nothing of what a page sends is trusted."""

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wavediff.errors import UserError, shorten
from wavediff.evaluation.listening.plan import SCALES, Plan, Trial

FORMAT = "wavediff-listening-answers"
VERSION = 1
DEVICES = ("headphones", "loudspeakers", "other")
MOST_NAME = 64  # characters
MOST_COMMENT = 1000
MOST_SECONDS = 7 * 24 * 3600.0  # of a trial that was left open
HEAD = ("format", "version", "test", "session", "listener", "device", "started", "finished",
        "comment", "answers")  # fmt: skip
_SESSION = re.compile(r"[0-9a-f]{32}")
_TIME = re.compile(r"20\d\d-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-6]\dZ")


@dataclass(frozen=True)
class Answer:
    """What was answered in a trial. Stimuli are identifiers of the plan."""

    trial: str
    order: tuple[str, ...]  # of the stimuli, as presented
    seconds: float
    ratings: dict[str, int] | None  # MUSHRA and MOS
    choice: str | None  # AB and ABX
    x: str | None  # ABX: the stimulus that X was


@dataclass(frozen=True)
class Session:
    """The complete answers of one listener, in the order of the trials as presented."""

    session: str
    listener: str
    device: str
    started: str
    finished: str
    comment: str
    answers: tuple[Answer, ...]


def most_bytes(plan: Plan) -> int:
    """Return how long a JSON of answers may be."""
    return 16_384 + sum(512 + 64 * len(trial.stimuli) for trial in plan.trials)


def parse(data: bytes | str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: for anything else, for NaN, and for a key that is there twice.
    """
    try:
        found = json.loads(data, parse_constant=_no_constant, object_pairs_hook=_no_twice)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found


def check(found: Mapping[str, Any], plan: Plan, identity: str) -> Session:
    """Return the answers of a JSON object.

    Args:
        found: what ``parse`` gave, without ``manifest``.
        plan: the test.
        identity: the name of the test.

    Raises:
        UserError: for a field that is missing, unknown or out of range.
    """
    _keys(found, HEAD, "the answers")
    if found["format"] != FORMAT or found["version"] != VERSION:
        raise UserError("these are not answers of a listening test of this version")
    if found["test"] != identity:
        raise UserError(f"these are answers of another test ({shorten(found['test'], 40)})")
    if not _SESSION.fullmatch(_string(found, "session", 32)):
        raise UserError("session is not of 32 hexadecimal digits")
    listener = _string(found, "listener", MOST_NAME)
    if not listener.strip() or not _is_text(listener):
        raise UserError("listener is not a name without control characters")
    comment = _string(found, "comment", MOST_COMMENT)
    if not _is_text(comment, "\n\r\t"):
        raise UserError("comment has control characters")
    if found["device"] not in DEVICES:
        raise UserError(f"device is not one of {', '.join(DEVICES)}")
    for name in ("started", "finished"):
        if not _TIME.fullmatch(_string(found, name, 20)):
            raise UserError(f"{name} is not a time like 2026-01-31T12:00:00Z")
    answers = found["answers"]
    trials = {trial.id: trial for trial in plan.trials}
    if not isinstance(answers, list) or len(answers) != len(trials):
        raise UserError(f"answers is not a list of {len(trials)} answers, one for each trial")
    checked = tuple(_answer(answer, trials, plan) for answer in answers)
    if len({answer.trial for answer in checked}) < len(trials):
        raise UserError("a trial is answered twice")
    return Session(
        found["session"],
        listener.strip(),
        found["device"],
        found["started"],
        found["finished"],
        comment,
        checked,
    )


def _answer(found: Any, trials: Mapping[str, Trial], plan: Plan) -> Answer:
    keys = ["trial", "order", "seconds"]
    keys += ["ratings"] if plan.method in SCALES else ["choice"]
    keys += ["x"] if plan.method == "abx" else []
    if not isinstance(found, dict):
        raise UserError("an answer is not a JSON object")
    _keys(found, keys, "an answer")
    name = found["trial"]
    if not isinstance(name, str) or name not in trials:
        raise UserError(f"there is no trial {shorten(name, 20)}")
    stimuli = [stimulus.id for stimulus in trials[name].stimuli]
    order = found["order"]
    if not isinstance(order, list) or not all(isinstance(o, str) for o in order):
        raise UserError(f"trial {name}: order is not a list of stimuli")
    if sorted(order) != sorted(stimuli):
        raise UserError(f"trial {name}: order does not have each stimulus once")
    seconds = found["seconds"]
    if not _number(seconds) or not 0 <= seconds <= MOST_SECONDS:
        raise UserError(f"trial {name}: seconds is not a number from 0 to {MOST_SECONDS:g}")
    for key in ("choice", "x"):
        if key in found and (not isinstance(found[key], str) or found[key] not in stimuli):
            raise UserError(f"trial {name}: {key} is not a stimulus of the trial")
    if plan.method in SCALES:
        _check_ratings(found["ratings"], stimuli, name, *SCALES[plan.method])
    return Answer(
        name,
        tuple(order),
        float(seconds),
        found.get("ratings"),
        found.get("choice"),
        found.get("x"),
    )


def _check_ratings(ratings: Any, stimuli: list[str], name: str, low: int, high: int) -> None:
    if not isinstance(ratings, dict) or sorted(ratings) != sorted(stimuli):
        raise UserError(f"trial {name}: ratings does not have each stimulus once")
    for rating in ratings.values():
        if type(rating) is not int or not low <= rating <= high:
            raise UserError(f"trial {name}: a rating is not a whole number from {low} to {high}")


def _number(value: Any) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


def _string(found: Mapping[str, Any], name: str, most: int) -> str:
    value = found[name]
    if not isinstance(value, str) or len(value) > most:
        raise UserError(f"{name} is not a text of at most {most} characters")
    return value


def _is_text(text: str, also: str = "") -> bool:
    """Whether there are no control characters, line separators and halves of characters."""
    refused = ("Cc", "Cs", "Zl", "Zp")  # unassigned ones may be a newer Unicode's
    return not any(unicodedata.category(c) in refused and c not in also for c in text)


def _keys(found: Mapping[str, Any], wanted: tuple[str, ...] | list[str], what: str) -> None:
    missing = [name for name in wanted if name not in found]
    unknown = [name for name in found if name not in wanted]
    if missing or unknown:
        word, names = ("miss", missing) if missing else ("have an unknown field", unknown)
        raise UserError(f"{what} {word} {shorten(', '.join(names))}")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found
