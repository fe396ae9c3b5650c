"""Making a listening test: which trials it has, and the files that are written."""

import hashlib
import io
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, cycle, islice
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from wavediff.data.formats import to_integers
from wavediff.errors import UserError
from wavediff.evaluation.listening.items import Item, common_rate, find_items, read_items
from wavediff.evaluation.listening.loudness import (
    common_loudness,
    loudness,
    peak_db,
    require_pyloudnorm,
)
from wavediff.evaluation.listening.page import page
from wavediff.evaluation.listening.plan import (
    ANCHORS,
    MOST_TRIALS,
    REFERENCE,
    Plan,
    Stimulus,
    Trial,
)
from wavediff.evaluation.web import printable
from wavediff.files import atomic_path

MOST_STIMULI = 12  # of a trial, by BS.1534-3
MOST_PAGE_BYTES = 256 << 20
QUESTIONS = {
    "mushra": "Rate the quality of each sound compared with the reference.",
    "abx": "Is X the same as A, or the same as B?",
    "ab": "Which of the two sounds better?",
    "mos": "How is the quality of this sound?",
}


@dataclass(frozen=True)
class Request:
    """What ``wavediff listen make`` is asked for.

    Attributes:
        method: one of ``METHODS``.
        reference: folder or file; None for a preference or MOS test without one.
        systems: folders or files by name.
        anchors: names in ``ANCHORS``.
        trials: their maximum without attention trials; None for all.
        repeats: how often each trial of a choice is presented.
        checks: number of attention trials, where a method has them.
        loudness: in LUFS, or None to keep levels.
        seed: of the choice of trials and of their order.
        question: empty for that of the method.
    """

    method: str
    reference: Path | None
    systems: Mapping[str, Path]
    anchors: Sequence[str]
    trials: int | None
    repeats: int
    checks: int
    loudness: float | None
    seed: int
    title: str
    question: str


@dataclass(frozen=True)
class Made:
    """What was made, and what a maker has to know."""

    plan: Plan
    page_bytes: int
    incomplete: list[str]
    unmatched: list[Path]
    notes: list[str]
    failures: list[str]


@dataclass(frozen=True)
class _Show:
    """A trial to be made: conditions of an item."""

    item: str
    conditions: tuple[str, ...]
    check: bool = False


def make(request: Request, output: Path, progress: Callable[[Item], object]) -> Made:
    """Write ``index.html`` and ``manifest.json`` into the folder ``output``.

    Args:
        request: the test.
        output: a folder, which is made if need be.
        progress: called with each item that was read.

    Raises:
        UserError: if there is nothing to hear, or the test would be too large.
    """
    if request.loudness is not None:
        require_pyloudnorm()
    sounds = len(_pairs(request)[0])
    if sounds > MOST_STIMULI:
        raise UserError(
            f"a trial of {sounds} sounds is more than a listener can compare: BS.1534-3 allows "
            f"{MOST_STIMULI}. Give fewer systems."
        )
    found = find_items(request.reference, request.systems)
    rate = common_rate(found.items)
    failures: list[str] = []
    items: dict[str, Item] = {}
    needed = _items_needed(request)
    size = 0
    levels: dict[str, dict[str, float]] = {}  # LUFS by item and condition
    for item in read_items(found.items, rate, request.anchors, request.seed, failures):
        progress(item)
        try:
            levels[item.name] = _measure(item, rate) if request.loudness is not None else {}
        except UserError as error:
            failures.append(str(error))
            continue
        items[item.name] = item
        size += sum(audio.size for audio in item.sounds.values())
        if size > MOST_PAGE_BYTES:  # of 16 bits, which FLAC halves
            raise UserError(_too_large(size * 2))
        if len(items) == needed:
            break
    if not items:
        raise UserError(f"none of the {len(failures)} items can be used: {failures[0]}")
    level = None
    if request.loudness is not None:
        level = _match_loudness(items.values(), levels, request.loudness)
    # a spare item serves the training, so that it tells nothing about the test
    names = list(items)
    spare = len(names) == needed and len(names) > 1
    shows = _shows(names[:-1] if spare else names, request)
    training = _Show(names[-1], _training(request))
    store = _Sounds(rate)
    plan = Plan(
        request.method,
        request.title,
        request.question or QUESTIONS[request.method],
        request.seed,
        rate,
        level,
        tuple(request.systems),
        _trial("t0", training, items, request, store),
        tuple(_trial(f"t{n}", show, items, request, store) for n, show in enumerate(shows, 1)),
    )
    text = page(plan, store.encoded)
    if len(text) > MOST_PAGE_BYTES:
        raise UserError(_too_large(len(text)))
    with atomic_path(output / "manifest.json") as file:
        file.write_bytes(plan.encoded())
    with atomic_path(output / "index.html") as file:
        file.write_text(text, encoding="utf-8")
    notes = [note for item in items.values() for note in item.notes]
    return Made(plan, len(text), found.incomplete, found.unmatched, notes, failures)


