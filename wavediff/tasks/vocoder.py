"""Mel spectrograms to audio."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wavediff.diffusion import reverse
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser, Prediction
from wavediff.diffusion.noise import ItemNoise, PositionNoise
from wavediff.diffusion.objective import DenoisingObjective
from wavediff.diffusion.schedule import Schedule
from wavediff.errors import UserError
from wavediff.evaluation.spectral import mr_stft
from wavediff.representations.mel import MelFrontEnd
from wavediff.tasks.chunks import ChunkedDenoiser, crop, pieces
from wavediff.tasks.sampler import Sampler, sampler_by_name

# Numbers in one tensor of the sampler's state: bounds the memory that a long signal takes.
STATE_NUMBERS = 16_000_000
CONTEXT_MEL_FRAMES = 3  # what an upsampler's transposed convolutions reach across


class Vocoder(nn.Module):
    """A diffusion vocoder: a denoiser conditioned on a mel, and the way from audio and back.

        vocoder = Vocoder.from_pretrained("vocoder-en-22k")
        audio = vocoder(mel)                        # [n_mels, frames] -> [frames * hop_length]

    Args:
        mel, representation, network, schedule, prediction, objective, sampler: the parts.
        crop_frames: mel frames of a training example.
        mr_stft_weight: of a multi-resolution STFT loss on the decoded estimate of x_0; 0 for none.
        chunk_seconds: audio that one network call takes at most, as a bound on memory.
    """

    config: Mapping[str, Any]
    extra: Mapping[str, Any]

    def __init__(
        self,
        mel: MelFrontEnd,
        representation: nn.Module,
        network: nn.Module,
        schedule: Schedule,
        prediction: Prediction,
        objective: DenoisingObjective,
        sampler: Sampler,
        crop_frames: int = 62,
        mr_stft_weight: float = 0.0,
        chunk_seconds: float = 4.0,
    ) -> None:
        super().__init__()
        self.mel = mel
        self.representation = representation
        self.denoiser = Denoiser(network, schedule, prediction)
        self.objective = objective
        self.sampler = sampler
        self.crop_frames = crop_frames
        self.mr_stft_weight = mr_stft_weight
        self.chunk_seconds = chunk_seconds
        self.upsample = mel.hop_length // representation.hop_length
        # a crop's outermost mel frames would see its edges instead of what lies beyond them
        self.margin = -(-mel.n_fft // 2 // mel.hop_length)

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path = "vocoder-en-22k") -> Vocoder:
        """A bundled model by name, or a run folder, or a checkpoint file.

        Raises:
            UserError: where there is none, or it is no vocoder.
        """
        from wavediff.tasks.checkpoint import load_task

        task = load_task(name_or_path)
        if not isinstance(task, cls):
            raise UserError(f"{name_or_path} is a {type(task).__name__}, not a vocoder")
        return task

    @property
    def network(self) -> nn.Module:
        """All that is learnt."""
        return self.denoiser.network

    @property
    def sample_rate(self) -> int:
        return self.mel.sample_rate

    @property
    def crop_length(self) -> int:
        """Samples that a training example must have."""
        return (self.crop_frames + 2 * self.margin) * self.mel.hop_length

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def loss(self, batch: Mapping[str, Tensor], noise: ItemNoise) -> dict[str, Tensor]:
        """Training losses of ``batch["audio"] [batch, 1, crop_length]``, each ``[batch]``."""
        hop = self.mel.hop_length
        inner = slice(self.margin, self.margin + self.crop_frames)
        with torch.no_grad():
            mel = self.mel(batch["audio"])[..., inner]
            audio = batch["audio"][..., inner.start * hop : inner.stop * hop]
            x0 = self.representation.encode(audio, mel)
            eps = noise.normal(*x0.shape[1:]).to(x0)
            u = noise.uniform().to(x0.device)
        cond = Condition(local=mel, label=batch.get("label"))
        denoised = self.objective(self.denoiser, x0, u, eps, cond)
        losses = {"denoising": denoised.loss, "log_snr": denoised.log_snr}
        losses["loss"] = denoised.loss
        if self.mr_stft_weight:
            estimate = self.representation.decode(denoised.x0_hat, audio.shape[-1], mel)
            losses["mr_stft"] = mr_stft(estimate, audio)
            losses["loss"] = denoised.loss + self.mr_stft_weight * losses["mr_stft"]
        return losses

    @torch.no_grad()
    def validate(self, audio: Tensor, label: Tensor | None = None, seed: int = 0) -> Tensor:
        """Copy synthesis of ``audio [1, 1, time]`` by the default sampler, like ``audio``."""
        mel = self.mel(audio)
        parts = list(self.stream(mel, seed=seed, label=label))
        return torch.cat(parts, dim=-1)[:, None, : audio.shape[-1]]

    def with_sampler(self, name: str | None = None, steps: int | None = None) -> Sampler:
        """The sampler called ``name`` (the checkpoint's own by default) on ``steps`` steps."""
        sampler = self.sampler if name is None else sampler_by_name(name)
        return sampler.with_steps(self.denoiser.schedule, steps)

    def __call__(
        self,
        mel: Tensor | np.ndarray,
        *,
        sampler: str | None = None,
        steps: int | None = None,
        seed: int = 0,
        label: int | None = None,
    ) -> Tensor | np.ndarray:
        """Audio for ``mel [n_mels, frames]`` or ``[batch, n_mels, frames]``.

        Args:
            mel: in this model's own front-end.
            sampler, steps: instead of the checkpoint's own.
            seed: of the noise; the same seed gives the same audio.
            label: class or speaker, where the model has them.

        Returns:
            ``[frames * hop_length]`` or ``[batch, frames * hop_length]``, float32, full scale +-1:
            a tensor on the model's device for a tensor, an array for an array.

        Raises:
            UserError: for a mel that is not of this model's front-end, an unknown sampler, or a
                label that is missing.
        """
        self.mel.check(mel)
        given = torch.as_tensor(mel, dtype=torch.float32)
        batch = given if given.ndim == 3 else given[None]
        labels = None if label is None else torch.full((len(batch),), label)
        with torch.inference_mode():
            parts = list(
                self.stream(
                    batch, sampler=self.with_sampler(sampler, steps), seed=seed, label=labels
                )
            )
        audio = torch.cat(parts, dim=-1)
        audio = audio if given.ndim == 3 else audio[0]
        return audio.cpu().numpy() if isinstance(mel, np.ndarray) else audio

    @torch.no_grad()
    def stream(
        self,
        mel: Tensor,
        *,
        sampler: Sampler | None = None,
        seed: int = 0,
        label: Tensor | None = None,
        chunk_seconds: float | None = None,
        callback: Callable[[int, int], None] | None = None,
    ) -> Iterator[Tensor]:
        """Audio for ``mel [batch, n_mels, frames]`` piece after piece, ``[batch, samples]`` each.

        The pieces put together equal the whole synthesised at once, up to rounding: memory does
        not grow with the length.

        Args:
            chunk_seconds: length of the network's pieces; infinite for all at once.
            callback: told (frames done, frames in all) after each piece.
        """
        sampler = self.sampler if sampler is None else sampler
        schedule = self.denoiser.schedule
        representation, upsample = self.representation, self.upsample
        hop = representation.hop_length
        grid = sampler.grid(schedule)
        mel = mel.to(self.device)
        frames = mel.shape[-1] * upsample
        cond = Condition(local=mel, label=None if label is None else label.to(self.device))

        reach = self.network.receptive_field + CONTEXT_MEL_FRAMES * upsample
        seconds = self.chunk_seconds if chunk_seconds is None else chunk_seconds
        size = int(min(seconds * self.sample_rate / hop, frames)) or 1
        halo = reach * sampler.network_calls(schedule) + representation.halo
        if seconds * self.sample_rate >= frames * hop:
            state = frames
        else:
            state = max(size, 2 * halo, STATE_NUMBERS // (len(mel) * representation.channels))
        for piece in pieces(frames, state, halo, upsample):
            part = crop(cond, piece.left, piece.right, upsample)
            denoiser: nn.Module = self.denoiser
            if piece.right - piece.left > size + 2 * reach:
                denoiser = ChunkedDenoiser(denoiser, max(size, reach), reach, upsample)
            noise = PositionNoise(seed, piece.left)
            length = piece.right - piece.left
            z = noise(mel.new_empty(len(mel), representation.channels, length), -1)
            x = reverse.start(schedule, grid[0], z, part)
            if len(grid) > 2:
                part = denoiser.prepare(part)
            x = sampler.function(denoiser, x, grid, part, noise=noise)
            audio = representation.decode(x, length * hop, part.local)[:, 0]
            left = (piece.start - piece.left) * hop
            yield audio[:, left : left + (piece.stop - piece.start) * hop]
            if callback is not None:
                callback(piece.stop, frames)
