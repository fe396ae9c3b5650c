"""Variance-preserving schedules from any curve of log-SNR."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from wavediff.diffusion.schedule import VariancePreserving, as_float64

CHECKED = 1001  # points at which a curve must decrease


class LogSNR(VariancePreserving):
    """alpha^2 = sigmoid(log-SNR), sigma^2 = sigmoid(-log-SNR) (Kingma et al. 2021, eq. 4).

    The curve holds from ``t_min`` to ``t_max``. Below it sigma / alpha falls in proportion to t,
    so that t = 0 is clean.

    Args:
        curve: log-SNR for float64 times in [t_min, t_max], differentiable, strictly decreasing.
        t_min, t_max: 0 < t_min < t_max.

    Raises:
        ValueError: for times out of range, or a curve that is not finite or does not decrease.
    """

    def __init__(
        self, curve: Callable[[Tensor], Tensor], t_min: float = 1e-3, t_max: float = 1.0
    ) -> None:
        if not 0 < t_min < t_max:
            raise ValueError(f"a log-SNR curve needs 0 < t_min < t_max, not {t_min}, {t_max}")
        self.curve, self.t_min, self.t_max = curve, t_min, t_max
        values = curve(torch.linspace(t_min, t_max, CHECKED, dtype=torch.float64))
        if not (torch.isfinite(values).all() and (values.diff() < 0).all()):
            raise ValueError(
                "a log-SNR curve must be finite and decrease everywhere between "
                f"t = {t_min:g} and {t_max:g}"
            )

    def log_snr(self, t: Tensor | float) -> Tensor:
        t = as_float64(t)
        below = t < self.t_min
        # unlike clamp, where keeps the curve's own slope at t_min
        value = self.curve(torch.where(below, self.t_min, t))
        return torch.where(below, value - 2 * torch.log(t / self.t_min), value)

    def log_alpha(self, t: Tensor | float) -> Tensor:
        return logsigmoid(self.log_snr(t)) / 2

    def log_sigma(self, t: Tensor | float) -> Tensor:
        return logsigmoid(-self.log_snr(t)) / 2

    def c_noise(self, t: Tensor | float) -> Tensor:
        """0 to 1000, whatever ``t_max`` is."""
        return 1000 * as_float64(t) / self.t_max


class MonotoneCubic:
    """The curve through given points that rises or falls where they do, without overshoot.

    Cubic Hermite pieces with slopes by Fritsch and Butland (1984), that is PCHIP; the slopes at
    the ends are those of the outermost chords, which never vanish.

    Args:
        x, y: at least two points, ``x`` strictly increasing, ``y`` strictly decreasing.

    Raises:
        ValueError: for anything else.
    """

    def __init__(self, x: Sequence[float] | Tensor, y: Sequence[float] | Tensor) -> None:
        self.x, self.y = as_float64(x), as_float64(y)
        if self.x.ndim != 1 or self.x.shape != self.y.shape or len(self.x) < 2:
            raise ValueError("a curve needs as many times as values, at least two")
        h, rise = self.x.diff(), self.y.diff()
        if not (torch.isfinite(rise).all() and (h > 0).all() and (rise < 0).all()):
            raise ValueError(
                "a log-SNR curve needs finite numbers: times that increase, and values that "
                "decrease from one to the next"
            )
        chord = rise / h
        before, after = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
        inner = (before + after) / (before / chord[:-1] + after / chord[1:])
        self.slope = torch.cat([chord[:1], inner, chord[-1:]])

    def __call__(self, x: Tensor) -> Tensor:
        """The curve at ``x`` between the first and the last point, float64."""
        nodes, y, slope = (table.to(x.device) for table in (self.x, self.y, self.slope))
        i = (torch.searchsorted(nodes, x.detach(), right=True) - 1).clamp(0, len(nodes) - 2)
        h = nodes[i + 1] - nodes[i]
        u = (x - nodes[i]) / h
        chord = y[i + 1] - y[i]
        bend, twist = h * slope[i] - chord, h * slope[i + 1] - chord
        # the chord, and what the slopes at either end add to it
        return y[i] + u * chord + u * (1 - u) * ((1 - u) * bend - u * twist)


def log_snr_curve(times: Sequence[float], log_snr: Sequence[float]) -> LogSNR:
    """The schedule whose log-SNR runs through ``log_snr`` at ``times``, ``t_min`` to ``t_max``.

    Raises:
        ValueError: unless times are positive and increase, and log-SNRs decrease.
    """
    curve = MonotoneCubic(times, log_snr)
    return LogSNR(curve, float(curve.x[0]), float(curve.x[-1]))
