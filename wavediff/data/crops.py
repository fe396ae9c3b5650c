"""Random crops for training, each a pure function of the seed and its global number."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.nn import functional as F
from torch.utils.data import Dataset

from wavediff.data.order import Order, Shuffled
from wavediff.data.utterances import Utterances, signals
from wavediff.errors import UserError


class Crops(Dataset):
    """Items ``{"audio": float32 [1, length], "index": int}``, with ``"label"`` if it is known.

    Clips with a noisy recording have ``"noisy"`` too: the same part of it at the same gain.

    ``index`` is the number of a sample in the whole run (step * global batch size + place in the
    batch) and has no upper bound; ``len`` is the number of samples of an epoch. Every epoch has its
    own order. Position and gain follow from (seed, index) alone: a run that resumes, or is
    distributed over processes or workers, gets exactly the same samples.

    Clips shorter than ``length`` are padded with zeros at the end. A clip that cannot be decoded is
    replaced by the next one in the order of the epoch, with one warning on stderr.

    Args:
        utterances: the clips.
        length: of a crop, in samples.
        seed: of the order, positions and gains.
        gain_db: (min, max) of a uniformly distributed random gain in dB, after normalising.
        label_names: names of the labels.
        balance: ``clips`` for one crop per clip and epoch; ``seconds`` for one per ``length`` of
            it.
        order: of the clips; None shuffles all of them, by ``balance``.

    Raises:
        UserError: without clips.
    """

    def __init__(
        self,
        utterances: Utterances,
        length: int,
        seed: int = 0,
        gain_db: Sequence[float] | None = None,
        label_names: Sequence[str] | None = None,
        balance: str = "clips",
        order: Order | None = None,
    ):
        self.utterances = utterances
        self.length = length
        self.seed = seed
        self.gain_db = tuple(gain_db) if gain_db is not None else None
        self.label_names = label_names
        self.order = (
            Shuffled(balanced(utterances, length, balance), seed) if order is None else order
        )

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng((self.seed, 1, index))
        place, level = rng.random(2)  # drawn before anything depends on the clip
        number, audio, gain = self.utterances.read_first(self.order.candidates(index))

        if self.gain_db is not None:
            low, high = self.gain_db
            gain *= 10 ** ((low + (high - low) * level) / 20)
        start = int(place * (max(audio.shape[-1] - self.length, 0) + 1))
        crop = audio[:, start : start + self.length] * gain
        item = signals(F.pad(crop, (0, self.length - crop.shape[-1]))) | {"index": index}
        label = self.utterances.clips[number].label
        return item if label is None else item | {"label": label}


def balanced(utterances: Utterances, length: int, balance: str) -> np.ndarray:
    """Return the numbers of the clips, each as often as an epoch has crops of it.

    Raises:
        UserError: without clips.
    """
    if not len(utterances):
        raise UserError("there is nothing to train on: no clip is left for training.")
    counts = np.ones(len(utterances), int)
    if balance == "seconds":
        seconds = np.array([clip.frames / clip.sample_rate for clip in utterances.clips])
        counts = np.ceil(seconds * utterances.sample_rate / length).astype(int)
    return np.repeat(np.arange(len(utterances)), counts)
