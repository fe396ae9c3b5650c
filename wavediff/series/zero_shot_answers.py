"""The pre-trained forecaster on the series of a table: compared, calibrated, and in their range."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, partial

import numpy as np

from wavediff.series import calibration, covariates, two_filter
from wavediff.series.answers import Answers, Forecast, Gaps, Origin, Request
from wavediff.series.assessment import SAMPLES as ASSESSMENT_SAMPLES
from wavediff.series.assessment import Assessment, assess
from wavediff.series.baselines import seasonal_naive_intervals
from wavediff.series.imputation import Imputed
from wavediff.series.kinds import Range
from wavediff.series.period import Periods, estimated, of_frequency
from wavediff.series.series_set import SeriesSet
from wavediff.series.zero_shot import ZeroShotForecaster
from wavediff.series.zero_shot_paths import paths

LEAST_GAIN = 0.02  # by known columns, below which they are left out
ALL = "forecast"  # title of a bar


class ZeroShotAnswers(Answers):
    """Forecasts and imputation of the pre-trained model; each variable of an item is a row."""

    def __init__(self, model: ZeroShotForecaster, series: SeriesSet, request: Request) -> None:
        super().__init__(series, request)
        self.model = model
        self.rows = rows_of(series)

    @cached_property
    def periods(self) -> Periods:
        """Of the data."""
        return periods_of(self.series, self.request.period)

    @property
    def season(self) -> int:
        return self.periods.short

    def forecast(self, horizon: int, items: Sequence[int]) -> Forecast:
        """Sample paths, compared with seasonal naive and calibrated on the last windows of these
        items; the periods and ranges are those of all."""
        self._see_known_columns(horizon, items)
        count = len(self.series.variables)
        of = [item * count + v for item in items for v in range(count)]  # numbers of the rows
        ends = [(k, len(self.rows[k])) for k in of]
        regress, notes = bool(self.series.known_names), []
        found: Assessment | None = None
        if self.request.assess:
            tried = [
                assess(
                    [self.rows[k] for k in of],
                    horizon,
                    max(self.season, 1),
                    partial(self._tried, horizon, choice, of),
                    self.request.seed,
                )
                for choice in ([False, True] if regress else [False])
            ]
            found = tried[-1]
            if regress:
                regress, sentence = _with_covariates(*tried)
                notes.append(sentence)
                found = tried[regress]
        drawn = self._drawn(horizon, self.request.samples, ends, regress=regress)
        if found is not None:
            drawn = self._mended(drawn, found, of)
        shape = (self.request.samples, len(items), -1, horizon)
        return Forecast(drawn.reshape(shape), notes, found)

    def paths(self, origins: Sequence[Origin], horizon: int) -> Iterator[np.ndarray]:
        count = len(self.series.variables)
        cuts = [(item * count + v, origin) for item, origin in origins for v in range(count)]
        found = self._drawn(horizon, self.request.samples, cuts)
        shape = (self.request.samples, len(origins), -1, horizon)
        yield from found.reshape(shape).swapaxes(0, 1)

    def gaps(self) -> Gaps:
        def drawn(pasts: Sequence[np.ndarray], horizon: int, samples: int) -> np.ndarray:
            return self._zero_shot(pasts, horizon, samples, "impute")

        ranges = self.ranges()
        counts = [r.whole for r in ranges]
        found, sentences = two_filter.impute(
            self.series, self.season, self.request.samples, drawn, self.request.seed, counts
        )
        imputed = [
            Imputed(_in_range(ranges, item.values, part.median), part.std)
            for item, part in zip(self.series.items, found, strict=True)
        ]
        return Gaps(imputed, sentences)

    def _see_known_columns(self, horizon: int, items: Sequence[int]) -> None:
        """See that the known covariates reach the end of the forecast, used or not."""
        if self.series.known_names:
            for number in items:
                covariates.until(self.series, number, self.series.items[number].length + horizon)

    def _tried(
        self, horizon: int, regress: bool, of: Sequence[int], cuts: Sequence[Origin]
    ) -> np.ndarray:
        cuts = [(of[place], origin) for place, origin in cuts]
        title = "check on the last windows"
        return self._drawn(horizon, ASSESSMENT_SAMPLES, cuts, regress=regress, title=title)

    def _mended(self, drawn: np.ndarray, found: Assessment, of: Sequence[int]) -> np.ndarray:
        """``drawn [samples, rows, horizon]`` of the rows ``of`` calibrated, seasonal naive's where
        that is better."""
        if found.factors is not None:
            drawn = calibration.apply(drawn, found.factors)
        season, seed = max(self.season, 1), self.request.seed
        for place in np.flatnonzero(found.naive):
            k = of[int(place)]
            row = self.rows[k][None]
            naive = seasonal_naive_intervals(row, drawn.shape[2], season, len(drawn), seed + k)
            drawn[:, place] = naive[:, 0]
        return self._ranged(drawn, of)

    def _drawn(
        self,
        horizon: int,
        samples: int,
        cuts: Sequence[Origin],
        *,
        regress: bool = True,
        title: str = ALL,
    ) -> np.ndarray:
        """Sample paths ``[samples, cuts, horizon]`` from origins (row, step) on, in their range.

        With ``regress`` the effect of the known covariates is taken out before, and added after.
        """
        count = len(self.series.variables)
        pasts = [self.rows[k][:origin] for k, origin in cuts]
        added = np.zeros((len(cuts), horizon))
        if regress and self.series.known_names:
            for place, (k, origin) in enumerate(cuts):
                known = covariates.until(self.series, k // count, origin + horizon)
                found = covariates.effect(pasts[place], known, max(self.season, 1))
                pasts[place] = pasts[place] - found[:origin]
                added[place] = found[origin:]
        drawn = self._zero_shot(pasts, horizon, samples, title) + added
        return self._ranged(drawn, [k for k, _ in cuts])

    def _ranged(self, drawn: np.ndarray, rows: Sequence[int]) -> np.ndarray:
        """``drawn [samples, len(rows), horizon]``, each row in the range of its variable."""
        ranges = self.ranges()
        of = [ranges[k % len(ranges)] for k in rows]
        return np.stack([r.apply(drawn[:, place]) for place, r in enumerate(of)], axis=1)

    def _zero_shot(
        self, pasts: Sequence[np.ndarray], horizon: int, samples: int, title: str
    ) -> np.ndarray:
        """Sample paths ``[samples, pasts, horizon]`` of the pre-trained model."""
        with self.request.bar(title, len(pasts), "series") as bar:
            return paths(
                self.model,
                pasts,
                self.periods,
                horizon,
                samples,
                sampler=self.request.sampler,
                seed=self.request.seed,
                progress=bar.update,
            )


def rows_of(series: SeriesSet) -> list[np.ndarray]:
    """Each variable of each item, ``[T]``."""
    return [row for item in series.items for row in item.values]


def periods_of(series: SeriesSet, period: int | None = None) -> Periods:
    """The periods that are given, of the calendar, or else estimated from the values."""
    if period is not None:
        return Periods(period, 1)
    if series.freq is not None:
        return of_frequency(series.freq)
    return Periods(estimated(rows_of(series)), 1)


def _in_range(ranges: Sequence[Range], values: np.ndarray, imputed: np.ndarray) -> np.ndarray:
    """``imputed [V, T]``, what was missing in ``values`` moved into the range of its variable."""
    rows = zip(ranges, imputed, np.isnan(values), strict=True)
    return np.stack([r.impute(row, missing) for r, row, missing in rows])


def _with_covariates(without: Assessment, using: Assessment) -> tuple[bool, str]:
    """Whether the known columns help on the last windows, and a sentence about it."""
    with np.errstate(divide="ignore", invalid="ignore"):  # where neither makes an error
        ratio = np.log(using.ratio / without.ratio)
    ratio = ratio[np.isfinite(ratio)]
    gain = 1 - float(np.exp(ratio.mean())) if len(ratio) else 0.0
    if gain > LEAST_GAIN:
        return True, f"the known columns make the last windows {100 * gain:.0f} % better: used"
    return False, "the known columns do not make the last windows better: left out"
