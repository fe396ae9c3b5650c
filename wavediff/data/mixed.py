"""A dataset of clean speech with noise added."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from wavediff.data.crops import Crops
from wavediff.data.mixing import Mixer
from wavediff.data.utterances import Utterances


class Mixed(Dataset):
    """The items of ``speech`` with ``"noisy"``; ``"audio"`` becomes the clean target.

    Randomness follows from (seed, number of the item) alone, with different streams for training
    and validation.

    Args:
        speech: the clean speech.
        mixer: adds the noise.
        seed: of the noise.
        length: of an item, in samples; None for that of the speech.
    """

    def __init__(
        self, speech: Crops | Utterances, mixer: Mixer, seed: int = 0, length: int | None = None
    ):
        self.speech, self.mixer, self.length = speech, mixer, length
        self.stream = (seed, 2 if isinstance(speech, Crops) else 3)

    @property
    def label_names(self) -> Sequence[str] | None:
        """Names of the labels of training crops."""
        return self.speech.label_names if isinstance(self.speech, Crops) else None

    def __len__(self) -> int:
        return len(self.speech)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self.speech[index]
        rng = np.random.default_rng((*self.stream, index))
        speech = item["audio"][0].numpy()
        clean, noisy = self.mixer(speech, rng, item.get("label"), self.length)
        audio = {"audio": torch.from_numpy(clean)[None], "noisy": torch.from_numpy(noisy)[None]}
        return item | audio
