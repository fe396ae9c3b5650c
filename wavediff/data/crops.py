"""Random crops for training, each a pure function of the seed and of its global number."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from torch.nn import functional as F
from torch.utils.data import Dataset

from wavediff.data.utterances import Utterances, signals
from wavediff.errors import UserError


class Crops(Dataset):
    """Item ``index`` is {"audio": float32 [1, length], "index": int} and, where known, "label": int.
    Clips with a noisy recording have "noisy" too: the same place of it at the same gain.

    ``index`` is the number of a sample in the whole run (step * global batch size + place in the
    batch) and has no upper bound; ``len`` is the number of samples in one epoch: one per clip, or as
    many as it is long in crops with ``balance="seconds"``. Every epoch has its own order. Place and
    gain follow from (seed, index) alone: a run that is resumed, or spread over processes or
    workers, sees exactly the same samples.

    Clips shorter than ``length`` are padded with zeros at the end. A clip that turns out not to be
    decodable gives way to the next one in the order of that epoch, and stderr is told once.

    gain_db: (lowest, highest) of a uniformly distributed random gain, after normalising.
    """

    def __init__(
        self,
        utterances: Utterances,
        length: int,
        seed: int = 0,
        gain_db: Sequence[float] | None = None,
        label_names: Sequence[str] | None = None,
        balance: str = "clips",
    ):
        if not len(utterances):
            raise UserError("there is nothing to train on: no clip is left for training")
        self.utterances = utterances
        self.length = length
        self.seed = seed
        self.gain_db = tuple(gain_db) if gain_db is not None else None
        self.label_names = label_names
        counts = np.ones(len(utterances), int)
        if balance == "seconds":
            seconds = np.array([clip.frames / clip.sample_rate for clip in utterances.clips])
            counts = np.ceil(seconds * utterances.sample_rate / length).astype(int)
        self.numbers = np.repeat(np.arange(len(utterances)), counts)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> dict:
        epoch, position = divmod(index, len(self))
        order = epoch_order(self.seed, epoch, len(self))
        rng = np.random.default_rng((self.seed, 1, index))
        place, level = rng.random(2)  # drawn before anything depends on the clip
        places = (order[(position + k) % len(self)] for k in range(len(self)))
        number, audio, gain = self.utterances.read_first(self.numbers[place] for place in places)

        if self.gain_db is not None:
            lowest, highest = self.gain_db
            gain *= 10 ** ((lowest + (highest - lowest) * level) / 20)
        start = int(place * (max(audio.shape[-1] - self.length, 0) + 1))
        crop = audio[:, start : start + self.length] * gain
        item = signals(F.pad(crop, (0, self.length - crop.shape[-1]))) | {"index": index}
        label = self.utterances.clips[number].label
        return item if label is None else item | {"label": label}


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of ``count`` samples in an epoch."""
    return np.random.default_rng((seed, 0, epoch)).permutation(count)
