"""Windows of series for training and validation, from a configuration.

Settings of all datasets of series (``conf/data/series.yaml``):

    context       steps of a window before the horizon; null: three horizons or two seasons
    horizon       steps of a forecast; 0 where windows are for imputation only
    multivariate  whether a window has all variables of an item, or one
    lags          of the series as inputs, in steps; null: by the frequency; [] for none
    scaling       of each window and variable: mean_abs, standard, robust, last, none; of all
                  variables jointly: joint
    test          the end of each series, which training never sees: steps, or a share of it
    validation    the steps before that, likewise
    workers       processes that cut windows
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from wavediff.data.configured import dataset_of, settings_of
from wavediff.data.loader import check
from wavediff.files import conf_folder
from wavediff.series import calendar, windows
from wavediff.series.scaling import KINDS
from wavediff.series.series_set import SeriesSet
from wavediff.series.windows import Windows

if TYPE_CHECKING:
    from omegaconf import DictConfig

GROUPS = (
    "task",
    "network",
    "schedule",
    "prediction",
    "objective",
    "sampler",
)  # of a model of series


@dataclass(frozen=True)
class SeriesSettings:
    """The settings of ``conf/data/series.yaml``.

    Raises:
        UserError: for a value that is out of range.
    """

    context: int | None
    horizon: int
    multivariate: bool
    lags: list[int] | None
    scaling: str
    test: float
    validation: float
    workers: int

    def __post_init__(self) -> None:
        length = self.context is None or (type(self.context) is int and self.context > 0)
        check("context", self.context, length, "168, or null")
        whole = type(self.horizon) is int and self.horizon >= 0
        check("horizon", self.horizon, whole, "24")
        check("multivariate", self.multivariate, isinstance(self.multivariate, bool), "true")
        lags = self.lags is None or (
            isinstance(self.lags, list) and all(type(lag) is int and lag > 0 for lag in self.lags)
        )
        check("lags", self.lags, lags, "[24, 168], [] or null")
        check("scaling", self.scaling, self.scaling in KINDS, " or ".join(KINDS))
        processes = type(self.workers) is int and self.workers >= 0
        check("workers", self.workers, processes, "2, or 0 to cut windows in the training process")


SERIES = tuple(field.name for field in fields(SeriesSettings))


def build_series(config: DictConfig | Mapping, seed: int = 0) -> tuple[Windows, Windows, SeriesSet]:
    """Build the windows of a data configuration.

    The windows end before the test span, which the series still have. There are no validation
    windows where their span is shorter than one.

    Args:
        config: the group ``data``.
        seed: of the random places.

    Returns:
        (training windows at random places, consecutive validation windows, the series).

    Raises:
        UserError: where nothing is left to train on.
    """
    values, shared = settings_of(config, SERIES, "series")
    settings = SeriesSettings(**shared)
    series = dataset_of(values)
    train, validation = windows.split(series, settings.test, settings.validation)
    horizon = settings.horizon
    context = settings.context or default_context(series.freq, horizon, max(train))
    common: dict[str, Any] = {"multivariate": settings.multivariate, "lags": settings.lags}
    crops = Windows(series, context, horizon, seed=seed, stops=train, **common)
    origins = [
        windows.rolling(start, stop, horizon)
        if horizon
        else windows.rolling(start + context, stop, 0, context)
        for start, stop in zip(train, validation, strict=True)
    ]
    held_out = windows.test_windows(series, context, horizon, origins, fitted_on=train, **common)
    return crops, held_out, series


def default_context(freq: str | None, horizon: int, longest: int) -> int:
    """Three horizons or two seasons, whichever is longer, within the longest series."""
    wanted = max(3 * horizon, 2 * calendar.season(freq), 8)
    return max(min(wanted, longest - horizon), 1)


def recipe_config(recipe: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The configuration that ``wavediff train recipe=... overrides`` composes, as plain values."""
    from hydra import compose, initialize_config_dir  # not needed for inference
    from omegaconf import OmegaConf

    with initialize_config_dir(version_base="1.3", config_dir=str(conf_folder())):
        config = compose("train", [f"recipe={recipe}", *overrides])
    # the other keys belong to a run and refer to Hydra itself
    chosen = {key: config[key] for key in (*GROUPS, "data", "optimizer", "trainer")}
    return {
        key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for key, value in chosen.items()
    }
