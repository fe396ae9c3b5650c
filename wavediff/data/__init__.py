"""Files in, batches out.

A dataset is a function that returns a `Source` (its files in a stable order, with a label each if
it has labels), and a file `conf/data/NAME.yaml` that names it:

    defaults: [loader, _self_]           # the settings below, which every dataset has
    _target_: wavediff.data.folder.folder
    root: ???                            # this and whatever else the function takes

Settings of the loader, the same for every dataset (`conf/data/loader.yaml`):

    split         {every: n, test: i, validation: j}: of the clips in order, number k is for testing
                  when k % n == i, for validation when k % n == j, and for training otherwise
    normalize     the peak that every utterance is scaled to; null leaves the level as recorded
    gain_db       [lowest, highest] random gain of a training crop, in dB; null for none
    min_seconds   shorter files are skipped (longer ones are padded with zeros up to a crop)
    max_seconds   longer files are cut into clips of equal length, none above this
    cache         keep the decoded audio in memory
    workers       processes that decode beside training (used by the training loop)
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from wavediff.data.crops import Crops
from wavediff.data.source import Clip, Source, scan
from wavediff.data.utterances import Utterances
from wavediff.errors import UserError

LOADER = ("split", "normalize", "gain_db", "min_seconds", "max_seconds", "cache", "workers")

T = TypeVar("T")


def build_data(
    config: DictConfig | Mapping, length: int, sample_rate: int, seed: int = 0
) -> tuple[Crops, Utterances]:
    """(training crops of `length` samples at `sample_rate` Hz, whole validation utterances).

    There is nothing to validate on with `split: null`, or with so little that the split keeps
    only one clip for training: a list of length 0.
    Raises UserError when there is nothing to train on.
    """
    source, loader = build_source(config)
    clips, _ = scan(source, loader["min_seconds"], loader["max_seconds"])
    parts = split(clips, **(loader["split"] or {"every": None}))
    if not parts["train"]:
        raise UserError(
            f"the split leaves none of the {len(clips)} clips in {source.root} for training: give "
            "more audio, or data.split=null to train on all of it"
        )
    if loader["split"] and not parts["validation"] and len(parts["train"]) > 1:
        parts["validation"].append(parts["train"].pop())  # so few clips: the last one will do
    normalize = loader["normalize"]
    train = Utterances(parts["train"], sample_rate, normalize, loader["cache"])
    return (
        Crops(train, length, seed, loader["gain_db"], source.label_names),
        Utterances(parts["validation"], sample_rate, normalize),
    )


def build_source(config: DictConfig | Mapping) -> tuple[Source, dict]:
    """The dataset that a `data` configuration names, and its settings of the loader."""
    config = config if isinstance(config, DictConfig) else OmegaConf.create(dict(config))
    try:
        config = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        key = getattr(error, "full_key", None) or "data.root"
        raise UserError(f"{key} is not set: add {key}=VALUE to the command") from error
    loader = {key: config.pop(key) for key in LOADER}
    return get_method(config.pop("_target_"))(**config), loader


def split(
    items: Sequence[T | None],
    every: int | None,
    test: int | None = None,
    validation: int | None = None,
) -> dict[str, list[T]]:
    """{"train", "test", "validation"} by number modulo `every`; a None takes a number only."""
    parts: dict[str, list[T]] = {"train": [], "test": [], "validation": []}
    for number, item in enumerate(items):
        place = number % every if every else None
        part = "train"
        if place is not None:
            part = {test: "test", validation: "validation"}.get(place, "train")
        if item is not None:
            parts[part].append(item)
    return parts


__all__ = ["Clip", "Crops", "Source", "Utterances", "build_data", "build_source", "split"]
