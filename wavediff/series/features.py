"""What the pre-trained forecaster sees of a series, and the scale in which it denoises."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from wavediff.series.smoothing import METHODS, Reference, smooth

FINE = 512  # most recent steps that are seen one by one
POOLED = 128  # values that all earlier steps are averaged into
PAST, AHEAD, SERIES = 11, 11, len(METHODS) + 15  # numbers of features
LONGEST = 4096  # steps of the past that count
CLIP = 6.0  # of the scaled horizon, in asinh units
FLOOR = 1e-4  # least spread of the reference, as a share of the context's scale


class Scale(NamedTuple):
    """y = loc + scale (centre + spread sinh(z)), in float64.

    Attributes:
        loc, scale: of the context, float64 ``[batch, 1]``.
        centre, spread: of the reference, in units of ``scale``, ``[batch, horizon]``.
    """

    loc: Tensor
    scale: Tensor
    centre: Tensor
    spread: Tensor

    def apply(self, y: Tensor) -> Tensor:
        """z of ``y [batch, horizon]``, clipped."""
        x = ((y.double() - self.loc) / self.scale - self.centre) / self.spread
        return torch.asinh(x).clamp(-CLIP, CLIP).float()

    def invert(self, z: Tensor) -> Tensor:
        """``y`` of ``z [batch, ..., horizon]``, float64."""
        shape = (len(z), *[1] * (z.ndim - 2), -1)
        loc, scale, centre, spread = (part.view(shape) for part in self)
        return loc + scale * (centre + spread * torch.sinh(z.double().clamp(-CLIP, CLIP)))


class Features(NamedTuple):
    """The arguments of ``PatchEncoder``."""

    past: Tensor
    known: Tensor
    ahead: Tensor
    series: Tensor


def describe(values: Tensor, periods: Tensor, horizon: int, patch: int) -> tuple[Features, Scale]:
    """The features of a batch of contexts, and their scale.

    A context is standardised by its median and mean absolute deviation. Its horizon is in units of
    the spread of a reference forecast (``smooth``) around that: of the values, or of their
    logarithms, as the likelihood of the one-step-ahead errors weighs them.

    Args:
        values: ``[batch, length]``, NaN where missing; series shorter than others begin later.
        periods: int64 ``[batch, 2]``, a short and a long seasonal period in steps, 1 for none.
        horizon: steps ahead, a multiple of ``patch``.
        patch: of the network.
    """
    values = values[:, -LONGEST:].double()
    known = torch.isfinite(values)
    loc, scale = _standard(values, known)
    x = torch.where(known, (values - loc) / scale, 0).float()
    plain = smooth(x, known, periods, horizon)
    centre, spread, share = _with_logarithms(values, known, loc, scale, periods, horizon, plain)
    spread = spread.clamp(min=FLOOR)
    one = plain.spread_one.clamp(min=FLOOR)
    length = values.shape[1]

    steps = torch.arange(length + horizon, device=values.device)[None] - length
    phases = []
    for k in range(2):
        angle = 2 * math.pi * (steps % periods[:, k : k + 1]) / periods[:, k : k + 1]
        seasonal = (periods[:, k : k + 1] > 1).float()
        phases += [seasonal * angle.sin(), seasonal * angle.cos()]
    naive = _seasonal_naive(x, known, periods, horizon)
    counts = known.sum(1, keepdim=True)
    past = torch.stack(
        [
            known.float(),
            _squash(x),
            _squash((x - plain.level) / one),
            _squash(plain.errors),
            _squash(plain.season[:, :length] / one),
            _squash((x - _lagged(x, known, periods[:, :1])) / one),
            *(phase[:, :length] for phase in phases),
            torch.zeros_like(x),
        ],
        1,
    )
    past = past * known[:, None]
    far = torch.arange(1, horizon + 1, device=values.device).float().log().expand(len(x), -1)
    ahead = torch.stack(
        [
            _squash((centre - plain.level) / one),
            torch.log(spread / one).clamp(-6, 6) / 2,
            _squash((naive - centre) / spread),
            _squash((plain.centre - centre) / spread),
            _squash((x[:, -1:] - centre) / spread),
            _squash(plain.season[:, length:] / one),
            *(phase[:, length:] for phase in phases),
            far / 4,
        ],
        1,
    )
    series = _numbers(x, known, counts, periods, plain, one, share, loc / scale)
    past, there = _pooled(past, known, patch)
    features = Features(past, there, ahead, series)
    return features, Scale(loc, scale, centre.double(), spread.double())


def _standard(values: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Median and mean absolute deviation of the known values, float64 ``[batch, 1]``."""
    there = torch.where(known, values, torch.nan)
    loc = there.nanmedian(1, keepdim=True).values.nan_to_num()
    scale = (there - loc).abs().nanmean(1, keepdim=True).nan_to_num()
    tiny = 1e-12 * loc.abs() + 1e-300
    return loc, torch.where(scale > tiny, scale, 1.0)


