"""Synthesis: series sampled by a model without any known value."""

from __future__ import annotations

import numpy as np
import pandas
import torch

from wavediff.diffusion.sampler import Sampler
from wavediff.errors import UserError
from wavediff.series import calendar, frequency, scaling
from wavediff.series.condition import Window
from wavediff.series.model import SeriesModel
from wavediff.series.series_set import Series, SeriesSet


def synthesize(
    model: SeriesModel, n: int, *, sampler: Sampler | None = None, seed: int = 0
) -> pandas.DataFrame:
    """Sample synthetic series as long as a window of the model.

    Locations and scales are those of training windows, and the timestamps lie in the training span.

    Args:
        model: trained, with what its checkpoint stores about its data.
        n: number of series.
        sampler: the model's own by default.
        seed: of scales, timestamps and noise.

    Returns:
        Columns ``series`` (1 to n), ``time`` and each variable.

    Raises:
        UserError: where the model needs known or static columns.
    """
    facts = model.extra
    if not facts.get("scales"):
        raise UserError("this checkpoint has no scales of its data: train it again")
    freq, start = facts["frequency"], facts["start"]
    if list(facts["local"]) != list(calendar.names(freq)):
        raise UserError(
            "a model with known or static columns cannot synthesize series: train one without "
            f"{', '.join(name for name in facts['local'] if name not in calendar.names(freq))}"
        )
    start = int(start) if freq is None else pandas.Timestamp(start)
    generator = np.random.default_rng(seed)
    scales = torch.tensor(facts["scales"], dtype=torch.float64)
    scales = scales[generator.integers(len(scales), size=n)]
    first = generator.integers(max(facts["steps"] - model.length, 0) + 1, size=n)
    times = [frequency.stamps(start, freq, at, at + model.length) for at in first.tolist()]
    local = np.stack([calendar.features(index, freq) for index in times])
    shape = (n, model.variables, model.length)
    values, present = torch.zeros(shape), torch.zeros(shape, dtype=torch.bool)
    lags = torch.zeros(n, model.variables * len(model.lags), model.length)
    window = Window(values, present, torch.from_numpy(local), lags, lags.bool())
    wide = scaling.Affine(scales[..., :1], scales[..., 1:])
    (sampled,) = model.sample_windows(window, present, 1, sampler=sampler, seed=seed, wide=wide)
    names = facts["variables"] or ["value"]
    items = [
        Series(str(number + 1), index[0], series)
        for number, (index, series) in enumerate(zip(times, sampled.cpu().numpy(), strict=True))
    ]
    frame = SeriesSet(items, names, freq).frame()
    if "item" not in frame:
        frame.insert(1, "item", "1")
    frame = frame.rename(columns={"item": "series"})
    return frame[["series", "time", *names]]
