"""Missing cells of whole series, by a model of windows.

A window is sampled for every stretch of half its length that has gaps, and its middle is kept, so
that cells are seen with what lies on both sides. What is too far from anything known for that is
filled afterwards, from the known ends of the gap inward, each path with what it has filled so far.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
class Filled:
    """An item's gaps.

    Attributes:
        median: ``[V, T]``, the samples' median where a value was missing, the value elsewhere; NaN
            in a variable of which nothing is known.
        std: ``[V, T]``, the samples' standard deviation, 0 where the value was known.
    """

    median: np.ndarray
    std: np.ndarray


def fill(
    model: SeriesModel,
    series: SeriesSet,
    samples: int,
    *,
    multivariate: bool,
    sampler: Sampler | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[Filled]:
    """The gaps of every item of ``series``.

    Args:
        progress: told how many missing cells were filled since it was told last.
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
        part = Filled(item.values.copy(), np.zeros(item.values.shape))
        whole = slice(None)
        for rows in [whole] if multivariate else [slice(v, v + 1) for v in range(len(item.values))]:
            values = item.values[rows]
            into = Filled(part.median[rows], part.std[rows])
            _Gaps(model, windows, label, values, into, samples, sampler, seed, progress).fill()
            label += 1
        found.append(part)
    return found


class _Gaps:
    """The gaps of one series ``[V, T]``, and the samples ``[samples, cells]`` of those cells that
    others will be filled from."""

    def __init__(
        self,
        model: SeriesModel,
        windows: Windows,
        label: int,
        values: np.ndarray,
        into: Filled,
        samples: int,
        sampler: Sampler | None,
        seed: int,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.model, self.windows, self.label = model, windows, label
        self.values, self.into, self.samples, self.progress = values, into, samples, progress
        self.options = {"sampler": sampler, "seed": seed}
        self.open = np.isnan(values)  # still to be filled
        self.open &= ~self.open.all(1, keepdims=True)
        self.wide = _scale(values, model.scaling)
        self.calls = 0

    def fill(self) -> None:
        """Put the samples' median and standard deviation into the missing cells."""
        if self.open.any():
            self._between()
            while self.open.any():
                self._inward()

    def _between(self) -> None:
        """Cells that have known ones of their variable in the window around them."""
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
            row &= (known[ends[0]] - known[ends[1]] >= self.model.fewest)[owner]
        self._number(self.open & ~own)
        chosen = np.unique(owner[own.any(0)])
        rows = max(1, CELLS // (self.samples * len(self.values) * length))
        for first in range(0, len(chosen), rows):
            part = chosen[first : first + rows]
            window = self._windows(starts[part])
            for piece in pieces(self.model, self.samples, len(part)):
                cut = Window(*(each if each is None else each[piece] for each in window))
                drawn = self.model.sample(
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
        """Make room for the samples of the cells that ``_inward`` will see: those of ``later`` and
        what is open in a window around them."""
        found = np.concatenate([[0], np.cumsum(later.any(0))])
        steps, length = np.arange(later.shape[1]), self.model.length
        low, high = np.maximum(steps - length, 0), np.minimum(steps + length, len(steps))
        seen = self.open & (found[high] > found[low])
        self.number = np.full(seen.shape, -1, np.int32 if seen.size < 2**31 else np.int64)
        self.number[seen] = np.arange(seen.sum())
        self.drawn = np.zeros((self.samples, int(seen.sum())), np.float32)

    def _inward(self) -> None:
        """Half a window from the known end of a gap on, each path by itself."""
        length = self.model.length
        half = max(length // 2, 1)
        variable = int(np.argmax(self.open.any(1)))
        at = np.flatnonzero(self.open[variable])
        known = np.flatnonzero(~self.open[variable])  # given, or filled by now
        # a gap at the beginning is filled from its end
        start = at[0] - (length - half) if known[0] < at[0] else known[0] - half
        start = min(max(start, 0), self.values.shape[1] - length)
        window = self._windows(np.array([start]))
        window = Window(*(part.repeat_interleave(self.samples, dim=0) for part in window))
        first, last = max(start, 0), min(start + length, self.values.shape[1])
        span = slice(first - start, last - start)
        number = self.number[:, first:last]
        done = (number >= 0) & ~self.open[:, first:last]
        values, present = window.values.numpy(), window.present.numpy()
        values[..., span][:, done] = self.drawn[:, number[done]]
        present[..., span][:, done] = True
        drawn = self.model.sample(
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
        """Where the noise of windows, or of the paths of one, is taken from."""
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
        """The samples ``[samples, V, length]`` of the window at ``start`` for these cells, the
        ``[V, any]`` from step ``first`` on."""
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
    """That of all known cells of ``[V, T]``, variable by variable where they do not share one."""
    parts = [values] if kind == "joint" else values[:, None]
    fits = [
        scaling.fit(torch.from_numpy(part)[None], torch.from_numpy(~np.isnan(part))[None], kind)
        for part in parts
    ]
    return scaling.Affine(
        torch.cat([each.loc for each in fits], dim=1),
        torch.cat([each.scale for each in fits], dim=1),
    )
