"""Variance-preserving schedules defined by their log-SNR."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from wavediff.diffusion.schedule import VariancePreserving, as_float64

CHECK_POINTS = 1001  # times at which a curve is checked to decrease


class LogSNR(VariancePreserving):
    """alpha^2 = sigmoid(log-SNR), sigma^2 = sigmoid(-log-SNR) (Kingma et al. 2021, eq. 4).

    The curve defines the log-SNR from ``t_min`` to ``t_max``. Below ``t_min``, sigma / alpha is
    proportional to t, so that t = 0 is clean.

    Args:
        curve: log-SNR of float64 times in [t_min, t_max], differentiable, strictly decreasing.
        t_min, t_max: range of the training times, 0 < t_min < t_max.

    Raises:
        ValueError: if the times are out of range, or the curve is not finite and decreasing.
    """

    def __init__(
        self, curve: Callable[[Tensor], Tensor], t_min: float = 1e-3, t_max: float = 1.0
    ) -> None:
        if not 0 < t_min < t_max:
            raise ValueError(f"a log-SNR curve needs 0 < t_min < t_max, not {t_min}, {t_max}")
        self.curve, self.t_min, self.t_max = curve, t_min, t_max
        values = curve(torch.linspace(t_min, t_max, CHECK_POINTS, dtype=torch.float64))
        if not (torch.isfinite(values).all() and (values.diff() < 0).all()):
            raise ValueError(
                "a log-SNR curve must be finite and decrease everywhere between "
                f"t = {t_min:g} and {t_max:g}"
            )

    def log_snr(self, t: Tensor | float) -> Tensor:
        t = as_float64(t)
        below = t < self.t_min
        # clamp would set the gradient at t_min to zero
        value = self.curve(torch.where(below, self.t_min, t))
        return torch.where(below, value - 2 * torch.log(t / self.t_min), value)

    def log_alpha(self, t: Tensor | float) -> Tensor:
        return logsigmoid(self.log_snr(t)) / 2

    def log_sigma(self, t: Tensor | float) -> Tensor:
        return logsigmoid(-self.log_snr(t)) / 2

    def c_noise(self, t: Tensor | float) -> Tensor:
        """1000 t / t_max, from 0 to 1000."""
        return 1000 * as_float64(t) / self.t_max


class MonotoneCubic:
    """Monotone cubic interpolation (PCHIP; Fritsch & Butland 1984).

    Cubic Hermite pieces without overshoot. The slopes at the ends are those of the outermost
    chords, which do not vanish.

    Args:
        x, y: at least two points, ``[points]``, x strictly increasing, y strictly decreasing.

    Raises:
        ValueError: for other points.
    """

    def __init__(self, x: Sequence[float] | Tensor, y: Sequence[float] | Tensor) -> None:
        self.x, self.y = as_float64(x), as_float64(y)
        if self.x.ndim != 1 or self.x.shape != self.y.shape or len(self.x) < 2:
            raise ValueError("a curve needs at least two points, with as many times as values")
        h, rise = self.x.diff(), self.y.diff()
        if not (torch.isfinite(rise).all() and (h > 0).all() and (rise < 0).all()):
            raise ValueError(
                "a log-SNR curve needs finite, strictly increasing times and strictly decreasing "
                "values"
            )
        chord = rise / h
        before, after = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
        inner = (before + after) / (before / chord[:-1] + after / chord[1:])
        self.slope = torch.cat([chord[:1], inner, chord[-1:]])

    def __call__(self, x: Tensor) -> Tensor:
        """Interpolate at ``x``, within the first and the last point; float64."""
        nodes, y, slope = (table.to(x.device) for table in (self.x, self.y, self.slope))
        i = (torch.searchsorted(nodes, x.detach(), right=True) - 1).clamp(0, len(nodes) - 2)
        h = nodes[i + 1] - nodes[i]
        u = (x - nodes[i]) / h
        chord = y[i + 1] - y[i]
        bend, twist = h * slope[i] - chord, h * slope[i + 1] - chord
        # the chord plus the corrections by the slopes at its ends
        return y[i] + u * chord + u * (1 - u) * ((1 - u) * bend - u * twist)


def log_snr_curve(times: Sequence[float], log_snr: Sequence[float]) -> LogSNR:
    """The variance-preserving schedule with a log-SNR interpolated between given points.

    alpha^2 = sigmoid(log-SNR), sigma^2 = sigmoid(-log-SNR) (Kingma et al. 2021, eq. 4), with
    monotone cubic interpolation from ``t_min = times[0]`` to ``t_max = times[-1]``.

    Args:
        times: ``[points]``, positive, strictly increasing, at least two.
        log_snr: log(alpha^2 / sigma^2) at these times, ``[points]``, strictly decreasing.

    Raises:
        ValueError: if the points are out of range.
    """
    curve = MonotoneCubic(times, log_snr)
    return LogSNR(curve, float(curve.x[0]), float(curve.x[-1]))
