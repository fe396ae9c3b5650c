"""Sample-rate conversion by soxr, of whole signals and of streams.

Linear-phase filters, flat to 0.01 dB up to 0.91 of the band that both rates have, -3 dB at 0.95,
and in the stop band at its end. Sample k of the result lies at time k / new rate: there is no
delay. Silence is assumed before and after the signal.
"""

from functools import lru_cache

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

QUALITY = "VHQ"  # stop band below the rounding errors of float32
STREAM_QUALITY = "HQ"  # stop band at -125 dB, with half the delay of VHQ


def resample(audio: Tensor, rate: float, new_rate: float, quality: str = QUALITY) -> Tensor:
    """Resample a whole signal, on the CPU and without gradients.

    Args:
        audio: ``[..., time]``, floating-point, on any device.
        rate: of the audio, in Hz.
        new_rate: of the result, in Hz; any ratio is possible.
        quality: a quality of soxr: QQ, LQ, MQ, HQ or VHQ.

    Returns:
        ``[..., ceil(time * new_rate / rate)]`` of the audio's type and device; the audio itself
        if the rates are equal.
    """
    if rate == new_rate:
        return audio
    length = audio.shape[-1]
    new_length = int(-(-length * new_rate // rate))
    if not audio.numel():
        return audio.new_zeros(*audio.shape[:-1], new_length)
    rows = audio.detach().cpu().reshape(-1, length)
    rows = rows if rows.dtype == torch.float64 else rows.float()
    # soxr rounds the length to the nearest sample: silence at the end adds what it would drop
    rows = F.pad(rows, (0, int(-(-rate // new_rate))))
    out = soxr.resample(rows.numpy().T, rate, new_rate, quality)[:new_length].T
    return torch.from_numpy(np.ascontiguousarray(out)).reshape(*audio.shape[:-1], -1).to(audio)


class StreamResampler:
    """Resamples blocks ``[channels, n]``; sample k of the result lies at k / ``new_rate``.

    Args:
        rate: of the blocks, in Hz.
        new_rate: of the result, in Hz.
        channels: of the blocks.
    """

    def __init__(self, rate: int, new_rate: int, channels: int) -> None:
        self._stream = soxr.ResampleStream(
            rate, new_rate, channels, dtype="float64", quality=STREAM_QUALITY
        )
        self._channels, self.rate, self.done = channels, rate, 0

    def push(self, block: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add a block ``[channels, n]`` and return the completed samples ``[channels, m]``."""
        out = self._stream.resample_chunk(np.ascontiguousarray(block.T)).T
        self.done += out.shape[1]
        return out

    def finish(self, total: int) -> NDArray[np.float64]:
        """Return the rest of ``total`` samples, with silence after the signal."""
        before, parts = self.done, [np.zeros((self._channels, 0))]
        while self.done < total:
            parts.append(self.push(np.zeros((self._channels, self.rate // 10))))
        return np.concatenate(parts, axis=1)[:, : total - before]


@lru_cache(maxsize=64)
def resampler_delay(rate: int, new_rate: int) -> float:
    """Measure the largest delay of a ``StreamResampler`` in seconds.

    soxr works in blocks and does not report their size.
    """
    resampler, block, delay = StreamResampler(rate, new_rate, 1), np.zeros((1, rate // 500)), 0.0
    for k in range(1, 501):
        waiting = k * block.shape[1] / rate - resampler.done / new_rate
        resampler.push(block)
        delay = max(delay, waiting)
    return delay
