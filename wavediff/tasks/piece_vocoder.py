"""Vocoding of a mel piece by piece, with the context of each piece computed again.

Any network and sampler will do. Memory does not grow with the length: a piece bounds the sampler's
state, and the network is called on chunks of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor, nn

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import DenoiserLike
from wavediff.diffusion.guidance import ProjectionGuidance
from wavediff.diffusion.noise import PositionNoise
from wavediff.diffusion.sampler import Sampler
from wavediff.representations.mel_projection import MelProjection
from wavediff.tasks.chunks import ChunkedDenoiser, Piece

if TYPE_CHECKING:
    from wavediff.tasks.vocoder import Vocoder

# Bounds on the memory for a long signal, in elements (of four bytes).
STATE_NUMBERS = 1_500_000  # one tensor of the sampler's state
ACTIVATION_NUMBERS = 2_000_000  # the widest tensor in a network call
PREPARED_NUMBERS = 256_000_000  # precomputed by the network for all steps
WIDTH = 4096  # assumed channels of a network without 1-d convolutions
HALOS = 12  # minimum ratio of a piece's length to its context on either side
CONTEXT_MEL_FRAMES = 3  # receptive field of an upsampler's transposed convolutions


class PieceVocoder:
    """Synthesises pieces of a mel.

    Args:
        vocoder: the model.
        sampler: any that fits the model.
        seed: of the noise.
        progress: called after each network call with the mel frames that are done.

    Attributes:
        ahead: mel frames on either side of a piece that its samples depend on.
    """

    def __init__(
        self,
        vocoder: Vocoder,
        sampler: Sampler,
        seed: int,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self.vocoder, self.sampler, self.seed, self.progress = vocoder, sampler, seed, progress
        self._projection = vocoder.mel_projection()
        self._calls = sampler.calls(vocoder.denoiser.schedule)
        upsample, representation = vocoder.upsample, vocoder.representation
        self._reach = vocoder.network.receptive_field
        if upsample > 1:
            self._reach += CONTEXT_MEL_FRAMES * upsample
        beyond = 0  # added to the receptive field by the mel projection of the estimate
        if self._projection is not None:
            beyond = 2 * representation.halo + self._projection.reach * upsample
        halo = (self._reach + beyond) * self._calls + vocoder.decoding_reach
        self.ahead = -(-halo // vocoder.align) * vocoder.align // upsample
        self._halo = halo

    def frames(self, batch: int) -> int:
        """Mel frames of a piece whose context adds little, as long as memory allows."""
        vocoder = self.vocoder
        numbers = batch * vocoder.representation.channels
        size = max(self._chunk(batch), HALOS * self._halo, STATE_NUMBERS // numbers)
        return max(vocoder.align, size // vocoder.align * vocoder.align) // vocoder.upsample

    def __call__(self, mel: Tensor, label: Tensor | None, piece: Piece) -> Tensor:
        """The samples ``[batch, time]`` of a piece.

        Args:
            mel: ``[batch, n_mels, frames]``, from ``left`` to ``right`` of the piece.
            label: ``[batch]``.
            piece: in mel frames.
        """
        vocoder, upsample = self.vocoder, self.vocoder.upsample
        batch, length = len(mel), mel.shape[-1] * upsample
        told = None if self.progress is None else _Progress(piece, self._calls, self.progress)
        network = ChunkedDenoiser(
            vocoder.denoiser,
            length,
            self._chunk(batch),
            self._reach,
            upsample,
            vocoder.align,
            told,
        )
        noise = PositionNoise(self.seed, piece.left * upsample)
        channels = vocoder.representation.channels
        z = noise(mel.new_empty(1, channels, length), -1).expand(batch, -1, -1)
        cond = Condition(local=mel, label=label)
        if self._calls > 1 and network.prepared_numbers(cond) <= PREPARED_NUMBERS:
            cond = network.prepare(cond)
        denoiser: DenoiserLike = network
        if self._projection is not None:
            denoiser = ProjectionGuidance(network, partial(self._project, self._projection))
        x = self.sampler(denoiser, z, cond, noise=noise)
        audio, hop = vocoder.decode(x, mel), vocoder.mel.hop_length
        return audio[:, (piece.start - piece.left) * hop : (piece.stop - piece.left) * hop]

    def _project(self, projection: MelProjection, x0_hat: Tensor, cond: Condition) -> Tensor:
        """Decode the estimate to audio, project it towards the mel, and encode it."""
        representation = self.vocoder.representation
        length = x0_hat.shape[-1] * representation.hop_length
        audio = representation.decode(x0_hat, length, cond.local)
        return representation.encode(projection(audio, cond.local), cond.local)

    def _chunk(self, batch: int) -> int:
        """Frames per network call: bounded by memory, but several times the context."""
        vocoder, seconds = self.vocoder, self.vocoder.chunk_seconds
        if seconds is None:
            convs = [m for m in vocoder.network.modules() if isinstance(m, nn.Conv1d)]
            width = max((conv.out_channels for conv in convs), default=WIDTH)
            return max(ACTIVATION_NUMBERS // (batch * width), 12 * self._reach)
        frames = seconds * vocoder.sample_rate / vocoder.representation.hop_length
        return max(1, self._reach, int(min(frames, 2**62)))


class _Progress:
    """Convert the progress of a network call on a piece to that of the whole signal."""

    def __init__(self, piece: Piece, calls: int, progress: Callable[[float], None]) -> None:
        self.piece, self.calls, self.progress = piece, calls, progress
        self.finished = 0  # network calls

    def __call__(self, share: float) -> None:
        done = min(1.0, (self.finished + share) / self.calls)
        self.finished += share == 1
        start, stop = self.piece.start, self.piece.stop
        self.progress(start + done * (stop - start))
