"""Datasets from their configuration."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from wavediff.errors import UserError, shorten
from wavediff.moved import current

if TYPE_CHECKING:
    from omegaconf import DictConfig


def settings_of(
    config: DictConfig | Mapping[str, Any], names: Sequence[str], default: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Separate a dataset's own keys from the settings that all datasets share.

    Args:
        config: the ``data`` configuration.
        names: the shared settings.
        default: name of the file in ``conf/data`` that has their defaults.

    Returns:
        The dataset's keys with its ``_target_``, and the shared settings.

    Raises:
        UserError: for a key without a value.
    """
    from omegaconf import DictConfig, OmegaConf  # not needed for inference
    from omegaconf.errors import MissingMandatoryValue

    config = config if isinstance(config, DictConfig) else OmegaConf.create(dict(config))
    try:
        container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        key = min(OmegaConf.missing_keys(config)).removeprefix("data.")
        raise UserError(f"data.{key} is not set: add data.{key}=VALUE to the command") from error
    values = cast(dict[str, Any], container)
    absent = [key for key in ("_target_", *names) if key not in values]
    if absent:
        raise UserError(
            f"the data configuration lacks {', '.join(absent)}. It needs a _target_, and "
            f"defaults: [{default}, _self_]."
        )
    settings = {name: values.pop(name) for name in names}
    return values, settings


def dataset_of(values: Mapping[str, Any]) -> Any:
    """Call the function ``_target_`` with the other values; it returns a dataset.

    Raises:
        UserError: for arguments that the function does not have, or missing ones.
    """
    values = dict(current(values))
    from hydra.utils import get_method  # not needed for inference

    target = values.pop("_target_", None)
    try:
        dataset = get_method(target)
        signature = inspect.signature(dataset)
    except Exception as error:  # importing another's module raises anything
        raise UserError(
            f"data._target_={shorten(target)} is not a function that can be imported "
            f"({shorten(error)}): give the path of one, such as wavediff.data.folder.folder"
        ) from error
    try:
        signature.bind(**values)
    except TypeError as error:
        known = signature.parameters
        wrong = [f"data.{key} is unknown" for key in values if key not in known]
        needed = [name for name, value in known.items() if value.default is value.empty]
        wrong += [f"data.{name} is missing" for name in needed if name not in values]
        raise UserError(
            f"the data configuration does not fit {dataset.__name__}: {'; '.join(wrong)}. It takes "
            f"{', '.join(known)}."
        ) from error
    try:
        return dataset(**values)
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        given = shorten(", ".join(f"{key}={value!r}" for key, value in values.items()), 200)
        raise UserError(
            f"{dataset.__name__} does not take these values of data ({given}): {shorten(error)}"
        ) from error
