"""Imputation of whole series by a model of windows.

A window is sampled for every half window that has gaps, and its middle is kept, so that a cell is
imputed from both sides. Cells that are too far from any known one for that are imputed afterwards,
from the known ends of the gap inward, each path conditioned on what it has imputed so far.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate

from wavediff.diffusion.sampler import Sampler
from wavediff.series import scaling
from wavediff.series.model import SeriesModel, Window
from wavediff.series.rolling import CELLS, pieces
from wavediff.series.series_set import SeriesSet
from wavediff.series.windows import Windows


@dataclass(frozen=True)
class Imputed:
    """An item with its missing values imputed.

    Attributes:
        median: ``[V, T]``, the samples' median where a value was missing, the value elsewhere; NaN
            in a variable without any known value.
        std: ``[V, T]``, the samples' standard deviation, 0 where the value was known.
    """

    median: np.ndarray
    std: np.ndarray


def impute(
    model: SeriesModel,
    series: SeriesSet,
    samples: int,
    *,
    multivariate: bool,
    sampler: Sampler | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[Imputed]:
    """Impute the missing values of every item.

    Args:
        model: of windows with the variables of ``series``.
        series: whose missing values are NaN.
        samples: of each missing value.
        multivariate: whether a window of the model holds all variables, or one.
        sampler: the model's own by default.
        seed: of the noise.
        progress: called with the number of values imputed since its last call.
    """
    windows = Windows(
        series,
        model.context,
        model.horizon,
        places=[],
        multivariate=multivariate,
        lags=model.lags,
    )
    found = []
    label = 0
    for item in series.items:
        part = Imputed(item.values.copy(), np.zeros(item.values.shape))
        count = len(item.values)
        for rows in [slice(count)] if multivariate else [slice(v, v + 1) for v in range(count)]:
            values = item.values[rows]
            into = Imputed(part.median[rows], part.std[rows])
            _Gaps(model, windows, label, values, into, samples, sampler, seed, progress).impute()
            label += 1
        found.append(part)
    return found


class _Gaps:
    """The gaps of one series ``[V, T]``, and the samples ``[samples, cells]`` of those cells that
    others will be conditioned on."""

    def __init__(
        self,
        model: SeriesModel,
        windows: Windows,
        label: int,
        values: np.ndarray,
        into: Imputed,
        samples: int,
        sampler: Sampler | None,
        seed: int,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.model, self.windows, self.label = model, windows, label
        self.values, self.into, self.samples, self.progress = values, into, samples, progress
        self.options: dict[str, Any] = {"sampler": sampler, "seed": seed}
        self.open = np.isnan(values)  # still to be imputed
        self.open &= ~self.open.all(1, keepdims=True)
        self.wide = _scale(values, model.scaling)
        self.calls = 0

    def impute(self) -> None:
        """Put the samples' median and standard deviation into the missing cells."""
        if self.open.any():
            self._between()
            while self.open.any():
                self._inward()

    def _between(self) -> None:
        """Impute cells that have known ones of their variable in the window around them."""
        length, steps = self.model.length, self.values.shape[1]
        stride = max(length // 2, 1)
        last = steps - length
        starts = np.array([last] if last <= 0 else [*range(0, last, stride), last])
        # each step belongs to the window in whose middle it is most
        centres = starts + (length - 1) / 2
        owner = np.searchsorted((centres[1:] + centres[:-1]) / 2, np.arange(steps))
        ends = np.minimum(starts + length, steps), np.maximum(starts, 0)
        own = self.open.copy()
        for row, values in zip(own, self.values, strict=True):
            known = np.concatenate([[0], np.cumsum(~np.isnan(values))])
            row &= (known[ends[0]] - known[ends[1]] >= self.model.min_known)[owner]
        self._number(self.open & ~own)
        chosen = np.unique(owner[own.any(0)])
        rows = max(1, CELLS // (self.samples * len(self.values) * length))
        for first in range(0, len(chosen), rows):
            part = chosen[first : first + rows]
            window = self._windows(starts[part])
            for piece in pieces(self.model, self.samples, len(part)):
                cut = window.rows(piece)
                drawn = self.model.sample_windows(
                    cut,
                    cut.present,
                    self.samples,
                    wide=self._wide(len(cut.present)),
                    first=self._place(int(part[0])) + piece.start,
                    **self.options,
                ).cpu()
                for row, number in enumerate(part[piece]):
                    low, high = np.searchsorted(owner, [number, number + 1])
                    cells = own[:, low:high]
                    self._keep(cells, int(low), starts[number], drawn[:, row].numpy())

    def _number(self, later: np.ndarray) -> None:
        """Allocate the samples of the cells that ``_inward`` conditions on: those of ``later`` and
        the open ones in a window around them."""
        found = np.concatenate([[0], np.cumsum(later.any(0))])
        steps, length = np.arange(later.shape[1]), self.model.length
        low, high = np.maximum(steps - length, 0), np.minimum(steps + length, len(steps))
        seen = self.open & (found[high] > found[low])
        self.number = np.full(seen.shape, -1, np.int32 if seen.size < 2**31 else np.int64)
        self.number[seen] = np.arange(seen.sum())
        self.drawn = np.zeros((self.samples, int(seen.sum())), self.windows.dtype)

    def _inward(self) -> None:
        """Impute half a window from the known end of a gap on, each path independently."""
        length = self.model.length
        half = max(length // 2, 1)
        variable = int(np.argmax(self.open.any(1)))
        at = np.flatnonzero(self.open[variable])
        known = np.flatnonzero(~self.open[variable])  # given, or imputed by now
        # a gap at the beginning is imputed from its end
        start = at[0] - (length - half) if known[0] < at[0] else known[0] - half
        start = min(max(start, 0), self.values.shape[1] - length)
        window = self._windows(np.array([start]))
        window = window.map(lambda part: part.repeat_interleave(self.samples, dim=0))
        first, last = max(start, 0), min(start + length, self.values.shape[1])
        span = slice(first - start, last - start)
        number = self.number[:, first:last]
        done = (number >= 0) & ~self.open[:, first:last]
        values, present = window.values.numpy(), window.present.numpy()
        values[..., span][:, done] = self.drawn[:, number[done]]
        present[..., span][:, done] = True
        drawn = self.model.sample_windows(
            window,
            window.present,
            1,
            wide=self._wide(self.samples),
            first=self._place(0, self.calls + 1),
            **self.options,
        )[0].cpu()
        self.calls += 1
        self._keep(self.open[:, first:last].copy(), first, start, drawn.numpy())

    def _place(self, number: int, call: int = 0) -> int:
        """The number of a window, or of a path of one, that its noise is a function of."""
        return (((self.label << 16) + call) << 20) + number

    def _windows(self, starts: np.ndarray) -> Window:
        context = self.model.context
        cut = [self.windows.window(self.label, int(start) + context) for start in starts]
        window = Window.of(default_collate(cut))
        return window._replace(values=window.values.clone(), present=window.present.clone())

    def _wide(self, count: int) -> scaling.Affine:
        return scaling.Affine(
            self.wide.loc.expand(count, -1, -1), self.wide.scale.expand(count, -1, -1)
        )

    def _keep(self, cells: np.ndarray, first: int, start: int, drawn: np.ndarray) -> None:
        """Store samples of cells.

        Args:
            cells: bool ``[V, any]``, from step ``first`` on.
            first: step of the item.
            start: step where the window begins.
            drawn: ``[samples, V, length]``, samples of the window.
        """
        rows, steps = np.nonzero(cells)
        steps = steps + first
        found = drawn[:, rows, steps - start]
        self.into.median[rows, steps] = np.median(found, axis=0)
        self.into.std[rows, steps] = found.std(axis=0, dtype=np.float64)
        number = self.number[rows, steps]
        self.drawn[:, number[number >= 0]] = found[:, number >= 0]
        self.open[rows, steps] = False
        if self.progress is not None:
            self.progress(len(rows))


def _scale(values: np.ndarray, kind: str) -> scaling.Affine:
    """The scale of all known cells of ``[V, T]``, of each variable unless they share one."""
    parts = [values] if kind == "joint" else values[:, None]
    fits = [
        scaling.fit(torch.from_numpy(part)[None], torch.from_numpy(~np.isnan(part))[None], kind)
        for part in parts
    ]
    return scaling.Affine(
        torch.cat([each.loc for each in fits], dim=1),
        torch.cat([each.scale for each in fits], dim=1),
    )
