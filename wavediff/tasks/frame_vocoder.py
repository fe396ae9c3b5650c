"""Vocoding of a mel in parts, in which network and mel projection compute each frame once.

Each call of the sampler lags behind the one before it. Its estimates are kept until the last call
has caught up: with them, the sampler repeats its own arithmetic, which costs little, for the frames
that are under way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.noise import PositionNoise
from wavediff.diffusion.sampler import Sampler
from wavediff.networks.frames import FrameStream
from wavediff.representations.mel_projection import MelProjection
from wavediff.representations.mel_projection_stream import MelProjectionStream
from wavediff.tasks.chunks import crop

if TYPE_CHECKING:
    from wavediff.tasks.vocoder import Vocoder


def takes_frames(vocoder: Vocoder) -> bool:
    """Whether ``FrameVocoder`` can take the model: a network in parts, of frames like mels."""
    return getattr(vocoder.network, "streams", False) and vocoder.upsample == 1


class FrameVocoder:
    """Synthesises the parts of one mel, in order; see ``takes_frames``.

    Args:
        vocoder: the model.
        sampler: of steps that treat each frame by itself, as all do that are not adaptive.
        seed: of the noise.

    Attributes:
        ahead: frames after a frame that its samples depend on.
    """

    def __init__(self, vocoder: Vocoder, sampler: Sampler, seed: int) -> None:
        self.vocoder, self.sampler, self.seed = vocoder, sampler, seed
        self._projection = vocoder.mel_projection()
        lag = vocoder.network.receptive_field
        if self._projection is not None:
            lag += 2 * vocoder.representation.halo + MelProjectionStream(self._projection).lag
        self.ahead = lag * sampler.calls(vocoder.denoiser.schedule) + vocoder.decoding_reach
        self._calls: list[_Call] = []
        self._decode = _Overlapping(self._decoded, vocoder.decoding_reach)
        self._left = 0  # the first frame that is under way
        self._mel = torch.zeros(0)
        self._noise: dict[int, Tensor] = {}  # by the number of the draw

    def __call__(self, mel: Tensor, label: Tensor | None, last: bool) -> Tensor:
        """The samples ``[batch, time]`` that a part completes.

        Args:
            mel: the next frames, ``[batch, n_mels, frames]``: more than ``ahead`` in the first
                part unless it is the last, and at least one in the others.
            label: ``[batch]``.
            last: whether the mel ends with the part.
        """
        self._mel = torch.cat([self._mel, mel], dim=-1) if self._mel.numel() else mel
        shape = (len(mel), self.vocoder.representation.channels, self._mel.shape[-1])
        z = self._draw(mel.new_empty(1, 1, 1).expand(shape), -1)
        walk = _Walk(self.vocoder.denoiser, self._call, shape[-1], last)
        x = self.sampler(walk, z, Condition(local=self._mel, label=label), noise=self._draw)
        complete = walk.known
        audio = self._decode(x[..., :complete], self._mel[..., :complete], last=last)
        self._left += complete
        self._mel = self._mel[..., complete:]
        self._noise = {draw: noise[..., complete:] for draw, noise in self._noise.items()}
        for call in self._calls:
            call.drop(complete)
        return audio.mT.flatten(1)

    def _decoded(self, x: Tensor, mel: Tensor) -> Tensor:
        """``[batch, hop_length, frames]``."""
        return _in_frames(self.vocoder.decode(x, mel), self.vocoder.mel.hop_length)

    def _call(self, number: int) -> _Call:
        """The state of a call of the sampler, by its number."""
        if number == len(self._calls):
            self._calls.append(_Call(self.vocoder, self._projection))
        return self._calls[number]

    def _draw(self, x: Tensor, draw: int) -> Tensor:
        """``PositionNoise`` of the frames that are under way, each drawn once."""
        known = self._noise.get(draw, x.new_zeros(1, x.shape[1], 0))
        if known.shape[-1] < x.shape[-1]:
            noise = PositionNoise(self.seed, self._left + known.shape[-1])
            new = noise(x[:1, :, known.shape[-1] :], draw)
            self._noise[draw] = known = torch.cat([known, new], dim=-1)
        return known.expand_as(x)


class _Walk:
    """The denoiser of one walk of the sampler over the frames that are under way.

    Attributes:
        known: frames of the state that do not depend on what follows the mel.
    """

    def __init__(
        self, denoiser: Denoiser, call: Callable[[int], _Call], frames: int, last: bool
    ) -> None:
        self.schedule, self.known = denoiser.schedule, frames
        self._call, self._last = call, last
        self._number = 0

    def __call__(self, x: Tensor, t: Tensor, cond: Condition) -> Tensor:
        estimate = self._call(self._number)(x[..., : self.known], t, cond, self._last)
        self._number += 1
        self.known = estimate.shape[-1]
        return F.pad(estimate, (0, x.shape[-1] - self.known))


class _Call:
    """A call of the sampler: the denoiser, and the mel projection if there is one."""

    def __init__(self, vocoder: Vocoder, projection: MelProjection | None) -> None:
        self._vocoder = vocoder
        self._frames, self._lags = FrameStream(), FrameStream()
        self._seen = self._completed = 0  # frames that went into the network, and came out
        self._estimate: Tensor | None = None
        self._projection = None if projection is None else MelProjectionStream(projection)
        halo = vocoder.representation.halo
        self._decode = _Overlapping(self._to_audio, halo)
        self._encode = _Overlapping(self._from_audio, halo)

    def __call__(self, x: Tensor, t: Tensor, cond: Condition, last: bool) -> Tensor:
        """The estimates of x_0 that are complete, of the frames that are under way."""
        first, seen, known = self._completed, self._seen, x.shape[-1]

        def network(x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
            self._frames.begin(last)
            new = crop(cond, seen - first, known - first, 1)
            y = self._vocoder.network(x[..., seen - first :], c_noise, new, self._frames)
            self._completed += y.shape[-1]
            return F.pad(y, (0, x.shape[-1] - y.shape[-1]))

        own = self._vocoder.denoiser
        denoiser = Denoiser(network, own.schedule, own.prediction)
        estimate = denoiser(x[..., first:], t, crop(cond, first, known, 1))
        self._seen = known
        estimate = estimate[..., : self._completed - first]
        if self._projection is not None:
            mel = cond.needed("local")[..., first : self._completed]
            estimate = self._projected(self._projection, estimate, mel, last)
        if self._estimate is not None:
            estimate = torch.cat([self._estimate, estimate], dim=-1)
        self._estimate = estimate
        return estimate

    def drop(self, frames: int) -> None:
        """Forget frames that are not under way any more."""
        assert self._estimate is not None
        self._estimate = self._estimate[..., frames:]
        self._seen -= frames
        self._completed -= frames

    def _projected(
        self, projection: MelProjectionStream, x0_hat: Tensor, mel: Tensor, last: bool
    ) -> Tensor:
        self._lags.begin(last)
        audio = self._decode(x0_hat, mel, last=last)
        mel = self._lags.aligned(mel, audio)
        audio = projection(audio.mT.flatten(1)[:, None], mel, last)
        audio = _in_frames(audio[:, 0], self._vocoder.mel.hop_length)
        return self._encode(audio, self._lags.aligned(mel, audio), last=last)

    def _to_audio(self, x0_hat: Tensor, mel: Tensor) -> Tensor:
        """Audio in frames, ``[batch, hop_length, frames]``."""
        hop = self._vocoder.mel.hop_length
        audio = self._vocoder.representation.decode(x0_hat, x0_hat.shape[-1] * hop, mel)
        return _in_frames(audio[:, 0], hop)

    def _from_audio(self, audio: Tensor, mel: Tensor) -> Tensor:
        return self._vocoder.representation.encode(audio.mT.flatten(1)[:, None], mel)


class _Overlapping:
    """A function of frames, in parts, which depends on ``reach`` frames on either side."""

    def __init__(self, function: Callable[..., Tensor], reach: int) -> None:
        self._function, self._reach = function, reach
        self._kept: list[Tensor] = []
        self._next = 0  # of the kept frames, the first without a result

    def __call__(self, *parts: Tensor, last: bool) -> Tensor:
        if self._kept:
            parts = tuple(torch.cat(pair, dim=-1) for pair in zip(self._kept, parts, strict=True))
        count = parts[0].shape[-1]
        first, stop = self._next, count if last else count - self._reach
        drop = max(0, stop - self._reach)
        self._kept, self._next = [part[..., drop:] for part in parts], stop - drop
        return self._function(*parts)[..., first:stop]


def _in_frames(audio: Tensor, hop: int) -> Tensor:
    """``[batch, hop, frames]`` of ``[batch, time]``."""
    return audio.unflatten(-1, (-1, hop)).mT
