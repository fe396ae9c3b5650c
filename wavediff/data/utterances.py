"""Whole clips, decoded, resampled and normalised."""

import math
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from wavediff.data.audio import BadAudio, read_audio
from wavediff.data.source import Clip, parallel, reasons
from wavediff.errors import UserError

MAX_GAIN = 100.0  # 40 dB: normalising must not amplify the noise floor of an empty recording


class Utterances(Dataset):
    """Items ``{"audio": float32 [1, time], "name": str}``, with ``"label"`` if it is known.

    Clips with a noisy recording have ``"noisy"`` too, like ``"audio"`` and at the same gain.
    Reading an item raises ``BadAudio`` if its header was valid but its content is not.

    Args:
        clips: the clips.
        sample_rate: in Hz, that they are resampled to.
        normalize: the peak that every clip is scaled to (for pairs, the louder of the two); None
            keeps the recorded level.
        cache: keep the decoded audio in memory, as float32. If that would take more than half of
            the free memory, there is a warning on stderr and no cache.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        sample_rate: int,
        normalize: float | None = None,
        cache: bool = False,
    ):
        self.clips = clips
        self.sample_rate = sample_rate
        self.normalize = normalize
        self.offsets: list[int] = []
        self.lengths: list[int] = []  # 0 for a clip that could not be decoded
        self.gains: list[float] = []
        self.memory: Tensor | None = None
        self.bad: set[int] = set()
        if cache and self.clips:
            self._fill()

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> dict[str, Any]:
        clip = self.clips[i]
        audio, gain = self.read(i)
        item = signals(audio * gain) | {"name": clip.name}
        return item if clip.label is None else item | {"label": clip.label}

    def read(self, i: int) -> tuple[Tensor, float]:
        """Read clip i at its recorded level, and the gain that normalises it.

        The audio is ``[1, time]``, or ``[2, time]`` for clean and noisy. Do not write into it: it
        may be a view of the cache.

        Raises:
            BadAudio: if the clip cannot be decoded.
        """
        if self.memory is None:
            audio = _decode(self.clips[i], self.sample_rate)
            return audio, self._gain(audio)
        if not self.lengths[i]:
            raise BadAudio(f"{self.clips[i].path} cannot be decoded")
        start, stop = self.offsets[i], self.offsets[i] + self.lengths[i]
        return self.memory[:, start:stop], self.gains[i]

    def read_first(self, numbers: Iterable[int]) -> tuple[int, Tensor, float]:
        """Read the first of the clips ``numbers`` that can be decoded.

        There is one warning on stderr for each clip that cannot.

        Returns:
            The clip's number, and its audio and gain as from ``read``.

        Raises:
            UserError: if none can be decoded.
        """
        for place, number in enumerate(map(int, numbers)):
            try:
                return number, *self.read(number)
            except BadAudio as error:
                self.skip(number, error, place == 0)
        raise UserError("none of the training files can be decoded. Export them again.")

    def skip(self, number: int, error: BadAudio, first: bool) -> None:
        """Report a clip that cannot be decoded, once; ``first`` unless it stands in for another."""
        if number not in self.bad:
            self.bad.add(number)
            if self.memory is None:  # else reported when the cache was filled
                print(f"data: skipped while training: {error}", file=sys.stderr)

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
                f"data: not cached, because {needed / 2**30:.1f} GB of audio is more than half of "
                f"the free memory ({free / 2**30:.1f} GB); use data.workers to decode in parallel",
                file=sys.stderr,
            )
            return
        # one tensor for all clips, which worker processes share
        memory = torch.zeros(channels, sum(lengths))
        offsets = [0, *torch.tensor(lengths).cumsum(0).tolist()][:-1]

        def load(i: int) -> tuple[int, float] | BadAudio:
            try:
                audio = _decode(self.clips[i], self.sample_rate)
            except BadAudio as error:
                return error
            memory[:, offsets[i] : offsets[i] + audio.shape[-1]] = audio
            return audio.shape[-1], self._gain(audio)

        bad: Counter[str] = Counter()
        first: BadAudio | None = None
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
    """Name the channels: ``{"audio": [1, time]}``, with ``"noisy"`` for two channels."""
    return dict(zip(("audio", "noisy"), audio.split(1), strict=False))


def _decode(clip: Clip, sample_rate: int) -> Tensor:
    paths = [clip.path] if clip.noisy is None else [clip.path, clip.noisy]
    parts = [
        read_audio(path, sample_rate, start=clip.start, frames=clip.frames, channel=clip.channel)[0]
        for path in paths
    ]
    if len({part.shape for part in parts}) > 1:
        raise BadAudio(f"{clip.path} and {clip.noisy} differ in length: one of them is truncated")
    return torch.cat(parts)


def _free_memory() -> float:
    """Return the bytes available without swapping; infinity if the system does not report it."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable"):
                return 1024.0 * int(line.split()[1])
    except OSError:
        pass
    return math.inf
