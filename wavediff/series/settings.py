"""Time series for training and validation, as a configuration says.

Settings that every dataset of series has (`conf/data/series.yaml`):

    context       steps of a window that a forecast sees; null: three horizons or two seasons
    horizon       steps that it tells; 0 where windows are for imputation only
    multivariate  all variables of an item in one window; otherwise each is a series by itself
    lags          steps after which a series resembles itself; null: by the frequency; [] for none
    scaling       of each window and variable: mean_abs, standard, robust, last, none; of all
                  variables together: joint
    test          the end of each series, which training never sees: steps, or a part of it
    validation    what comes before that, likewise
    workers       processes that cut windows beside training
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from omegaconf import DictConfig

from wavediff.data.configured import dataset_of, settings_of
from wavediff.data.loader import check
from wavediff.series import calendar, windows
from wavediff.series.scaling import KINDS
from wavediff.series.series_set import SeriesSet
from wavediff.series.windows import Windows


@dataclass(frozen=True)
class SeriesSettings:
    """What `conf/data/series.yaml` sets. Raises UserError for a value that makes no sense."""

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
    """(training windows at random places, validation windows one after the other, the series).

    The series still have the test span, in the last steps; both windows stay before it. There are
    no validation windows where the span is shorter than one. Raises UserError where nothing is left
    to train on.
    """
    values, settings = settings_of(config, SERIES, "series")
    settings = SeriesSettings(**settings)
    series = dataset_of(values)
    train, validation = windows.split(series, settings.test, settings.validation)
    horizon = settings.horizon
    context = settings.context or default_context(series.freq, horizon, max(train))
    common = {"multivariate": settings.multivariate, "lags": settings.lags}
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
    """Three horizons or two seasons, whichever is longer, as far as the series are so long."""
    wanted = max(3 * horizon, 2 * calendar.season(freq), 8)
    return max(min(wanted, longest - horizon), 1)
