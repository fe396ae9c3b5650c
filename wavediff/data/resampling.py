"""Sample-rate conversion with soxr, of whole signals and of streams.

Linear-phase filters that pass up to 0.913 of the lower rate's band and stop at its end. Sample k of
a result lies at time k / new rate: there is no delay.
"""

from functools import lru_cache

import numpy as np
import soxr
from numpy.typing import NDArray

STREAM_QUALITY = "HQ"  # stop band at -125 dB, with half the delay of VHQ


class StreamResampler:
    """Resamples blocks ``[channels, n]``; sample k of the result lies at k / ``new_rate``.

    Args:
        rate, new_rate: in Hz.
        channels: of the blocks.
    """

    def __init__(self, rate: int, new_rate: int, channels: int) -> None:
        self._stream = soxr.ResampleStream(
            rate, new_rate, channels, dtype="float64", quality=STREAM_QUALITY
        )
        self._channels, self.rate, self.done = channels, rate, 0

    def push(self, block: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add ``[channels, n]``, return the samples ``[channels, m]`` that are complete."""
        out = self._stream.resample_chunk(np.ascontiguousarray(block.T)).T
        self.done += out.shape[1]
        return out

    def finish(self, total: int) -> NDArray[np.float64]:
        """The rest of ``total`` samples, as if silence followed the signal."""
        before, parts = self.done, [np.zeros((self._channels, 0))]
        while self.done < total:
            parts.append(self.push(np.zeros((self._channels, self.rate // 10))))
        return np.concatenate(parts, axis=1)[:, : total - before]


@lru_cache(maxsize=64)
def resampler_delay(rate: int, new_rate: int) -> float:
    """Seconds by which a ``StreamResampler`` lags behind at most, as measured.

    soxr works in blocks, and does not report their size.
    """
    resampler, block, delay = StreamResampler(rate, new_rate, 1), np.zeros((1, rate // 500)), 0.0
    for k in range(1, 501):
        waiting = k * block.shape[1] / rate - resampler.done / new_rate
        resampler.push(block)
        delay = max(delay, waiting)
    return delay
