"""What a listening test consists of: its trials and their stimuli, as JSON.

A trial shows stimuli of one item, a recording. Each stimulus has a condition: the name of a system,
``reference`` or an anchor. Pages and answers name stimuli by opaque identifiers, so that nothing
that a listener sees tells the condition. The test is identified by the SHA-256 of its JSON.
"""

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from wavediff.errors import UserError, shorten

METHODS = ("mushra", "abx", "ab", "mos")
CHOICES = ("abx", "ab")  # methods whose answer is one of two stimuli
SCALES = {"mushra": (0, 100), "mos": (1, 5)}  # lowest and highest rating
REFERENCE = "reference"
ANCHORS = {"low": "low anchor", "mid": "mid anchor"}
RESERVED = (REFERENCE, *ANCHORS.values())
FORMAT = "wavediff-listening-test"
VERSION = 1
MOST_TRIALS = 1000
MOST_BYTES = 4 << 20  # of a plan


@dataclass(frozen=True)
class Stimulus:
    """A sound of a trial."""

    id: str
    condition: str  # the name of a system, or one of RESERVED
    sound: str  # the name of the sound in the page


@dataclass(frozen=True)
class Trial:
    """One page of the test."""

    id: str
    item: str  # the name of the recording
    check: bool  # an attention trial, of which no result is reported
    reference: str | None  # the sound that is played as reference, if there is one
    stimuli: tuple[Stimulus, ...]

    def condition(self, stimulus: str) -> str:
        """The condition of a stimulus by its identifier."""
        return next(s.condition for s in self.stimuli if s.id == stimulus)


@dataclass(frozen=True)
class Plan:
    """A listening test. The field names are keys of ``manifest.json``."""

    method: str
    title: str
    question: str
    seed: int
    sample_rate: int  # Hz, of all sounds
    loudness: float | None  # LUFS of all sounds; None where their levels were kept
    systems: tuple[str, ...]
    training: Trial
    trials: tuple[Trial, ...]

    @property
    def conditions(self) -> list[str]:
        """The conditions that are rated: systems, then the reference and anchors."""
        rated = {s.condition for trial in self.trials for s in trial.stimuli}
        return [name for name in (*self.systems, *RESERVED) if name in rated]

    def encoded(self) -> bytes:
        """The JSON that identifies the test."""
        everything = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return json.dumps(everything, ensure_ascii=False, separators=(",", ":")).encode()

    def base64(self) -> str:
        """The JSON as pages and exported answers carry it: not to be read in passing."""
        return b64encode(self.encoded()).decode()


def identity(encoded: bytes) -> str:
    """The name of a test, of 32 hexadecimal digits, from its JSON."""
    return hashlib.sha256(encoded).hexdigest()[:32]


def decode(encoded: bytes, source: object) -> Plan:
    """Return the plan of a JSON.

    Args:
        encoded: what ``Plan.encoded`` gave.
        source: the file that it is from, for messages.

    Raises:
        UserError: if it is not the plan of a listening test.
    """
    try:
        if len(encoded) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES} bytes")
        found = json.loads(encoded)
        if found.pop("format") != FORMAT or found.pop("version") != VERSION:
            raise ValueError("it is of another program or version")
        training = _trial(found.pop("training"))
        trials = tuple(map(_trial, _list(found.pop("trials"), MOST_TRIALS)))
        systems = tuple(_text(name) for name in _list(found.pop("systems"), MOST_TRIALS))
        plan = Plan(systems=systems, training=training, trials=trials, **found)
        _check(plan)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = shorten(error)
        raise UserError(
            f"{source}: not a listening test of wavediff ({reason}). Give what `wavediff listen "
            "make` wrote."
        ) from error
    return plan


def decode_base64(text: str, source: object) -> Plan:
    """As ``decode``, for what ``Plan.base64`` gave."""
    try:
        encoded = b64decode(text, validate=True)
    except ValueError:
        encoded = b""
    return decode(encoded, source)


def _check(plan: Plan) -> None:
    """Raise ValueError where a plan does not hold together."""
    if plan.method not in METHODS:
        raise ValueError("its method is unknown")
    for text in (plan.title, plan.question):
        _text(text)
    numbers = (plan.seed, plan.sample_rate, 0 if plan.loudness is None else plan.loudness)
    if not all(isinstance(number, int | float) for number in numbers):
        raise ValueError("a number is missing")
    if not plan.trials:
        raise ValueError("it has no trials")
    names = [trial.id for trial in plan.trials]
    names += [s.id for trial in plan.trials for s in trial.stimuli]
    if len(set(names)) < len(names):
        raise ValueError("two trials or stimuli have one name")
    known = {*plan.systems, *RESERVED}
    wanted = {"abx": 2, "ab": 2, "mos": 1}.get(plan.method)
    for trial in plan.trials:
        conditions = [s.condition for s in trial.stimuli]
        if not known.issuperset(conditions) or len(set(conditions)) < len(conditions):
            raise ValueError(f"the conditions of trial {trial.id} are wrong")
        if len(conditions) != (wanted or max(2, len(conditions))):
            raise ValueError(f"trial {trial.id} has {len(conditions)} stimuli")


def _trial(found: Mapping[str, Any]) -> Trial:
    stimuli = tuple(
        Stimulus(_text(s["id"]), _text(s["condition"]), _text(s["sound"]))
        for s in _list(found["stimuli"], 100)
    )
    reference = found["reference"]
    return Trial(
        _text(found["id"]),
        _text(found["item"]),
        bool(found["check"]),
        None if reference is None else _text(reference),
        stimuli,
    )


def _list(value: Any, most: int) -> Sequence[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError(f"it has no list of at most {most} entries where one belongs")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"{shorten(repr(value), 20)} is not text")
    return value
