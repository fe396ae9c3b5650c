"""Windows of series: at random places for training, at given ones for testing."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas
import torch
from torch import Tensor
from torch.utils.data import Dataset

from wavediff.data.order import epoch_order
from wavediff.errors import UserError, listed, shorten
from wavediff.series import calendar
from wavediff.series.series_set import Series, SeriesSet

HIGH = 1e5  # times its variation: a level above needs float64


class Windows(Dataset):
    """Windows of V variables, n lags, F features and L = context + horizon steps.

    Item ``index`` is

        values        float32 [V, L]      in the units of the data, 0 where missing; float64
                                          where a level is far above the variation
        present       float32 [V, L]      1 where there is a value, 0 where it is missing
        lags          as values [V n, L]  the series ``lags[k]`` steps before, in row v n + k
        lags_present  float32 [V n, L]    1 where there is such a value
        local         float32 [F, L]      calendar, known covariates, constants of the item
        label         int                 the number of the series (``label_names``)
        index         int

    No value of the last ``horizon`` steps is in ``lags``; cells that are hidden elsewhere in the
    window must be hidden from the lags too (``visible_lags``). Steps before a series' first and
    after its last one are missing; ``local`` is defined there.

    Training windows (without ``places``) end at random steps before the stops; short series are
    padded with missing steps at the beginning. As with crops, ``index`` is the number of a sample
    in the whole run and has no bound; ``len`` is the number that fit side by side. A window is a
    function of (seed, index) alone, and every epoch has its own order.

    Args:
        series: to cut windows from.
        context: steps before the horizon.
        horizon: steps of a forecast; 0 for imputation only.
        seed: of the random places.
        stops: the step of each item where training windows end; None for its last.
        multivariate: whether a window has all variables of an item, or one.
        lags: in steps; None for those of ``calendar.lags`` that fit into the longest series.
        places: (item, step where the horizon begins) of each window; None for training windows.
        fitted_on: the step of each item before which the known covariates are standardised; None
            for ``stops``.

    Raises:
        UserError: where no series is longer than the horizon before its stop.
    """

    def __init__(
        self,
        series: SeriesSet,
        context: int,
        horizon: int,
        *,
        seed: int = 0,
        stops: Sequence[int] | None = None,
        multivariate: bool = True,
        lags: Sequence[int] | None = None,
        places: Sequence[tuple[int, int]] | None = None,
        fitted_on: Sequence[int] | None = None,
    ) -> None:
        if context < 1 or horizon < 0:
            raise UserError(
                f"a context of {context} and a horizon of {horizon} steps are out of range: the "
                "context must be 1 or more, the horizon 0 or more"
            )
        self.set, self.context, self.horizon, self.seed = series, context, horizon, seed
        self.multivariate = multivariate
        self.stops = [item.length for item in series.items] if stops is None else list(stops)
        longest = max(item.length for item in series.items)
        if lags is None:
            lags = [lag for lag in calendar.lags(series.freq, horizon) if lag < longest]
        if any(type(lag) is not int or lag < 1 for lag in lags):
            raise UserError(f"lags={list(lags)} is invalid: give whole numbers of steps, 1 or more")
        self.lags = list(lags)
        self.places = None if places is None else self._placed(places)
        # (item, its variable or None for all)
        self._series: list[tuple[int, int | None]] = [
            (item, variable)
            for item in range(len(series))
            for variable in ([None] if multivariate else range(len(series.variables)))
        ]
        # float32 has seven digits
        self.dtype = np.float64 if any(map(_is_high, series.items)) else np.float32
        self._local = _Local(series, self.stops if fitted_on is None else fitted_on)
        if self.places is None:
            self._numbers = self._spread()

    @property
    def length(self) -> int:
        """L, the steps of a window."""
        return self.context + self.horizon

    @property
    def variables(self) -> int:
        """V, the variables of a window."""
        return len(self.set.variables) if self.multivariate else 1

    @property
    def local_channels(self) -> int:
        """F, the features in ``local``."""
        return len(self._local.names)

    @property
    def local_names(self) -> list[str]:
        """Names of the features in ``local``."""
        return self._local.names

    @property
    def label_names(self) -> list[str]:
        """Names of the series by label: items, or items' variables."""
        items, names = self.set.items, self.set.variables
        return [
            items[item].name
            if variable is None
            else (names[variable] if len(items) == 1 else f"{items[item].name}:{names[variable]}")
            for item, variable in self._series
        ]

    def __len__(self) -> int:
        return len(self._numbers if self.places is None else self.places)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.places is not None:
            label, origin = self.places[index]
            return self.window(label, origin) | {"index": index}
        epoch, position = divmod(index, len(self))
        label = int(self._numbers[epoch_order(self.seed, epoch, len(self))[position]])
        lowest, highest = self._ends(self._series[label][0])
        place = np.random.default_rng((self.seed, 1, index)).random()
        end = lowest + int(place * (highest - lowest + 1))
        return self.window(label, end - self.horizon) | {"index": index}

    def window(self, label: int, origin: int) -> dict[str, Any]:
        """The window of series ``label`` whose horizon begins at step ``origin``."""
        item, variable = self._series[label]
        data = self.set.items[item].values
        data = data if variable is None else data[variable : variable + 1]
        start, stop = origin - self.context, origin + self.horizon
        values = _cut(data, start, stop)
        earlier = np.full((len(data), len(self.lags), self.length), np.nan)
        for k, lag in enumerate(self.lags):
            earlier[:, k] = _cut(data[:, :origin], start - lag, stop - lag)
        lagged = earlier.reshape(-1, self.length)
        return {
            "values": _numbers(values, self.dtype),
            "present": _present(values),
            "lags": _numbers(lagged, self.dtype),
            "lags_present": _present(lagged),
            "local": torch.from_numpy(self._local.cut(item, start, stop)),
            "label": label,
        }

    def past(self, index: int) -> np.ndarray:
        """All steps ``[V, T]`` before the horizon of window ``index`` of ``places``."""
        if self.places is None:
            raise ValueError("training windows have no places")
        label, origin = self.places[index]
        item, variable = self._series[label]
        values = self.set.items[item].values[:, :origin]
        return values if variable is None else values[variable : variable + 1]

    def times(self, index: int) -> pandas.DatetimeIndex | pandas.RangeIndex:
        """The timestamps of window ``index`` of ``places``."""
        if self.places is None:
            raise ValueError("training windows have no places")
        label, origin = self.places[index]
        item, _ = self._series[label]
        return self.set.times(item, origin - self.context, origin + self.horizon)

    def _placed(self, places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Places by label instead of item."""
        if self.multivariate:
            return [(int(item), int(origin)) for item, origin in places]
        count = len(self.set.variables)
        return [
            (int(item) * count + variable, int(origin))
            for item, origin in places
            for variable in range(count)
        ]

    def _ends(self, item: int) -> tuple[int, int]:
        """The first and last step where a training window of an item may end: whole windows where
        it is long enough, else those with a step of context."""
        stop = self.stops[item]
        return self.length if stop >= self.length else self.horizon + 1, stop

    def _spread(self) -> np.ndarray:
        """Labels, each as often as windows fit into its series side by side."""
        counts = [
            -(-self.stops[item] // self.length) if self._usable(item, variable) else 0
            for item, variable in self._series
        ]
        if not any(counts):
            longest = max(self.stops)
            raise UserError(
                f"no series is longer than the horizon: {longest} steps for training, a horizon of "
                f"{self.horizon}; give more data, a shorter horizon, or fewer steps for validation "
                "and test"
            )
        return np.repeat(np.arange(len(counts)), counts)

    def _usable(self, item: int, variable: int | None) -> bool:
        """Whether a horizon and a step before it fit, and there is any value."""
        data = self.set.items[item].values[:, : self.stops[item]]
        data = data if variable is None else data[variable]
        return self.stops[item] > self.horizon and bool(np.isfinite(data).any())


def test_windows(
    series: SeriesSet,
    context: int,
    horizon: int,
    origins: int | Sequence[int] | Sequence[Sequence[int]] | None,
    **settings: Any,
) -> Windows:
    """Windows of every item whose horizons begin at given steps, which may lie beyond its end.

    Args:
        series: to cut windows from.
        context: steps before the horizon.
        horizon: steps of a forecast.
        origins: a step, or one step or several of each item; None for the end of each item.
        settings: of ``Windows``, as in training.
    """
    each: Sequence[Any]
    if origins is None:
        each = [item.length for item in series.items]
    elif isinstance(origins, int | np.integer):
        each = [int(origins)] * len(series)
    else:
        each = origins
    if len(each) != len(series):
        raise ValueError(f"origins of {len(each)} items for {len(series)} items")
    places = [(item, int(origin)) for item, own in enumerate(each) for origin in np.atleast_1d(own)]
    return Windows(series, context, horizon, places=places, **settings)


test_windows.__test__ = False  # type: ignore[attr-defined]  # not one of pytest's


def rolling(start: int, stop: int, horizon: int, stride: int | None = None) -> list[int]:
    """Origins from ``start`` on whose horizons end by ``stop``, ``stride`` (the horizon) apart."""
    return list(range(start, stop - horizon + 1, stride or horizon))


def split(series: SeriesSet, test: float = 0, validation: float = 0) -> tuple[list[int], list[int]]:
    """The steps of each item where training ends, and where validation ends.

    The test span comes last and the validation span before it; training sees neither.

    Args:
        series: to split.
        test: a number of steps, or a share of the item below 1.
        validation: like ``test``.

    Raises:
        UserError: for a number out of range.
    """
    for name, part in (("test", test), ("validation", validation)):
        number = isinstance(part, int | float) and not isinstance(part, bool)
        if not number or part < 0 or (part != int(part) and part > 1):
            raise UserError(
                f"data.{name}={part} is out of range: give a number of steps, or a share of each "
                "series between 0 and 1"
            )
    train, held_out = [], []
    for item in series.items:
        parts = (test, validation)
        steps = [round(part * item.length) if part < 1 else int(part) for part in parts]
        held_out.append(max(item.length - steps[0], 0))
        train.append(max(item.length - sum(steps), 0))
    return train, held_out


def visible_lags(lags_present: Tensor, known: Tensor, lags: Sequence[int]) -> Tensor:
    """``lags_present`` without the lags whose source in the window is hidden.

    Args:
        lags_present: ``[..., V n, L]``.
        known: ``[..., V, L]``, 1 where a cell is known.
        lags: in steps.
    """
    if not lags:
        return lags_present
    length = known.shape[-1]
    sources = torch.ones(*known.shape[:-1], len(lags), length).to(known)
    for k, lag in enumerate(lags):
        if lag < length:
            sources[..., k, lag:] = known[..., : length - lag]
    return lags_present * sources.flatten(-3, -2)


class _Local:
    """The features of ``local`` for any steps of every item."""

    def __init__(self, series: SeriesSet, fitted_on: Sequence[int]) -> None:
        self.set = series
        # calendar features, shared by items with the same start
        self.times: dict[pandas.Timestamp | int, tuple[int, np.ndarray]] = {}
        pairs = zip(series.items, fitted_on, strict=True)
        known = [item.known[:, : max(stop, 1)] for item, stop in pairs if item.known is not None]
        self.standards = _standards(known) if known else None
        self.static, static = _statics(series)
        self.names = [*calendar.names(series.freq), *series.known_names, *static]

    def cut(self, item: int, start: int, stop: int) -> np.ndarray:
        """The features of steps of an item, float32 ``[F, stop - start]``."""
        series = self.set.items[item]
        rows = [self._calendar(item, start, stop)]
        if series.known is not None and self.standards is not None:
            if stop > series.known.shape[1]:
                raise UserError(
                    f"{shorten(series.name)}: the known columns {listed(self.set.known_names)} end "
                    f"{stop - series.known.shape[1]} steps before the horizon does: give rows with "
                    "them for the whole horizon, with the other columns empty"
                )
            mean, spread = self.standards
            rows.append(np.nan_to_num((_cut(series.known, start, stop) - mean) / spread))
        rows.append(np.repeat(self.static[item][:, None], stop - start, 1))
        return np.concatenate(rows).astype(np.float32)

    def _calendar(self, item: int, start: int, stop: int) -> np.ndarray:
        key = self.set.items[item].start
        first, found = self.times.get(key, (0, np.zeros((0, 0))))
        if start < first or stop > first + found.shape[1]:
            series = self.set.items[item]
            first = min(first, start)
            last = max(stop, first + found.shape[1], series.length + (stop - start))
            found = calendar.features(self.set.times(item, first, last), self.set.freq)
            self.times[key] = first, found
        return found[:, start - first : stop - first]


def _standards(known: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation ``[K, 1]`` of covariates over all items."""
    values = np.concatenate(known, axis=1)
    spread = values.std(1, keepdims=True)
    return values.mean(1, keepdims=True), np.where(spread > 0, spread, 1.0)


def _statics(series: SeriesSet) -> tuple[np.ndarray, list[str]]:
    """The features ``[items, features]`` of the constants of items, and their names: numbers
    standardised over the items, 0 or 1 for each value of a text."""
    columns, names = [], []
    for name in series.items[0].static:
        values = [item.static[name] for item in series.items]
        if any(isinstance(value, str) for value in values):
            for choice in sorted(set(map(str, values))):
                columns.append([float(str(value) == choice) for value in values])
                names.append(f"{name}={choice}")
        else:
            numbers = np.array(values, float)
            columns.append((numbers - numbers.mean()) / (numbers.std() or 1.0))
            names.append(name)
    return np.array(columns, float).reshape(len(columns), len(series)).T, names


def _cut(data: np.ndarray, start: int, stop: int) -> np.ndarray:
    """``data[:, start:stop]``, NaN outside."""
    cut = np.full((len(data), stop - start), np.nan)
    first, last = max(start, 0), min(stop, data.shape[1])
    if first < last:
        cut[:, first - start : last - start] = data[:, first:last]
    return cut


def _numbers(values: np.ndarray, dtype: type[np.floating]) -> Tensor:
    return torch.from_numpy(np.nan_to_num(values).astype(dtype))


def _is_high(item: Series) -> bool:
    """Whether the level of a variable is far above its variation."""
    for row in item.values:
        known = row[~np.isnan(row)]
        if len(known) and np.abs(known).max() > HIGH * known.std() > 0:
            return True
    return False


def _present(values: np.ndarray) -> Tensor:
    return torch.from_numpy((~np.isnan(values)).astype(np.float32))