def _pairs(request: Request) -> list[tuple[str, ...]]:
    """What is shown together, of each item."""
    systems = tuple(request.systems)
    with_reference = (REFERENCE,) if request.reference is not None else ()
    if request.method == "mushra":
        return [(*with_reference, *(ANCHORS[kind] for kind in request.anchors), *systems)]
    if request.method == "abx":
        return [(REFERENCE, system) for system in systems]
    if request.method == "mos":
        return [(condition,) for condition in (*with_reference, *systems)]
    if len(systems) == 1:
        return [(REFERENCE, *systems)]
    return list(combinations(systems, 2))


def _training(request: Request) -> tuple[str, ...]:
    """What the training shows: of attention trials the anchor, too."""
    return _pairs(request)[-1]


def _items_needed(request: Request) -> int | None:
    """How many items are read: those of the test, and one for the training."""
    if request.trials is None:
        return None
    return -(-request.trials // (len(_pairs(request)) * request.repeats)) + 1


def _shows(names: Sequence[str], request: Request) -> list[_Show]:
    """The trials: item by item, so that a limit leaves every pair about equally often."""
    pairs = _pairs(request)
    shows = [_Show(name, pair) for name in names for pair in pairs for _ in range(request.repeats)]
    shows = shows[: request.trials]
    if len(shows) + request.checks > MOST_TRIALS:
        raise UserError(
            f"the test would have {len(shows) + request.checks} trials, and {MOST_TRIALS} are the "
            "most: give --trials"
        )
    if request.method != "mushra" and request.anchors:
        low = ANCHORS["low"]
        pair = (low,) if request.method == "mos" else (REFERENCE, low)
        # MOS: the reference of the same item is among the trials
        items = list(dict.fromkeys(show.item for show in shows))
        shows += [_Show(name, pair, True) for name in islice(cycle(items), request.checks)]
    return shows


def _trial(
    name: str, show: _Show, items: Mapping[str, Item], request: Request, store: "_Sounds"
) -> Trial:
    sounds = items[show.item].sounds
    stimuli = tuple(
        Stimulus(f"{name}s{n}", condition, store.add(sounds[condition]))
        for n, condition in enumerate(show.conditions, 1)
    )
    heard = request.method == "mushra" or (
        request.method == "ab" and REFERENCE not in show.conditions
    )
    reference = store.add(sounds[REFERENCE]) if heard and REFERENCE in sounds else None
    return Trial(name, printable(show.item), show.check, reference, stimuli)


class _Sounds:
    """FLAC files by the hash of their content, so that none is stored twice."""

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.encoded: dict[str, bytes] = {}

    def add(self, audio: NDArray[np.floating]) -> str:
        """Encode ``[channels, time]`` and return its name."""
        samples = to_integers(np.clip(audio.T.astype(np.float64), -1, 1), 16)
        name = hashlib.sha256(samples.tobytes()).hexdigest()[:16]
        if name not in self.encoded:
            buffer = io.BytesIO()
            soundfile.write(buffer, samples, self.sample_rate, format="FLAC", subtype="PCM_16")
            self.encoded[name] = buffer.getvalue()
        return name


def _measure(item: Item, rate: int) -> dict[str, float]:
    """The loudness of each condition in LUFS."""
    levels = {condition: loudness(audio, rate) for condition, audio in item.sounds.items()}
    for condition, level in levels.items():
        if not np.isfinite(level):
            raise UserError(
                f"{item.name}: {condition} is too quiet for its loudness to be measured (below "
                "-70 LUFS). Leave it out, or give --loudness keep."
            )
    return levels


def _match_loudness(
    items: Collection[Item], levels: Mapping[str, Mapping[str, float]], wanted: float
) -> float:
    """Scale all sounds to one loudness, at most ``wanted``, and return it in LUFS."""
    level = common_loudness(
        wanted,
        (
            (levels[item.name][condition], peak_db(audio))
            for item in items
            for condition, audio in item.sounds.items()
        ),
    )
    for item in items:
        for condition, audio in item.sounds.items():
            gain = 10 ** ((level - levels[item.name][condition]) / 20)
            item.sounds[condition] = (audio * gain).astype(np.float32)
    return round(level, 2)


def _too_large(size: int) -> str:
    return (
        f"the page would have {size >> 20} MiB, and {MOST_PAGE_BYTES >> 20} are the most: give "
        "--trials, or shorter recordings"
    )
