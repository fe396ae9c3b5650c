"""Vocoding of a mel that arrives in blocks, such as those of a TTS system.

    mel --> collect a chunk and what it depends on --> sampler --> audio

Chunks begin and end at fixed frames, and the noise is a function of the position. The result
therefore does not depend on the sizes of the blocks, and is that of the whole mel at once, up to
rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from wavediff.diffusion.sampler import Sampler
from wavediff.errors import UserError, shorten
from wavediff.representations.mel_check import numbers
from wavediff.tasks.chunks import Piece
from wavediff.tasks.frame_vocoder import FrameVocoder, takes_frames
from wavediff.tasks.piece_vocoder import PieceVocoder

if TYPE_CHECKING:
    from wavediff.tasks.vocoder import Vocoder

MOST_SECONDS = 20.0  # of a chunk whose context is kept: longer ones cost as much
CHECKED = 128  # frames before the new ones that their check includes


class VocoderStream:
    """Vocodes blocks of any size; ``Vocoder.stream`` makes one.

    Blocks are collected until a chunk is complete, so that their size does not change the cost.

    Args:
        vocoder: the model.
        sampler: a ``Vocoder.with_sampler``.
        seed: of the noise.
        label: number of the class or speaker, one or ``[batch]``, for a model with labels.
        mel_scale: of the values, see ``MelFrontEnd.check``.
        checked: whether the mel was checked already.
        chunk_seconds: of audio per computation; None is as long as memory allows.
        progress: called with the seconds of audio that have been computed.

    Raises:
        UserError: for values out of range, or a model that needs a label.

    Attributes:
        latency: seconds of the mel from a frame to the push that returns its audio, at most.
    """

    def __init__(
        self,
        vocoder: Vocoder,
        *,
        sampler: Sampler,
        seed: int = 0,
        label: int | Tensor | None = None,
        mel_scale: str | None = None,
        checked: bool = False,
        chunk_seconds: float | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        if chunk_seconds is not None and not isinstance(chunk_seconds, Real):
            raise UserError(f"chunk_seconds={shorten(repr(chunk_seconds))} is not a number")
        if chunk_seconds is not None and not chunk_seconds > 0:
            raise UserError(
                f"chunk_seconds={chunk_seconds} is out of range: give more than 0 seconds"
            )
        if label is None:
            label = vocoder.label_number(None)
        self.vocoder, self.label = vocoder, label
        self.mel_scale, self.checked, self.progress = mel_scale, checked, progress
        self._seconds = vocoder.mel.hop_length / vocoder.sample_rate  # of a frame
        told = None if progress is None else lambda frames: progress(frames * self._seconds)
        self._pieces = PieceVocoder(vocoder, sampler, seed, told)
        self._parts: FrameVocoder | None = None
        self._ahead = self._pieces.ahead
        self._size = 0  # frames of a chunk, at least
        if chunk_seconds is None:
            self._size = self._pieces.frames(batch=1)
        else:
            if takes_frames(vocoder):
                chunk_seconds = min(chunk_seconds, MOST_SECONDS)
                self._parts = FrameVocoder(vocoder, sampler, seed)
                self._ahead = self._parts.ahead
            unit = vocoder.align // vocoder.upsample
            chunk = min(float(chunk_seconds) / self._seconds, 2**31)
            self._size = max(1, round(chunk / unit)) * unit
        self._whole = chunk_seconds is None
        self.latency = (self._size + self._ahead) * self._seconds

        self._new: list[Tensor] = []  # blocks as they were given, from the last check on
        self._before: Tensor | None = None  # the last frames before them
        self._mel = torch.zeros(0)  # checked, from the frame ``_left`` on
        self._left = self._received = self._done = 0
        self._shape: torch.Size | None = None  # of a frame of the blocks
        self._arrays = True
        self._finished = False

    def push(self, mel: Tensor | np.ndarray) -> Tensor | np.ndarray:
        """Add ``[n_mels, frames]`` or ``[batch, n_mels, frames]``, return what audio is complete.

        Returns:
            ``[samples]`` or ``[batch, samples]``, float32, full scale +-1: a tensor on the model's
            device for a tensor, an array for an array. Chunks of fixed frames are computed, so it
            is often empty.

        Raises:
            UserError: for another shape than that of the blocks before, NaN or infinite values, or
                a mel of another front-end; after ``finish``.
        """
        self._require_open()
        block = numbers(mel, "the mel")
        self._require_fit(block)
        if self._shape is None and self._whole:
            self._size = self._pieces.frames(len(block) if block.ndim == 3 else 1)
        self._shape, self._arrays = block.shape[:-1], isinstance(mel, np.ndarray)
        self._new.append(block.clone())  # the caller may reuse it
        self._received += block.shape[-1]
        parts = []
        # one frame at least is left to ``finish``
        while self._received > self._done + self._size + self._ahead:
            parts.append(self._chunk(self._done + self._size, last=False))
        return self._joined(parts)

    def finish(self) -> Tensor | np.ndarray:
        """The rest of the audio, after the last block.

        Raises:
            UserError: when called again, or for a mel of another front-end.
        """
        self._require_open()
        self._finished = True
        return self._joined([self._chunk(self._received, last=True)] if self._received else [])

    @torch.no_grad()
    def _chunk(self, stop: int, last: bool) -> Tensor:
        """Audio up to a frame, ``[batch, samples]``, or further where it is complete."""
        self._take()
        right = self._received if last else stop + self._ahead
        batch = len(self._mel)
        label = self.label
        if label is not None:
            label = torch.as_tensor(label, device=self._mel.device).expand(batch)
        if self._parts is not None:
            audio = self._parts(self._mel[..., : right - self._left], label, last)
            left = right
            if self.progress is not None:
                self.progress(stop * self._seconds)
        else:
            piece = Piece(self._done, stop, self._left, right)
            audio = self._pieces(self._mel[..., : right - self._left], label, piece)
            left = max(0, stop - self._ahead)
        self._mel = self._mel[..., left - self._left :]
        self._left, self._done = left, stop
        return audio

    def _take(self) -> None:
        """Check the new blocks, together with frames before them, and add them to the mel."""
        count = sum(block.shape[-1] for block in self._new)
        if not count:
            return
        blocks = self._new if self._before is None else [self._before, *self._new]
        mel = given = torch.cat(blocks, dim=-1)
        if not self.checked:
            mel = self.vocoder.mel.check(given, scale=self.mel_scale)
            self._before = given[..., -CHECKED:]
        mel = mel[..., mel.shape[-1] - count :].to(self.vocoder.device)
        mel = mel if mel.ndim == 3 else mel[None]
        self._mel = torch.cat([self._mel, mel], dim=-1) if self._mel.numel() else mel
        self._new = []

    def _require_fit(self, block: Tensor) -> None:
        """Refuse a block that cannot follow those before it."""
        front_end, before = self.vocoder.mel, self._shape
        if block.ndim not in (2, 3) or block.shape[-2] != front_end.n_mels or not len(block):
            front_end.check(block)  # which says what it is
        if before is not None and block.shape[:-1] != before:
            raise UserError(
                f"a block of shape {list(block.shape)} cannot follow one of "
                f"{[*before, 'frames']}: begin another stream"
            )
        if not block.isfinite().all():
            bad = (~block.isfinite()).nonzero()[0]
            raise UserError(
                f"frame {self._received + int(bad[-1])} of the mel holds NaN or infinite values in "
                f"band {int(bad[-2])}: compute it again"
            )

    def _require_open(self) -> None:
        if self._finished:
            raise UserError("this stream is finished: begin another")

    def _joined(self, parts: list[Tensor]) -> Tensor | np.ndarray:
        """Parts ``[batch, samples]`` as one, of the kind of the mel, with a batch if it has one."""
        shape = self._shape or (self.vocoder.mel.n_mels,)
        batch = shape[0] if len(shape) == 2 else 1
        audio = torch.cat([torch.zeros(batch, 0, device=self.vocoder.device), *parts], dim=-1)
        audio = audio if len(shape) == 2 else audio[0]
        return audio.cpu().numpy() if self._arrays else audio