def _with_logarithms(
    values: Tensor,
    known: Tensor,
    loc: Tensor,
    scale: Tensor,
    periods: Tensor,
    horizon: int,
    plain: Reference,
) -> tuple[Tensor, Tensor, Tensor]:
    """(centre, spread, weight of the logarithms) of the reference in units of ``scale``."""
    share = torch.zeros_like(plain.spread_one)
    positive = torch.where(known, values > 0, True).all(1) & (known.sum(1) >= 8)
    centre, spread = plain.centre, plain.spread
    if not positive.any():
        return centre, spread, share
    rows = positive.nonzero()[:, 0]
    there = known[rows]
    logs = torch.where(there, values[rows], 1).log()
    middle, width = _standard(logs, there)
    y = torch.where(there, (logs - middle) / width, 0).float()
    found = smooth(y, there, periods[rows], horizon)
    top = y.amax(1, keepdim=True) + (y.amax(1, keepdim=True) - y.amin(1, keepdim=True)) + 1
    bottom = y.amin(1, keepdim=True) - 3
    exponent = (middle + width * found.centre.double().clamp(bottom, top)).clamp(max=600)
    log_centre = ((exponent.exp() - loc[rows]) / scale[rows]).float()
    ratio = torch.expm1((width * found.spread.double()).clamp(max=2.0))
    log_spread = (exponent.exp() * ratio / scale[rows]).float()
    counts = there.sum(1, keepdim=True)

    def likelihood(errors: Tensor, one: Tensor, unit: Tensor) -> Tensor:
        mean = errors.abs().sum(1, keepdim=True) / counts
        return -counts * torch.log(mean * one.clamp(min=1e-9) * unit + 1e-300)

    log = likelihood(found.errors.double(), found.spread_one.double(), width)
    log = log - (logs * there).sum(1, keepdim=True)
    raw = likelihood(plain.errors[rows].double(), plain.spread_one[rows].double(), scale[rows])
    weight = torch.sigmoid(0.3 * (log - raw).clamp(-60, 60)).float()
    weight = torch.where(torch.isfinite(log_centre).all(1, keepdim=True), weight, 0)
    log_centre = torch.where(weight > 0, log_centre, 0)
    log_spread = torch.where(weight > 0, log_spread, 0)
    centre, spread = centre.clone(), spread.clone()
    centre[rows] = (1 - weight) * centre[rows] + weight * log_centre
    spread[rows] = (1 - weight) * spread[rows] + weight * log_spread
    share[rows] = weight
    return centre, spread, share


