"""A corpus in shards: its clips, of which only those of a few shards are in memory."""

import multiprocessing
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Thread

import numpy as np

from wavediff.data.audio import BadAudio
from wavediff.data.loader import Loader, split
from wavediff.data.members import Member
from wavediff.data.order import ShuffledShards
from wavediff.data.shard_index import Entry
from wavediff.data.shards import Shard
from wavediff.data.source import SHORT, Clip, parallel
from wavediff.data.utterances import Utterances
from wavediff.errors import UserError, sentence

PLACES = 1 << 32  # clip k of shard s has the number s * PLACES + k
ENOUGH = 32  # clips held out, for which no further shard is read


@dataclass(frozen=True)
class Corpus:
    """Shards of clips.

    Attributes:
        name: for messages.
        shards: in a stable order.
        window: the number of shards whose clips are shuffled together.
        labels: whether the clips' labels are used.
        noisy: whether the clips' noisy recordings are used.
    """

    name: str
    shards: Sequence[Shard]
    window: int = 4
    labels: bool = False
    noisy: bool = False


class Faults:
    """Counts what is skipped, over all processes that read one dataset.

    Args:
        name: of the corpus, for messages.
        shards: the number of its shards.
    """

    def __init__(self, name: str, shards: int) -> None:
        self.name = name
        self.counted = multiprocessing.Array("q", shards)  # the last epoch + 1 of each shard
        self.numbers = multiprocessing.Array("q", [-1, 0, 0, 0])  # epoch, shards, clips, told

    def turn(self, epoch: int) -> None:
        """Tell how much was skipped if a new epoch begins."""
        numbers = self.numbers
        with numbers.get_lock():
            if epoch <= numbers[0]:
                return
            before, shards, clips = numbers[:3]
            numbers[:3] = [epoch, 0, 0]
        if shards or clips:
            counts = {"clip": clips, "shard": shards}
            found = [f"{n} {word}{'s' * (n != 1)}" for word, n in counts.items() if n]
            bad = " and ".join(found)
            _say(f"data: {self.name}: {bad} damaged or unusable in epoch {before + 1}")

    def shard(self, number: int, damage: str, problems: Counter[str]) -> None:
        """Count what is wrong with a shard that is used, once an epoch."""
        if not damage and not problems:
            return
        with self.counted.get_lock():
            epoch = self.numbers[0]
            if self.counted[number] > epoch:
                return
            self.counted[number] = epoch + 1
        with self.numbers.get_lock():
            self.numbers[1] += bool(damage)
            self.numbers[2] += problems.total()
        if damage:
            self._tell(damage)
        for problem in problems:
            self._tell(f"a clip is {problem}")

    def clip(self, error: BadAudio) -> None:
        """Count a clip that cannot be decoded."""
        with self.numbers.get_lock():
            self.numbers[2] += 1
        self._tell(str(error))

    def _tell(self, what: str) -> None:
        """Say what was skipped first; of the rest, only the number is told."""
        with self.numbers.get_lock():
            if self.numbers[3]:
                return
            self.numbers[3] = 1
        _say(f"data: skipped: {sentence(what).rstrip('.')}; others are counted")


@dataclass(frozen=True)
class _Part:
    """The clips of a shard by split, and what is wrong with it and with others of its clips."""

    clips: dict[str, list[Clip]]
    damage: str
    problems: Counter[str]


class ShardClips(Sequence[Clip]):
    """The training clips of a corpus by their numbers, ``shard * PLACES + place``.

    Args:
        corpus: the shards.
        loader: which clips are used, and which of them are held out: those whose place in their
            shard is one of ``split``.
        label_names: of the labels; None without.
    """

    def __init__(
        self, corpus: Corpus, loader: Loader, label_names: Sequence[str] | None = None
    ) -> None:
        self.corpus, self.loader, self.label_names = corpus, loader, label_names
        self.labels = None if label_names is None else {n: i for i, n in enumerate(label_names)}
        self.faults = Faults(corpus.name, len(corpus.shards))
        self._read_last: dict[int, _Part] = {}

    def __len__(self) -> int:
        raise TypeError("the clips of a corpus are not counted")

    def __getitem__(self, number: int) -> Clip:  # type: ignore[override]
        shard, place = divmod(number, PLACES)
        return self.parts(shard)["train"][place]

    def numbers(self, shard: int) -> np.ndarray:
        """Return the numbers of the training clips of a shard."""
        return shard * PLACES + np.arange(len(self.parts(shard)["train"]))

    def parts(self, number: int) -> dict[str, list[Clip]]:
        """Return the clips of a shard: ``{"train", "test", "validation"}``."""
        return self._part(number).clips

    def report(self, number: int) -> None:
        """Count what is wrong with a shard that is used."""
        part = self._part(number)
        self.faults.shard(number, part.damage, part.problems)

    def _part(self, number: int) -> "_Part":
        part = self._read_last.pop(number, None)
        if part is None:
            part = self._read(number)
        self._read_last[number] = part  # now the last one that will be dropped
        while len(self._read_last) > 2 * self.corpus.window + 1:
            self._read_last.pop(next(iter(self._read_last)))
        return part

    def _read(self, number: int) -> "_Part":
        shard, loader = self.corpus.shards[number], self.loader
        index = shard.index()
        problems: Counter[str] = Counter()
        clips: list[Clip | None] = []
        for entry in index.entries:
            clip = self._clip(shard, entry, problems)
            clips += [None] if clip is None else clip.parts(loader.max_seconds)
        damage = f"{shard} {index.damage}" if index.damage else ""
        return _Part(split(clips, **(loader.split or {"every": None})), damage, problems)

    def _clip(self, shard: Shard, entry: Entry, problems: Counter[str]) -> Clip | None:
        corpus, problem = self.corpus, entry.problem
        if not problem and entry.frames < self.loader.min_seconds * entry.sample_rate:
            problem = SHORT
        if not problem and corpus.noisy and entry.noisy is None:
            problem = "without a noisy recording"
        label = None if self.labels is None else self.labels.get(entry.label or "")
        if not problem and self.labels is not None and label is None:
            problem = "without a label"
        if problem:
            problems[problem] += 1
            return None
        noisy = None
        if corpus.noisy and entry.noisy is not None:
            suffix, offset, size = entry.noisy
            noisy = Member(shard, entry.key + suffix, offset, size)
        member = Member(shard, entry.key + entry.suffix, entry.offset, entry.size)
        name = entry.key.replace("/", "-")
        return Clip(member, name, 0, entry.frames, entry.sample_rate, label, noisy)


