"""The step form of a causal enhancer: spectra of new frames in, enhanced ones out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.noise import PositionNoise
from wavediff.diffusion.sampler import Sampler
from wavediff.networks.causal import CausalStream

if TYPE_CHECKING:
    from wavediff.tasks.enhancer import Enhancer


class LiveStep:
    """Enhances the frames of a signal in order; the result is that of all frames at once.

    Every network call of a sampler has a state of its own.

    Args:
        enhancer: a ``causal`` one.
        sampler: an ``Enhancer.with_sampler``.
        seed: of the noise, if the sampler draws any.
    """

    def __init__(self, enhancer: Enhancer, sampler: Sampler, seed: int = 0) -> None:
        self.enhancer, self.sampler, self.seed = enhancer, sampler, seed
        self._streams: list[CausalStream] = []  # for each network call
        self._frame = self._call = 0
        own = enhancer.denoiser
        self._denoiser = Denoiser(self._network, own.schedule, own.prediction)

    @torch.inference_mode()
    def __call__(self, spectra: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Enhance ``spectra [channels, n_fft / 2 + 1, frames]``, normalised by the level."""
        representation = self.enhancer.representation
        z = representation.compressed(torch.from_numpy(spectra).to(self.enhancer.device))
        self._call = 0
        x = self.enhancer.sample(
            Condition(anchor=z),
            z.shape,
            PositionNoise(self.seed, self._frame),
            self.sampler,
            self._denoiser,
        )
        self._frame += z.shape[-1]
        return representation.expanded(x).cpu().numpy()

    def _network(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        if self._call == len(self._streams):
            self._streams.append(CausalStream())
        stream = self._streams[self._call]
        self._call += 1
        stream.begin()
        return self.enhancer.network(x, c_noise, cond, stream)
