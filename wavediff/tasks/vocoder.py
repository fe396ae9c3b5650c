"""Vocoding: audio from mel spectrograms."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser, Prediction
from wavediff.diffusion.noise import ItemNoise
from wavediff.diffusion.objective import Objective
from wavediff.diffusion.sampler import Sampler
from wavediff.diffusion.schedule import Schedule
from wavediff.diffusion.transfer import like
from wavediff.evaluation.spectral import mr_stft
from wavediff.representations.mel import MelFrontEnd
from wavediff.representations.mel_edge import FRAMES as EDGE_FRAMES
from wavediff.representations.mel_edge import even_edge
from wavediff.representations.mel_projection import MelProjection
from wavediff.representations.representation import Representation
from wavediff.representations.stft import STFT
from wavediff.tasks.arguments import check_call
from wavediff.tasks.labels import Labelled
from wavediff.tasks.sampler import on_path
from wavediff.tasks.task import DiffusionTask
from wavediff.tasks.vocoder_stream import VocoderStream


class Vocoder(Labelled, DiffusionTask):  # type: ignore[override]
    """A diffusion vocoder: a denoiser of audio that is conditioned on its mel.

        vocoder = Vocoder.from_pretrained("vocoder-en-22k")
        audio = vocoder(mel)                        # [n_mels, frames] -> [frames * hop_length]

    Args:
        mel: front-end of the condition.
        representation, network, schedule, prediction, objective, sampler: see ``DiffusionTask``.
        crop_frames: mel frames of a training example.
        mr_stft_weight: of a multi-resolution STFT loss on the decoded estimate of x_0; 0 for none.
        mel_weight: of the mean absolute error of its mel, in units of the front-end (HiFi-GAN,
            Kong et al. 2020, eq. 3); 0 for none.
        mel_iterations: of ``MelProjection`` on each estimate of x_0; 0 for none.
        chunk_seconds: maximum audio per network call; None bounds its memory instead.
    """

    command = "vocode"
    title = "a vocoder"
    adversarial = tunable = True
    estimate_weights = ("mr_stft_weight", "mel_weight")
    advice = (
        "give vocoder-en-22k, or the run folder of a recipe for vocoding (wavediff train "
        "recipe=folder data.root=FOLDER)"
    )

    def __init__(
        self,
        mel: MelFrontEnd,
        representation: Representation,
        network: nn.Module,
        schedule: Schedule,
        prediction: Prediction,
        objective: Objective,
        sampler: Sampler,
        crop_frames: int = 62,
        mr_stft_weight: float = 0.0,
        mel_weight: float = 0.0,
        mel_iterations: int = 0,
        chunk_seconds: float | None = None,
    ) -> None:
        if crop_frames < 1 or mel_iterations < 0:
            raise ValueError(
                f"crop_frames must be at least 1 and mel_iterations at least 0, not {crop_frames} "
                f"and {mel_iterations}"
            )
        denoiser = Denoiser(network, schedule, prediction)
        super().__init__(denoiser, objective, sampler, representation)
        self.mel = mel
        self.crop_frames = crop_frames
        self.mr_stft_weight, self.mel_weight = mr_stft_weight, mel_weight
        self.mel_iterations = mel_iterations
        self.chunk_seconds = chunk_seconds
        self.upsample = mel.hop_length // representation.hop_length
        # grid on which a signal may be split, for its mel and the network, in frames
        self.align = math.lcm(self.upsample, getattr(network, "stride", 1))
        # the outermost mel frames of a crop would depend on its padding
        self.margin = -(-mel.n_fft // 2 // mel.hop_length)

    @property
    def sample_rate(self) -> int:  # type: ignore[override]
        return self.mel.sample_rate

    @property
    def crop_length(self) -> int:  # type: ignore[override]
        """Length of a training example, in samples."""
        return (self.crop_frames + 2 * self.margin) * self.mel.hop_length

    def loss(self, batch: Mapping[str, Tensor], noise: ItemNoise) -> dict[str, Tensor]:
        """Training losses of ``batch["audio"] [batch, 1, crop_length]``, each ``[batch]``."""
        with torch.no_grad():
            mel, audio = self._crops(batch)
            x0 = self.representation.encode(audio, mel)
            eps = like(noise.normal(*x0.shape[1:]), x0)
            u = noise.uniform()
        cond = Condition(local=mel, label=batch.get("label"))
        denoised = self.objective(self.denoiser, x0, cond, u=u, eps=eps)
        losses = {"denoising": denoised.loss, "log_snr": denoised.log_snr}
        loss = denoised.loss
        if self.mr_stft_weight or self.mel_weight:
            estimate = self.representation.decode(denoised.x0_hat, audio.shape[-1], mel)
        if self.mr_stft_weight:
            losses["mr_stft"] = mr_stft(estimate, audio)
            loss = loss + self.mr_stft_weight * losses["mr_stft"]
        if self.mel_weight:
            losses["mel"] = (self.mel(estimate) - self.mel(audio)).abs().mean(dim=(1, 2))
            loss = loss + self.mel_weight * losses["mel"]
        losses["loss"] = loss
        return losses

    def generated(self, batch: Mapping[str, Tensor], noise: ItemNoise) -> tuple[Tensor, Tensor]:
        """(audio on the sampler's own path, true audio), each ``[batch, 1, time]``.

        Without ``mel_iterations``; see ``on_path``.
        """
        with torch.no_grad():
            mel, audio = self._crops(batch)
            like = mel.new_empty(len(mel), self.representation.channels, self._crop_steps)
        cond = Condition(local=mel, label=batch.get("label"))
        x0_hat = on_path(self.sampler, self.denoiser, like, cond, noise)
        return self.representation.decode(x0_hat, audio.shape[-1], mel), audio

    def _crops(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(mel, audio) of a batch without their margins."""
        hop = self.mel.hop_length
        inner = slice(self.margin, self.margin + self.crop_frames)
        mel = self.mel(batch["audio"])[..., inner]
        return mel, batch["audio"][..., inner.start * hop : inner.stop * hop]

    @property
    def _crop_steps(self) -> int:
        """Length of a training example, in frames of the representation."""
        return self.crop_frames * self.upsample

    @torch.no_grad()
    def examples(self, batch: Mapping[str, Tensor], noise: ItemNoise) -> tuple[Tensor, Condition]:
        """(noise, condition) from which the crops of ``batch["audio"]`` are sampled."""
        mel = self.mel(batch["audio"])[..., self.margin : self.margin + self.crop_frames]
        z = noise.normal(self.representation.channels, self._crop_steps)
        return like(z, mel), Condition(local=mel, label=batch.get("label"))

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path = "vocoder-en-22k") -> Self:
        """Load a vocoder, by default the bundled one; see ``Task.from_pretrained``."""
        return super().from_pretrained(name_or_path)

    def summary(self) -> dict[str, Any]:
        return super().summary() | {"mel_iterations": self.mel_iterations}

    def analyse(self, audio: Tensor) -> Tensor:
        """Compute the mel ``[batch, n_mels, frames]`` of ``audio [batch, 1, time]`` at its rate.

        It covers all of the audio: for a front-end that is not centred, which would omit the last,
        partial frame, the audio is padded with zeros.
        """
        length = audio.shape[-1]
        missing = -length % self.mel.hop_length
        if missing and self.mel.frames(length) * self.mel.hop_length < length:
            audio = nn.functional.pad(audio, (0, missing))
        return self.mel(audio)

    @torch.no_grad()
    def validate(self, batch: Mapping[str, Tensor], seed: int = 0) -> Tensor:
        """Copy synthesis of ``batch["audio"] [1, 1, time]`` with the default sampler."""
        audio = batch["audio"]
        found = self._vocoded(self.analyse(audio), self.sampler, seed, batch.get("label"))
        return found[:, None, : audio.shape[-1]]

    def forward(
        self,
        mel: Tensor | np.ndarray,
        *,
        sampler: str | None = None,
        steps: int | None = None,
        seed: int = 0,
        label: int | str | None = None,
        mel_scale: str | None = None,
    ) -> Tensor | np.ndarray:
        """Synthesise audio for ``mel [n_mels, frames]`` or ``[batch, n_mels, frames]``.

        Args:
            mel: of this model's front-end.
            sampler, steps: name of a sampler and number of steps (default: the checkpoint's).
            seed: of the noise; the same seed gives the same audio.
            label: number or name of the class or speaker, for a model with labels.
            mel_scale: of the values, such as ``sym4``, see ``wavediff.representations.mel_scales``
                (default: the front-end's own).

        Returns:
            ``[frames * hop_length]`` or ``[batch, frames * hop_length]``, float32, full scale +-1:
            a tensor on the model's device for a tensor, an array for an array; no gradients.

        Raises:
            UserError: for a mel of another front-end, an unknown sampler, or a label that is
                missing, unknown or not supported.
        """
        check_call(self.network, seed)
        checked = self.mel.check(mel, scale=mel_scale)
        batch = checked if checked.ndim == 3 else checked[None]
        audio = self._vocoded(
            batch, self.with_sampler(sampler, steps), seed, self.label_number(label)
        )
        audio = audio if checked.ndim == 3 else audio[0]
        return audio.cpu().numpy() if isinstance(mel, np.ndarray) else audio

    def stream(
        self,
        *,
        sampler: str | None = None,
        steps: int | None = None,
        seed: int = 0,
        label: int | str | None = None,
        mel_scale: str | None = None,
        chunk_seconds: float | None = 1.0,
        progress: Callable[[float], None] | None = None,
    ) -> VocoderStream:
        """Synthesise a mel that arrives in blocks, with the same result as ``forward``.

            stream = vocoder.stream()
            for block in mels_of_a_tts_system:      # [n_mels, any number of frames]
                play(stream.push(block))            # later by ``stream.latency`` seconds of it
            play(stream.finish())

        The latency is ``chunk_seconds``, and what the audio of a frame depends on: for each call of
        the sampler, the network's receptive field and the reach of the mel iterations. Fewer of
        them (``vocoder.mel_iterations``) lower it.

        Args:
            sampler, steps, seed, label, mel_scale: see ``forward``.
            chunk_seconds: of audio per computation: shorter chunks have a lower latency and a
                higher cost. None has the lowest cost, for files. A network that ``streams``
                computes each frame once in each of the sampler's calls, if its frames are those of
                the mel, and so do the mel iterations; others compute the context of each chunk
                again, which pays from four times the context on.
            progress: called with the seconds of audio that have been computed.

        Raises:
            UserError: see ``forward``.
        """
        check_call(self.network, seed)
        return VocoderStream(
            self,
            sampler=self.with_sampler(sampler, steps),
            seed=seed,
            label=self.label_number(label),
            mel_scale=mel_scale,
            chunk_seconds=chunk_seconds,
            progress=progress,
        )

    @property
    def decoding_reach(self) -> int:
        """Frames on either side that a frame of ``decode`` depends on."""
        return self.representation.halo + EDGE_FRAMES

    def decode(self, x0: Tensor, mel: Tensor) -> Tensor:
        """Audio ``[batch, samples]`` of a sample of x_0, without tones at the edge of the mel."""
        if isinstance(self.representation, STFT):
            x0 = even_edge(x0, self.mel, self.representation)
        length = x0.shape[-1] * self.representation.hop_length
        return self.representation.decode(x0, length, mel)[:, 0]

    def mel_projection(self) -> MelProjection | None:
        """Of the estimates of x_0, on the model's device; None for no ``mel_iterations``."""
        if not self.mel_iterations:
            return None
        return MelProjection(self.mel, self.mel_iterations).to(self.device)

    def _vocoded(
        self, mel: Tensor, sampler: Sampler, seed: int, label: int | Tensor | None
    ) -> Tensor:
        """Audio ``[batch, samples]`` of a checked mel ``[batch, n_mels, frames]``."""
        stream = VocoderStream(self, sampler=sampler, seed=seed, label=label, checked=True)
        parts: list[Any] = [stream.push(mel), stream.finish()]
        return torch.cat(parts, dim=-1)
