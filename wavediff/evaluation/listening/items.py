"""The recordings of a listening test: the files of all systems, at one rate and of one length."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wavediff.data.audio import audio_info, read_audio
from wavediff.errors import UserError
from wavediff.evaluation.listening.anchors import anchor
from wavediff.evaluation.listening.loudness import MIN_SECONDS
from wavediff.evaluation.listening.plan import ANCHORS, REFERENCE
from wavediff.evaluation.pairs import LENGTH_TOLERANCE, match

RATES = (8000, 96_000)  # Hz, which browsers play without resampling
FADE_SECONDS = 0.005  # at both ends, as BS.1534-3 has it for loops


@dataclass(frozen=True)
class Found:
    """Files by item and condition, and what does not fit."""

    items: dict[str, dict[str, Path]]
    incomplete: list[str]  # items that a folder lacks
    unmatched: list[Path]  # files of systems without a reference


@dataclass
class Item:
    """A recording in all its conditions, float32 ``[channels, time]`` of one shape."""

    name: str
    sounds: dict[str, NDArray[np.float32]]
    notes: list[str] = field(default_factory=list)


def find_items(reference: Path | None, systems: Mapping[str, Path]) -> Found:
    """Match the files of all systems by their names, as ``wavediff evaluate`` does.

    Args:
        reference: a folder or file; None matches the systems with the first one.
        systems: their folders or files by their names.

    Raises:
        UserError: if no item is in all of them.
    """
    folders = dict(systems) if reference is None else {REFERENCE: reference, **systems}
    (first, root), *others = folders.items()
    files: dict[str, dict[str, Path]] = {}
    lacking: dict[Path, list[str]] = {}
    unmatched: list[Path] = []
    for condition, folder in others or [(first, root)]:
        pairs, without, extra = match(root, folder)
        for pair in pairs:
            assert pair.reference is not None
            files.setdefault(pair.name, {first: pair.reference})[condition] = pair.estimate
        for path in without:
            lacking.setdefault(path, []).append(condition)
        unmatched += extra
    items = {name: found for name, found in sorted(files.items()) if len(found) == len(folders)}
    if not items:
        raise UserError(
            f"no file of {root} is in each of {', '.join(name for name, _ in others)}: name the "
            "files of all systems alike"
        )
    incomplete = [f"{path} is not in {', '.join(names)}" for path, names in lacking.items()]
    return Found(items, sorted(incomplete), unmatched)


def common_rate(items: Mapping[str, Mapping[str, Path]]) -> int:
    """Return the highest sample rate of the first condition in Hz, within ``RATES``."""
    rates = [RATES[0]]
    for files in items.values():
        try:
            rates.append(audio_info(next(iter(files.values())))[1])
        except UserError:  # which reading the item reports
            continue
    return min(max(rates), RATES[1])


def read_items(
    items: Mapping[str, Mapping[str, Path]],
    sample_rate: int,
    anchors: Sequence[str],
    seed: int,
    failures: list[str],
) -> Iterator[Item]:
    """Yield the items in an order drawn by ``seed``; those that cannot be used go to ``failures``.

    Args:
        items: their files by condition; the first condition is the one that others are fitted to.
        sample_rate: in Hz, to which all are resampled.
        anchors: names in ``ANCHORS``, made from the condition ``reference``.
    """
    names = sorted(items)
    random.Random(seed).shuffle(names)
    for name in names:
        try:
            yield read_item(name, items[name], sample_rate, anchors)
        except UserError as error:
            failures.append(str(error))


def read_item(
    name: str, files: Mapping[str, Path], sample_rate: int, anchors: Sequence[str]
) -> Item:
    """Read one item, cut to its shortest condition, with its anchors.

    One or two channels are kept where all conditions have them, else they are averaged to one.

    Raises:
        UserError: if a file cannot be read, or the item is silent or too short.
    """
    item = Item(name, {})
    for condition, path in files.items():
        audio, rate = read_audio(path, sample_rate, mono=False)
        _, own_rate = audio_info(path)
        if own_rate != rate:
            item.notes.append(f"{name}: {condition} was resampled from {own_rate} Hz to {rate} Hz")
        item.sounds[condition] = audio.numpy()
    counts = {condition: len(audio) for condition, audio in item.sounds.items()}
    if len(set(counts.values())) > 1 or max(counts.values()) > 2:
        said = ", ".join(f"{condition} {count}" for condition, count in counts.items())
        item.notes.append(f"{name}: channels are averaged to one ({said})")
        item.sounds = {c: audio.mean(0, keepdims=True) for c, audio in item.sounds.items()}
    lengths = {condition: audio.shape[1] for condition, audio in item.sounds.items()}
    length = min(lengths.values())
    if max(lengths.values()) - length > LENGTH_TOLERANCE * sample_rate:
        said = ", ".join(f"{c} {count / sample_rate:.2f} s" for c, count in lengths.items())
        item.notes.append(f"{name}: cut to {length / sample_rate:.2f} s, the shortest of {said}")
    if length < MIN_SECONDS * sample_rate:
        shortest = files[min(lengths, key=lambda condition: lengths[condition])]
        raise UserError(
            f"{shortest} is {length / sample_rate:.2f} s long: a listening test needs "
            f"{MIN_SECONDS:g} s or more"
        )
    item.sounds = {condition: audio[:, :length] for condition, audio in item.sounds.items()}
    for condition, sound in item.sounds.items():
        if not sound.any():
            raise UserError(f"{files[condition]} is silent: leave it out")
    for kind in anchors:
        item.sounds[ANCHORS[kind]] = anchor(item.sounds[REFERENCE], sample_rate, kind)
    fade = np.sin(np.linspace(0, np.pi / 2, round(FADE_SECONDS * sample_rate))) ** 2
    edges = np.concatenate([fade, np.ones(length - 2 * len(fade)), fade[::-1]]).astype(np.float32)
    item.sounds = {name: audio * edges for name, audio in item.sounds.items()}
    return item
