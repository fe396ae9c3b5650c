"""Training and validation data from a configuration."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from omegaconf import DictConfig

from wavediff.data.configured import dataset_of, settings_of
from wavediff.data.corpus import Corpus, CorpusUtterances, read_corpus
from wavediff.data.crops import Crops, balanced
from wavediff.data.loader import LOADER, Loader, split
from wavediff.data.mixed import Mixed
from wavediff.data.mixing import Mixer
from wavediff.data.mixing_settings import Mixing
from wavediff.data.order import Shuffled
from wavediff.data.source import Clip, Source, scan
from wavediff.data.utterances import Utterances
from wavediff.errors import UserError


def build_data(
    config: DictConfig | Mapping[str, Any], length: int, sample_rate: int, seed: int = 0
) -> tuple[Crops | Mixed, Utterances | Mixed]:
    """Build the training and validation data of a ``data`` configuration.

    If the split leaves no clip for validation, the last training clip is used for it. The
    validation data are empty with ``split: null``, or if there is only one clip.

    Args:
        config: the configuration.
        length: of a training crop, in samples.
        sample_rate: in Hz.
        seed: of everything random.

    Returns:
        Training crops, and whole validation utterances.

    Raises:
        UserError: for an invalid configuration or without any training clip.
    """
    source, loader = build_source(config)
    mixing = None if loader.mix is None else Mixing.of(loader.mix)
    paired = source.noisy if isinstance(source, Corpus) else source.noisy is not None
    if mixing is not None and paired:
        raise UserError(
            "the dataset has noisy recordings of its own, which data.mix would ignore. Set "
            "data.mix=null."
        )
    needed = length if mixing is None else math.ceil(length * mixing.speed[1])
    if isinstance(source, Corpus):
        clips, order, validation, first = read_corpus(source, loader, needed / sample_rate, seed)
        utterances: Utterances = CorpusUtterances(clips, sample_rate, loader.normalize)
        names = clips.label_names
        crops = Crops(utterances, needed, seed, loader.gain_db, names, order=order)
        # babble is made of voices at random, for which no other shards are to be fetched
        voices, numbers = Utterances(first, sample_rate, loader.normalize), np.arange(len(first))
    else:
        train, validation = _train_and_validation(source, loader)
        utterances = voices = Utterances(train, sample_rate, loader.normalize, loader.cache)
        numbers = balanced(utterances, needed, loader.balance)
        shuffled = Shuffled(numbers, seed)
        crops = Crops(utterances, needed, seed, loader.gain_db, source.label_names, order=shuffled)
    held_out = Utterances(validation, sample_rate, loader.normalize)
    if mixing is None:
        return crops, held_out
    mixer = Mixer(mixing, sample_rate, voices, numbers, loader.cache)
    validation_mixer = mixer.with_settings(mixing.for_validation())
    return Mixed(crops, mixer, seed, length), Mixed(held_out, validation_mixer, seed)


def _train_and_validation(source: Source, loader: Loader) -> tuple[list[Clip], list[Clip]]:
    parts = build_split(source, loader)
    train, validation = parts["train"], parts["validation"]
    if not train:
        raise UserError(
            f"{source.root}: data.split leaves none of the {sum(map(len, parts.values()))} clips "
            "for training. Give more audio, or set data.split=null to train on all of it."
        )
    if loader.split and not validation and len(train) > 1:
        validation = [train.pop()]
    return train, validation


def build_source(config: DictConfig | Mapping[str, Any]) -> tuple[Source | Corpus, Loader]:
    """Return the dataset of a ``data`` configuration, and its loader settings.

    Raises:
        UserError: for an invalid configuration.
    """
    values, settings = settings_of(config, LOADER, "loader")
    return dataset_of(values), Loader(**settings)


def build_split(source: Source, loader: Loader) -> dict[str, list[Clip]]:
    """Split the usable clips of a dataset: ``{"train", "test", "validation"}`` -> clips.

    Raises:
        UserError: if there is no usable clip.
    """
    clips, _ = scan(source, loader.min_seconds, loader.max_seconds)
    return split(clips, **(loader.split or {"every": None}))
