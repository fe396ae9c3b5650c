"""Enhancement of a signal window by window, in which the network computes each frame once.

A stream's windows overlap by the context of the network, many times the new part of a short chunk.
What it computed of the windows before is kept instead, see ``wavediff.networks.frames``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.noise import PositionNoise
from wavediff.diffusion.sampler import Sampler
from wavediff.networks.frames import FrameStream
from wavediff.representations.level import normalised
from wavediff.tasks.chunks import crop

if TYPE_CHECKING:
    from wavediff.tasks.enhancer import Enhancer


def takes_frames(enhancer: Enhancer, sampler: Sampler) -> bool:
    """Whether ``FrameEnhancer`` can take the model with a sampler: one call, frames like mels."""
    return (
        getattr(enhancer.network, "streams", False)
        and enhancer.mel is not None
        and sampler.calls(enhancer.denoiser.schedule) == 1
        and enhancer.hop_length == enhancer.representation.hop_length == enhancer.level.hop_length
    )


class FrameEnhancer:
    """``Enhancer.enhance`` of the windows of one signal, in order.

    Args:
        enhancer, sampler: with ``takes_frames``.
        seed: of the noise.
    """

    def __init__(self, enhancer: Enhancer, sampler: Sampler, seed: int) -> None:
        assert enhancer.mel is not None
        self.enhancer, self.sampler, self.seed = enhancer, sampler, seed
        self.hop, self.halo = enhancer.hop_length, enhancer.representation.halo
        # frames about a frame that its encoding depends on
        self.around = self.halo + -(-enhancer.mel.n_fft // (2 * self.hop))
        self._left = self._stop = -1
        self._frames = FrameStream()
        self._anchor = self._local = self._x0 = torch.zeros(0)

    @torch.no_grad()
    def __call__(self, noisy: Tensor, start: int, wanted: slice, last: bool) -> Tensor:
        """Enhance a window ``[batch, 1, time]``.

        Args:
            noisy: what is wanted, with the reach of the model about it.
            start: position of the first sample in the signal, a multiple of the hop.
            wanted: samples of the window; the others of the result are 0.
            last: whether the window ends with the signal.
        """
        enhancer, hop = self.enhancer, self.hop
        noisy = noisy.to(enhancer.device)
        length, first = noisy.shape[-1], start // hop
        level = enhancer.level(noisy) / enhancer.level_rms
        if last:
            stop = first + -(-length // hop)
        else:  # frames that do not depend on what follows the window
            stop = first + length // hop - enhancer.level.ahead - 2 - self.around
        if not first <= self._left <= self._stop <= stop or self._stop < first + self.around:
            self._begin(first)
        if self._stop < stop:
            self._encode(normalised(noisy, level), first, stop)
            self._denoise(last)
        out = torch.zeros_like(noisy)
        out[..., wanted] = self._decode(first, wanted, length) * level[..., wanted]
        return out

    def _begin(self, first: int) -> None:
        """Forget the windows before this one."""
        self._frames = FrameStream()
        self._left = self._stop = first  # frames of the conditions that are kept
        self._anchor = self._local = self._x0 = torch.zeros(0)

    def _encode(self, noisy: Tensor, first: int, stop: int) -> None:
        """Add the conditions of the frames up to ``stop``."""
        begin = max(first, self._stop - self.around)
        audio = noisy[..., (begin - first) * self.hop : (stop + self.around - first) * self.hop]
        cond = self.enhancer.condition(audio)
        new = slice(self._stop - begin, stop - begin)
        self._anchor = _joined(self._anchor, cond.needed("anchor")[..., new])
        self._local = _joined(self._local, cond.needed("local")[..., new])
        self._new, self._stop = stop - self._stop, stop

    def _denoise(self, last: bool) -> None:
        """Add the estimates of the frames that the network completes with the new ones."""
        known = self._x0.shape[-1]
        anchor, local = self._anchor[..., known:], self._local[..., known:]
        completed = 0

        def network(x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
            nonlocal completed
            part = crop(cond, x.shape[-1] - self._new, x.shape[-1], 1)
            self._frames.begin(last)
            new = x[..., x.shape[-1] - self._new :]
            y = self.enhancer.network(new, c_noise, part, self._frames)
            completed = y.shape[-1]
            return nn.functional.pad(y, (0, x.shape[-1] - completed))

        own = self.enhancer.denoiser
        x = self.enhancer.sample(
            Condition(local=local, anchor=anchor),
            anchor.shape,
            PositionNoise(self.seed, self._left + known),
            self.sampler,
            Denoiser(network, own.schedule, own.prediction),
        )
        self._x0 = _joined(self._x0, x[..., :completed])

    def _decode(self, first: int, wanted: slice, length: int) -> Tensor:
        """The wanted samples, normalised; drops the frames that the next window does not need."""
        samples = min(self._x0.shape[-1] * self.hop, length - (self._left - first) * self.hop)
        local = self._local[..., : self._x0.shape[-1]]
        audio = self.enhancer.representation.decode(self._x0, samples, local)
        offset = (self._left - first) * self.hop
        audio = audio[..., wanted.start - offset : wanted.stop - offset]
        unneeded = max(0, first + wanted.stop // self.hop - self.halo - self._left)
        self._anchor, self._local, self._x0 = (
            kept[..., unneeded:] for kept in (self._anchor, self._local, self._x0)
        )
        self._left += unneeded
        return audio


def _joined(before: Tensor, after: Tensor) -> Tensor:
    return torch.cat([before, after], dim=-1) if before.shape[-1] else after
