"""Files in, batches out.

A dataset is a function that returns a ``Source`` (its files in a stable order, each with a label or
with a noisy recording of the same where it has them), and a file ``conf/data/NAME.yaml``:

    defaults: [loader, _self_]           # the settings below, which every dataset has
    _target_: wavediff.data.folder.folder
    root: ???                            # this and whatever else the function takes

Settings of the loader, the same for every dataset (``conf/data/loader.yaml``):

    split         {every: n, test: i, validation: j}: of the clips in order, number k is for testing
                  when k % n == i, for validation when k % n == j, and for training otherwise
    normalize     the peak that every utterance is scaled to; null leaves the level as recorded.
                  A clean recording and a noisy one of the same get the same gain, here and below
    gain_db       [lowest, highest] random gain of a training crop, in dB; null for none
    min_seconds   shorter files are skipped (longer ones are padded with zeros up to a crop)
    max_seconds   longer files are cut into clips of equal length, none above this
    balance       clips: a crop of every clip in an epoch; seconds: as many as it is long
    cache         keep the decoded audio in memory
    workers       processes that decode beside training (used by the training loop)
    mix           how clean speech is made noisy (``wavediff.data.mixing``); null leaves it alone

A dataset of time series is a function that returns a ``SeriesSet``, with ``defaults: [series, _self_]``
instead; ``wavediff.series.settings`` says what ``conf/data/series.yaml`` sets, and is not imported
here because pandas comes with it, 76 MB that sound does not need.
"""

import math
from collections.abc import Mapping

from omegaconf import DictConfig

from wavediff.data.configured import dataset_of, settings_of
from wavediff.data.crops import Crops
from wavediff.data.loader import LOADER, Loader, split
from wavediff.data.mixed import Mixed
from wavediff.data.mixing import Mixer, Mixing
from wavediff.data.source import Clip, Source, scan
from wavediff.data.utterances import Utterances
from wavediff.errors import UserError


def build_data(
    config: DictConfig | Mapping, length: int, sample_rate: int, seed: int = 0
) -> tuple[Crops | Mixed, Utterances | Mixed]:
    """(training crops of ``length`` samples at ``sample_rate`` Hz, whole validation utterances).

    With so few clips that the split gives none to validation, the last one for training goes there.
    The second has length 0 with ``split: null``, or when training keeps one clip only.
    Raises UserError when there is nothing to train on.
    """
    source, loader = build_source(config)
    mixing = None if loader.mix is None else Mixing.of(loader.mix)
    if mixing is not None and source.noisy is not None:
        raise UserError(
            "this data has its noisy recordings, so there is nothing to mix: set data.mix=null"
        )
    parts = build_split(source, loader)
    train, validation = parts["train"], parts["validation"]
    if not train:
        raise UserError(
            f"the split leaves none of the {sum(map(len, parts.values()))} clips in {source.root} "
            "for training: give more audio, or data.split=null to train on all of it"
        )
    if loader.split and not validation and len(train) > 1:
        validation = [train.pop()]
    utterances = Utterances(train, sample_rate, loader.normalize, loader.cache)
    needed = length if mixing is None else math.ceil(length * mixing.speed[1])
    crops = Crops(
        utterances, needed, seed, loader.gain_db, source.label_names, balance=loader.balance
    )
    held_out = Utterances(validation, sample_rate, loader.normalize)
    if mixing is None:
        return crops, held_out
    mixer = Mixer(mixing, sample_rate, utterances, crops.numbers, loader.cache)
    measured = mixer.with_settings(mixing.for_validation())
    return Mixed(crops, mixer, seed, length), Mixed(held_out, measured, seed)


def build_source(config: DictConfig | Mapping) -> tuple[Source, Loader]:
    """The dataset that a ``data`` configuration names, and the settings of the loader in it."""
    values, settings = settings_of(config, LOADER, "loader")
    return dataset_of(values), Loader(**settings)


def build_split(source: Source, loader: Loader) -> dict[str, list[Clip]]:
    """The usable clips of a dataset as {"train", "test", "validation"}."""
    clips, _ = scan(source, loader.min_seconds, loader.max_seconds)
    return split(clips, **(loader.split or {"every": None}))


__all__ = [
    "LOADER",
    "Clip",
    "Crops",
    "Loader",
    "Mixed",
    "Source",
    "Utterances",
    "build_data",
    "build_source",
    "build_split",
    "split",
]
