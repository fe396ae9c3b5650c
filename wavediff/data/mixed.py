"""A dataset of clean speech, made noisy."""

import numpy as np
import torch
from torch.utils.data import Dataset

from wavediff.data.crops import Crops
from wavediff.data.mixing import Mixer
from wavediff.data.utterances import Utterances


class Mixed(Dataset):
    """The items of ``speech`` with "noisy", float32 like "audio", which becomes the clean target,
    both of ``length`` samples (all there are by default).

    What is random follows from (seed, number of the item) alone, with numbers for training other
    than for validation.
    """

    def __init__(
        self, speech: Crops | Utterances, mixer: Mixer, seed: int = 0, length: int | None = None
    ):
        self.speech, self.mixer, self.length = speech, mixer, length
        self.stream = (seed, 2 if isinstance(speech, Crops) else 3)

    @property
    def label_names(self) -> list[str] | None:
        return self.speech.label_names

    def __len__(self) -> int:
        return len(self.speech)

    def __getitem__(self, index: int) -> dict:
        item = self.speech[index]
        rng = np.random.default_rng((*self.stream, index))
        speech = item["audio"][0].numpy()
        clean, noisy = self.mixer(speech, rng, item.get("label"), self.length)
        audio = {"audio": torch.from_numpy(clean)[None], "noisy": torch.from_numpy(noisy)[None]}
        return item | audio
