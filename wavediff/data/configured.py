"""Datasets as configuration files name them."""

import inspect
from collections.abc import Mapping, Sequence

from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from wavediff.errors import UserError
from wavediff.moved import current


def settings_of(
    config: DictConfig | Mapping, names: Sequence[str], default: str
) -> tuple[dict, dict]:
    """(the dataset's own keys with its _target_, the settings ``names`` that datasets share, which
    ``conf/data/{default}.yaml`` has). Raises UserError for what is not set."""
    config = config if isinstance(config, DictConfig) else OmegaConf.create(dict(config))
    try:
        values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        key = min(OmegaConf.missing_keys(config)).removeprefix("data.")
        raise UserError(f"data.{key} is not set: add data.{key}=VALUE to the command") from error
    absent = [key for key in ("_target_", *names) if key not in values]
    if absent:
        raise UserError(
            f"the data configuration lacks {', '.join(absent)}: it needs a _target_, and "
            f"defaults: [{default}, _self_]"
        )
    settings = {name: values.pop(name) for name in names}
    return values, settings


def dataset_of(values: dict):
    """What the function ``_target_`` makes of the other values. Raises UserError where they do not
    fit it."""
    values = dict(current(values))
    dataset = get_method(values.pop("_target_"))
    try:
        inspect.signature(dataset).bind(**values)
    except TypeError as error:
        raise UserError(
            f"the data configuration does not fit {dataset.__name__}: {error}"
        ) from error
    return dataset(**values)