def _numbers(
    x: Tensor,
    known: Tensor,
    counts: Tensor,
    periods: Tensor,
    plain: Reference,
    one: Tensor,
    share: Tensor,
    zero: Tensor,
) -> Tensor:
    """Numbers that describe each series as a whole, ``[batch, SERIES]``."""
    e = plain.errors
    n = counts.clamp(min=1)
    power = e.square().sum(1, keepdim=True).clamp(min=1e-6)
    serial = (e[:, 1:] * e[:, :-1]).sum(1, keepdim=True) / power
    kurtosis = (e**4).sum(1, keepdim=True) * n / power**2
    late = e * (torch.arange(e.shape[1], device=e.device) >= e.shape[1] - n / 4)
    recent = late.square().sum(1, keepdim=True) / power * 4
    first = torch.argmax(known.to(torch.uint8), 1, keepdim=True)
    span = known.shape[1] - first
    at_zero = known & ((x + zero).abs() < 1e-6 * (1 + zero.abs()))
    positive = torch.where(known, x + zero >= 0, True).all(1, keepdim=True)
    distance = ((plain.level + zero) / one).clamp(-1e6, 1e6).float()
    steps = (x[:, 1:] - x[:, :-1]).abs()
    pairs = known[:, 1:] & known[:, :-1]
    still = ((steps < 1e-7) & pairs).sum(1, keepdim=True) / pairs.sum(1, keepdim=True).clamp(min=1)
    seasons = span / periods
    parts = [
        plain.weights,
        share,
        n.log() / 4,
        (periods.float().log() / 4),
        torch.where(periods > 1, seasons.float().clamp(max=50), 0).log1p() / 3,
        torch.log(one) / 4,
        1 - n / span.clamp(min=1),
        serial,
        kurtosis.log().clamp(-2, 6) / 3,
        recent.clamp(max=4) - 1,
        positive.float(),
        _squash(distance),
        at_zero.sum(1, keepdim=True) / n,
        still,
    ]
    return torch.cat([part.float() for part in parts], 1)


def seasonal_naive(values: Tensor, periods: Tensor, horizon: int) -> Tensor:
    """The last season repeated, ``[batch, horizon]``; arguments as of ``describe``."""
    known = torch.isfinite(values)
    short = torch.stack([periods[:, 0], torch.ones_like(periods[:, 0])], 1)
    return _seasonal_naive(torch.where(known, values, 0), known, short, horizon)


def _seasonal_naive(x: Tensor, known: Tensor, periods: Tensor, horizon: int) -> Tensor:
    """The last season repeated, of the longer period where two of it are known."""
    length = x.shape[1]
    span = length - torch.argmax(known.to(torch.uint8), 1)
    long, short = periods[:, 1], periods[:, 0]
    p = torch.where((long > 1) & (span >= 2 * long), long, torch.where(span >= short, short, 1))
    filled = _carried(x, known)
    ahead = torch.arange(horizon, device=x.device)[None] % p[:, None]
    return filled.gather(1, length - p[:, None] + ahead)


def _carried(x: Tensor, known: Tensor) -> Tensor:
    """``x`` with each missing value replaced by the known one before it."""
    steps = torch.arange(x.shape[1], device=x.device).expand_as(x)
    last = torch.where(known, steps, 0).cummax(1).values
    return x.gather(1, last)


def _lagged(x: Tensor, known: Tensor, period: Tensor) -> Tensor:
    """``x`` a season earlier, and ``x`` itself where that is not known."""
    source = torch.arange(x.shape[1], device=x.device)[None] - period
    there = (source >= 0) & known.gather(1, source.clamp(min=0))
    return torch.where(there, x.gather(1, source.clamp(min=0)), x)


def _pooled(past: Tensor, known: Tensor, patch: int) -> tuple[Tensor, Tensor]:
    """The last ``FINE`` steps, and before these all others as ``POOLED`` averages.

    The last feature is the logarithm of the steps of an average. Lengths become a multiple of
    ``patch`` by empty steps at the start.
    """
    length = past.shape[-1]
    if length <= FINE:
        left = -length % patch
        return pad(past, (left, 0)), pad(known, (left, 0))
    early, late = past[..., :-FINE], past[..., -FINE:]
    size = math.ceil(early.shape[-1] / POOLED)
    left = -early.shape[-1] % size
    cells = pad(early, (left, 0)).unflatten(-1, (-1, size))
    count = pad(known[:, :-FINE], (left, 0)).unflatten(-1, (-1, size)).sum(-1)
    pooled = cells.sum(-1) / count.clamp(min=1)[:, None]
    pooled[:, 0] = (count > 0).to(pooled)
    pooled[:, -1] = math.log1p(size) / 3 * (count > 0)
    left = -pooled.shape[-1] % patch
    past = torch.cat([pad(pooled, (left, 0)), late], -1)
    return past, torch.cat([pad(count > 0, (left, 0)), known[:, -FINE:]], -1)


def _squash(x: Tensor) -> Tensor:
    return torch.asinh(x) / 2
