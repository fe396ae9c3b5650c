"""Forecasts of any length, block by block, each path conditioned on its own past."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from wavediff.diffusion.sampler import Sampler
from wavediff.series import calendar, covariates
from wavediff.series.model import SeriesModel, Window
from wavediff.series.series_set import SeriesSet
from wavediff.series.windows import Windows

CELLS = 20_000_000  # of the sampled windows that are held at once
STEPS = 50_000  # of windows that a CPU computes at once: more takes memory, not less time


def paths(
    model: SeriesModel,
    series: SeriesSet,
    origins: Sequence[tuple[int, int]],
    horizon: int,
    samples: int,
    *,
    multivariate: bool,
    sampler: Sampler | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Iterator[np.ndarray]:
    """Sample paths ``[samples, V, horizon]`` from each origin on, in order.

    Steps at or beyond an origin have no influence. A path is a function of the seed and of the
    origin's number.

    Args:
        model: of windows with the variables of ``series``.
        series: the history.
        origins: (item, step) where each forecast begins.
        horizon: steps of the forecasts.
        samples: paths of each.
        multivariate: whether a window of the model holds all variables, or one.
        sampler: the model's own by default.
        seed: of the noise.
        progress: called with the number of windows done since its last call: one for each origin,
            or for each origin and variable.

    Raises:
        UserError: where known covariates end before the horizon.
    """
    blocks = -(-horizon // model.horizon)
    series = _with_covariates(series, origins, horizon, blocks * model.horizon)
    windows = Windows(
        series,
        model.context,
        model.horizon,
        places=origins,
        multivariate=multivariate,
        lags=model.lags,
    )
    per_origin = 1 if multivariate else len(series.variables)
    rows = max(1, CELLS // (samples * model.variables * model.length * per_origin))
    for start in range(0, len(origins), rows):
        stop = min(start + rows, len(origins))
        numbers = range(start * per_origin, stop * per_origin)
        parts = []
        for part in pieces(model, samples, len(numbers)):
            found = _roll(model, windows, numbers[part], blocks, samples, sampler, seed)
            parts.append(found[..., :horizon])
            if progress is not None:
                progress(len(numbers[part]))
        # [samples, origins, V, horizon], whether the variables were apart or not
        future = torch.cat(parts, dim=1).reshape(samples, stop - start, -1, horizon).numpy()
        for number in range(stop - start):
            yield future[:, number]


def pieces(model: SeriesModel, samples: int, windows: int) -> list[slice]:
    """The windows that go to the model together: as many as fit into memory ``samples`` times."""
    size = windows
    if model.device.type == "cpu":
        size = max(1, STEPS // (samples * model.length))
    return [slice(first, min(first + size, windows)) for first in range(0, windows, max(size, 1))]


def _roll(
    model: SeriesModel,
    windows: Windows,
    numbers: range,
    blocks: int,
    samples: int,
    sampler: Sampler | None,
    seed: int,
) -> Tensor:
    """``[samples, len(numbers), variables, blocks * model.horizon]``."""
    options = {"sampler": sampler, "seed": seed}
    first = Window.of(default_collate([windows[number] for number in numbers]))
    pasts = [windows.past(number) for number in numbers]
    first = with_earlier(first, pasts, model.context, calendar.season(windows.set.freq))
    places = (windows.places or [])[numbers.start : numbers.stop]
    future = model.forecast(first, samples, first=numbers.start, **options).cpu()
    for block in range(1, blocks):
        ahead = block * model.horizon
        cut = [windows.window(label, origin + ahead) for label, origin in places]
        window = Window.of(default_collate(cut))
        window = window.map(lambda part: part.repeat_interleave(samples, dim=0))
        window = with_past(window, future.transpose(0, 1).flatten(0, 1), model)
        # noise of its own for each block, path and origin
        place = (block << 40) + numbers.start * samples
        found = model.forecast(window, 1, first=place, **options)[0].cpu()
        found = found.unflatten(0, (len(numbers), samples)).transpose(0, 1)
        future = torch.cat([future, found], dim=-1)
    unknown = torch.tensor([np.isnan(past).all(1).tolist() for past in pasts])
    return future.masked_fill(unknown[..., None], torch.nan)


def with_earlier(window: Window, pasts: Sequence[np.ndarray], context: int, season: int) -> Window:
    """``window`` with earlier values of the variables that have none in the context.

    The last known values of such a variable are moved to the end of the context, by whole seasons
    where these fit into it.

    Args:
        window: the windows.
        pasts: all steps before the horizon of each, ``[V, T]``.
        context: steps of a window before its horizon.
        season: in steps.
    """
    empty = ~window.present[..., :context].any(-1)
    if not empty.any():
        return window
    values, present = window.values.clone(), window.present.clone()
    for row, variable in empty.nonzero().tolist():
        line = pasts[row][variable]
        known = np.flatnonzero(~np.isnan(line))
        if not len(known):
            continue
        gap = len(line) - 1 - int(known[-1])
        open_end = gap % season if season <= context // 2 else 0
        last = line[: known[-1] + 1][-(context - open_end) :]
        stop = context - open_end
        there = torch.from_numpy(~np.isnan(last))
        values[row, variable, stop - len(last) : stop] = torch.from_numpy(np.nan_to_num(last)).to(
            values
        )
        present[row, variable, stop - len(last) : stop] = there
    return window._replace(values=values, present=present)


def with_past(window: Window, path: Tensor, model: SeriesModel) -> Window:
    """``window`` with a path as the steps before its horizon, in its lags too.

    Args:
        window: the windows.
        path: ``[batch, variables, n]``, the n steps before the horizon.
        model: the model of the windows.
    """
    context, length, n = model.context, model.length, path.shape[-1]
    values, present = window.values.clone(), window.present.clone()
    seen = min(n, context)
    values[..., context - seen : context] = path[..., n - seen :].to(values)
    present[..., context - seen : context] = True
    lags = window.lags.unflatten(1, (model.variables, -1)).clone()
    there = window.lags_present.unflatten(1, (model.variables, -1)).clone()
    for k, lag in enumerate(model.lags):
        # position p has step p - lag of the window, which is in the path from context - n on
        start, stop = max(0, context + lag - n), min(length, context + lag)
        if start < stop:
            source = start - lag - (context - n)
            lags[:, :, k, start:stop] = path[..., source : source + stop - start].to(lags)
            there[:, :, k, start:stop] = True
    return window._replace(
        values=values, present=present, lags=lags.flatten(1, 2), lags_present=there.flatten(1, 2)
    )


def _with_covariates(
    series: SeriesSet, origins: Sequence[tuple[int, int]], horizon: int, computed: int
) -> SeriesSet:
    """``series`` with the end of its known covariates repeated as far as the last block needs."""
    if not series.known_names:
        return series
    ends = dict.fromkeys(range(len(series)), 0)
    for number, origin in origins:
        ends[number] = max(ends[number], origin)
    items = []
    for number, item in enumerate(series.items):
        if item.known is None:
            continue
        covariates.until(series, number, ends[number] + horizon)
        known = covariates.continued(item.known, ends[number] + computed)
        items.append(replace(item, known=known))
    return replace(series, items=items)
