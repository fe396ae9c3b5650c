"""Whole clips, decoded, at the rate and level that is wanted."""

import math
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from wavediff.data.audio import BadAudio, read_audio
from wavediff.data.source import Clip, parallel, reasons
from wavediff.errors import UserError

MAX_GAIN = 100.0  # 40 dB: normalising must not turn the hiss of an empty recording into noise


class Utterances(Dataset):
    """Item i is {"audio": float32 [1, time], "name": str} and, where known, "label": int. Clips
    with a noisy recording have "noisy" too, like "audio" and at the same gain.

    normalize: the peak that every clip is scaled to (a pair, of the louder of the two); None leaves
    the level as recorded.
    cache: keep the decoded audio in memory (float32, so that items are the same either way);
    where that would take more than half of the free memory, it says so and does without.
    Raises BadAudio for a clip whose header was sound and whose content is not.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        sample_rate: int,
        normalize: float | None = None,
        cache: bool = False,
    ):
        self.clips = list(clips)
        self.sample_rate = sample_rate
        self.normalize = normalize
        self.offsets: list[int] = []
        self.lengths: list[int] = []  # 0 for what could not be decoded
        self.gains: list[float] = []
        self.memory: Tensor | None = None
        self.bad: set[int] = set()
        if cache and self.clips:
            self._fill()

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> dict:
        clip = self.clips[i]
        audio, gain = self.read(i)
        item = signals(audio * gain) | {"name": clip.name}
        return item if clip.label is None else item | {"label": clip.label}

    def read(self, i: int) -> tuple[Tensor, float]:
        """Clip i as recorded, [1, time] at our rate ([2, time] for clean and noisy), and the factor
        that brings it to the wanted level. Do not write into the tensor: it may be the cache."""
        if self.memory is None:
            audio = _decode(self.clips[i], self.sample_rate)
            return audio, self._gain(audio)
        if not self.lengths[i]:
            raise BadAudio(f"{self.clips[i].path} could not be decoded")
        start, stop = self.offsets[i], self.offsets[i] + self.lengths[i]
        return self.memory[:, start:stop], self.gains[i]

    def read_first(self, numbers: Iterable[int]) -> tuple[int, Tensor, float]:
        """(number, audio, factor) of the first of ``numbers`` that can be decoded; stderr is told
        once of each that cannot. Raises UserError when none can."""
        for number in map(int, numbers):
            try:
                return number, *self.read(number)
            except BadAudio as error:
                if number not in self.bad:
                    self.bad.add(number)
                    if self.memory is None:  # the cache has told already
                        print(f"data: skipped while training: {error}", file=sys.stderr)
        raise UserError("none of the training files can be decoded")

    def _gain(self, audio: Tensor) -> float:
        if self.normalize is None:
            return 1.0
        return min(self.normalize / max(audio.abs().max().item(), 1e-9), MAX_GAIN)

    def _fill(self) -> None:
        lengths = [-(-c.frames * self.sample_rate // c.sample_rate) for c in self.clips]
        channels = 1 if self.clips[0].noisy is None else 2
        needed, free = 4 * channels * sum(lengths), _free_memory()
        if needed > free / 2:
            print(
                f"data: not cached, {needed / 2**30:.1f} GB of audio are more than half of the "
                f"free memory ({free / 2**30:.1f} GB); use data.workers to decode beside training",
                file=sys.stderr,
            )
            return
        # One tensor for all: worker processes share it, however many clips there are.
        memory = torch.zeros(channels, sum(lengths))
        offsets = [0, *torch.tensor(lengths).cumsum(0).tolist()][:-1]

        def load(i: int) -> tuple[int, float] | BadAudio:
            try:
                audio = _decode(self.clips[i], self.sample_rate)
            except BadAudio as error:
                return error
            memory[:, offsets[i] : offsets[i] + audio.shape[-1]] = audio
            return audio.shape[-1], self._gain(audio)

        bad: Counter = Counter()
        first = None
        for loaded in parallel(load, range(len(self.clips)), "decoding"):
            if isinstance(loaded, BadAudio):
                first = first or loaded
                bad[loaded.reason] += 1
                loaded = 0, 1.0
            self.lengths.append(loaded[0])
            self.gains.append(loaded[1])
        if bad:
            print(f"data: {reasons(bad)} when decoded; the first: {first}", file=sys.stderr)
        self.memory, self.offsets = memory, offsets


def signals(audio: Tensor) -> dict[str, Tensor]:
    """{"audio": [1, time]} of [1, time], and {"noisy": ...} beside it of [2, time]."""
    return dict(zip(("audio", "noisy"), audio.split(1), strict=False))


def _decode(clip: Clip, sample_rate: int) -> Tensor:
    paths = [clip.path] if clip.noisy is None else [clip.path, clip.noisy]
    parts = [
        read_audio(path, sample_rate, start=clip.start, frames=clip.frames)[0] for path in paths
    ]
    if len({part.shape for part in parts}) > 1:
        raise BadAudio(f"{clip.noisy} is cut short, or {clip.path} is", "unreadable")
    return torch.cat(parts)


def _free_memory() -> float:
    """Bytes that can be had without swapping; unlimited where the system does not tell."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable"):
                return 1024.0 * int(line.split()[1])
    except OSError:
        pass
    return math.inf