class CorpusUtterances(Utterances):
    """The training clips of a corpus. A clip that cannot be decoded is counted."""

    clips: ShardClips

    def skip(self, number: int, error: BadAudio, first: bool) -> None:
        """Count a clip, where it is not one that stands in for another."""
        if first:
            self.clips.faults.clip(error)


class CorpusOrder(ShuffledShards):
    """The order of the clips of a corpus, by ``balance`` in proportion to their length.

    Args:
        clips: of the corpus.
        seed: of the order.
        length: of a crop in seconds.
    """

    def __init__(self, clips: ShardClips, seed: int, length: float) -> None:
        self.clips, self.length = clips, length
        corpus = clips.corpus
        super().__init__(self._numbers, len(corpus.shards), corpus.window, seed)

    def entered(self, epoch: int, shards: Sequence[int], following: Sequence[int]) -> None:
        """Count what is wrong with shards, and fetch those that follow beside the training."""
        self.clips.faults.turn(epoch)
        for number in shards:
            self.clips.report(number)
        ahead = [self.clips.corpus.shards[number] for number in following]
        if any(shard.fetch is not None for shard in ahead):
            Thread(target=_fetch_all, args=(ahead,), daemon=True).start()

    def _numbers(self, shard: int) -> np.ndarray:
        self.clips.report(shard)
        numbers = self.clips.numbers(shard)
        if self.clips.loader.balance != "seconds":
            return numbers
        clips = self.clips.parts(shard)["train"]
        counts = [int(np.ceil(c.frames / c.sample_rate / self.length)) for c in clips]
        return np.repeat(numbers, counts)


def _fetch_all(shards: Iterable[Shard]) -> None:
    """Fetch shards; an error is that of the process that needs them."""
    for shard in shards:
        try:
            shard.ensure()
        except (OSError, UserError):
            return


def read_corpus(
    corpus: Corpus, loader: Loader, length: float, seed: int
) -> tuple[ShardClips, CorpusOrder, list[Clip], list[Clip]]:
    """Open a corpus for training.

    Args:
        corpus: the shards.
        loader: the settings that all datasets share.
        length: of a crop in seconds.
        seed: of the order.

    Returns:
        The training clips and their order, the clips held out, those of the first shards, and
        training clips of the same shards.

    Raises:
        UserError: for settings that a corpus does not have, and if no clip can be used.
    """
    if loader.cache:
        raise UserError(
            "data.cache=true would keep a corpus in memory: leave it out, or use data=folder."
        )
    names = label_names(corpus) if corpus.labels else None
    clips = ShardClips(corpus, loader, names)
    order = CorpusOrder(clips, seed, length)
    held_out: list[Clip] = []
    train: list[Clip] = []
    for number in range(len(corpus.shards)):
        parts = clips.parts(number)
        train += parts["train"]
        held_out += parts["validation"]
        enough = len(held_out) >= ENOUGH or not loader.split or number + 1 >= corpus.window
        if train and enough:
            break
    if not train:
        raise UserError(
            f"{corpus.name}: none of {len(corpus.shards)} shards has a clip to train on. Give tar "
            "files of the WebDataset layout (KEY.flac, KEY.json), such as `wavediff pack` writes."
        )
    return clips, order, held_out, train


def label_names(corpus: Corpus) -> list[str]:
    """Return the labels of all clips, sorted. Every index is read.

    Raises:
        UserError: if there are none.
    """
    names: set[str] = set()
    for found in parallel(_labels, list(corpus.shards), "reading labels"):
        names |= found
    if not names:
        raise UserError(
            f"{corpus.name} has no labels. Set data.labels=false, or give every clip a JSON with a "
            '"label" or "speaker".'
        )
    return sorted(names)


def _labels(shard: Shard) -> set[str]:
    return {entry.label for entry in shard.index().entries if entry.label and not entry.problem}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
