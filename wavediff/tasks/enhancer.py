"""Speech enhancement: clean speech from a noisy recording."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser, Prediction
from wavediff.diffusion.noise import ItemNoise, PositionNoise
from wavediff.diffusion.objective import Objective
from wavediff.diffusion.sampler import Sampler
from wavediff.diffusion.schedule import Schedule
from wavediff.diffusion.transfer import like
from wavediff.errors import UserError, shorten
from wavediff.evaluation.perceptual import disturbance
from wavediff.evaluation.spectral import mr_stft
from wavediff.representations.asymmetric_stft import AsymmetricSTFT
from wavediff.representations.level import CausalLevel, RunningLevel, normalised
from wavediff.representations.mel import MelFrontEnd
from wavediff.representations.representation import Representation
from wavediff.representations.stft import magnitude
from wavediff.tasks.arguments import check_call
from wavediff.tasks.frame_enhancer import FrameEnhancer, takes_frames
from wavediff.tasks.live import LiveStream, Step
from wavediff.tasks.live_step import LiveStep
from wavediff.tasks.onnx_cache import cached_session
from wavediff.tasks.onnx_runtime import OnnxEnhancer, OnnxStep
from wavediff.tasks.sampler import on_path
from wavediff.tasks.stream import EnhancerStream, enhance_signal
from wavediff.tasks.task import DiffusionTask
from wavediff.tasks.weights import check_weights

LEAST_RMS = 0.1  # of the speech, relative to the recording's level, in losses normalised by it


class Enhancer(DiffusionTask):
    """A diffusion enhancer: the noisy recording is the anchor of the path and the condition.

    The signal is normalised by its running level, so that the result does not depend on its gain:
    ``enhance(a * noisy) == a * enhance(noisy)``. Digital silence stays silent.

        enhancer = Enhancer.from_pretrained("enhancer-16k")
        clean = enhancer(noisy, sample_rate)        # [channels, time] or [time], any rate

    Args:
        mel: front-end of the local condition, besides the anchor; None for no local condition.
        representation, network, schedule, prediction, objective, sampler: see ``DiffusionTask``.
        crop_seconds: duration of a training example, in seconds.
        magnitude_weight: of the squared error of the compressed magnitudes (Braun & Tashev 2021);
            for STFT frames only.
        l1_weight: of the mean absolute error of the decoded estimate (Jukic et al. 2024).
        mr_stft_weight: of a multi-resolution STFT loss on the decoded estimate.
        snr_weight: of the decoded estimate's error in dB, see ``thresholded_error_db``.
        pesq_weight: of a differentiable form of PESQ's disturbance, see
            ``wavediff.evaluation.perceptual``.
        level_past, level_ahead: seconds of past and future in the running level; no future
            (``level_ahead=None``) is a ``CausalLevel``.
        level_rms: RMS after normalisation, relative to noise of standard deviation 1.
        sample_rate: in Hz, without a mel; with one, that of the mel.

    Attributes:
        causal: whether nothing but the representation looks ahead, see ``LiveStream``.

    Raises:
        UserError: for a weight that is not a finite number of 0 or more.
    """

    command = "enhance"
    title = "an enhancer"
    adversarial = tunable = True
    estimate_weights = (
        "magnitude_weight",
        "l1_weight",
        "mr_stft_weight",
        "snr_weight",
        "pesq_weight",
    )
    advice = (
        "give enhancer-16k, or the run folder of a recipe for enhancement (wavediff train "
        "recipe=enhance_folder data.root=FOLDER data.mix.noise=NOISES)"
    )

    def __init__(
        self,
        representation: Representation,
        network: nn.Module,
        schedule: Schedule,
        prediction: Prediction,
        objective: Objective,
        sampler: Sampler,
        mel: MelFrontEnd | None = None,
        crop_seconds: float = 2.0,
        magnitude_weight: float = 0.0,
        l1_weight: float = 0.0,
        mr_stft_weight: float = 0.0,
        snr_weight: float = 0.0,
        pesq_weight: float = 0.0,
        level_past: float = 2.0,
        level_ahead: float | None = 0.25,
        level_rms: float = 1.0,
        sample_rate: int = 16_000,
    ) -> None:
        denoiser = Denoiser(network, schedule, prediction)
        super().__init__(denoiser, objective, sampler, representation)
        check_weights(
            magnitude_weight=magnitude_weight,
            l1_weight=l1_weight,
            mr_stft_weight=mr_stft_weight,
            snr_weight=snr_weight,
            pesq_weight=pesq_weight,
        )
        self.mel = mel
        self._sample_rate = sample_rate
        self.crop_seconds = crop_seconds
        self.magnitude_weight, self.l1_weight = magnitude_weight, l1_weight
        self.mr_stft_weight, self.snr_weight = mr_stft_weight, snr_weight
        self.pesq_weight = pesq_weight
        grid = self.sample_rate, (representation if mel is None else mel).hop_length
        self.level: RunningLevel | CausalLevel
        if level_ahead is None:
            self.level = CausalLevel(*grid, level_past)
        else:
            self.level = RunningLevel(*grid, level_past, level_ahead)
        self.level_rms = level_rms
        self.causal = (
            mel is None
            and isinstance(representation, AsymmetricSTFT)
            and getattr(network, "causal", False)
            and level_ahead is None
        )

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path = "enhancer-16k") -> Self:
        """Load an enhancer, by default the bundled one; see ``Task.from_pretrained``."""
        return super().from_pretrained(name_or_path)

    @staticmethod
    def network_arguments(channels: int) -> dict[str, int]:
        return {"channels": channels, "anchor_channels": channels}

    @property
    def sample_rate(self) -> int:  # type: ignore[override]
        return self._sample_rate if self.mel is None else self.mel.sample_rate

    @property
    def hop_length(self) -> int:
        """Grid on which a recording may be split, in samples."""
        stride = getattr(self.network, "stride", 1)
        return math.lcm(self.level.hop_length, stride * self.representation.hop_length)

    @property
    def crop_length(self) -> int:  # type: ignore[override]
        """Length of a training example, in samples."""
        hop = self.level.hop_length
        return round(self.crop_seconds * self.sample_rate / hop) * hop

    def loss(self, batch: Mapping[str, Tensor], noise: ItemNoise) -> dict[str, Tensor]:
        """Training losses, each ``[batch]``.

        Args:
            batch: ``audio`` (clean) and ``noisy``, ``[batch, 1, crop_length]``.
        """
        with torch.no_grad():
            clean, noisy, cond = self._crops(batch)
            x0 = self.representation.encode(clean, cond.local)
            eps = like(noise.normal(*x0.shape[1:]), x0)
            u = noise.uniform()
        denoised = self.objective(self.denoiser, x0, cond, u=u, eps=eps)
        losses = {"denoising": denoised.loss, "log_snr": denoised.log_snr}
        loss = denoised.loss
        if self.magnitude_weight:
            error = magnitude(denoised.x0_hat) - magnitude(x0)
            losses["magnitude"] = error.square().flatten(1).mean(1)
            loss = loss + self.magnitude_weight * losses["magnitude"]
        if self.l1_weight or self.mr_stft_weight or self.snr_weight or self.pesq_weight:
            estimate = self.representation.decode(denoised.x0_hat, clean.shape[-1], cond.local)
        if self.l1_weight:
            losses["l1"] = (estimate - clean).abs().flatten(1).mean(1)
            loss = loss + self.l1_weight * losses["l1"]
        if self.mr_stft_weight:
            # a crop may have no speech
            losses["mr_stft"] = mr_stft(estimate, clean, min_rms=LEAST_RMS * self.level_rms)
            loss = loss + self.mr_stft_weight * losses["mr_stft"]
        if self.snr_weight:
            losses["error_db"] = thresholded_error_db(estimate, clean, noisy)
            loss = loss + self.snr_weight * losses["error_db"]
        if self.pesq_weight:
            least = LEAST_RMS * self.level_rms
            losses["pesq"] = disturbance(estimate, clean, self.sample_rate, min_rms=least)
            loss = loss + self.pesq_weight * losses["pesq"]
        return losses | {"loss": loss}

    def generated(self, batch: Mapping[str, Tensor], noise: ItemNoise) -> tuple[Tensor, Tensor]:
        """(speech on the sampler's own path, clean speech), each ``[batch, 1, time]``.

        Both are normalised by the noisy recording's level; see ``on_path``.
        """
        with torch.no_grad():
            clean, _, cond = self._crops(batch)
        x0_hat = on_path(self.sampler, self.denoiser, cond.needed("anchor"), cond, noise)
        return self.representation.decode(x0_hat, clean.shape[-1], cond.local), clean

    def _crops(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Condition]:
        """(clean, noisy, condition) of a batch, normalised by the level of the noisy recording."""
        level = self.level(batch["noisy"]) / self.level_rms
        clean, noisy = normalised(batch["audio"], level), normalised(batch["noisy"], level)
        return clean, noisy, self.condition(noisy)

    @torch.no_grad()
    def examples(self, batch: Mapping[str, Tensor], noise: ItemNoise) -> tuple[Tensor, Condition]:
        """(noise, condition) from which the crops of ``batch["noisy"]`` are sampled."""
        noisy = batch["noisy"]
        level = self.level(noisy) / self.level_rms
        cond = self.condition(normalised(noisy, level))
        anchor = cond.needed("anchor")
        return like(noise.normal(*anchor.shape[1:]), anchor), cond

    def condition(self, noisy: Tensor) -> Condition:
        """Condition of normalised ``noisy [batch, 1, time]``."""
        local = None if self.mel is None else self.mel(noisy)
        return Condition(local=local, anchor=self.representation.encode(noisy, local))

    def forward(
        self,
        audio: Tensor | np.ndarray,
        sample_rate: int,
        *,
        sampler: str | None = None,
        steps: int | None = None,
        seed: int = 0,
        dry: float = 0.0,
    ) -> Tensor | np.ndarray:
        """Enhance ``audio [time]`` or ``[channels, time]``; the result has its type and shape.

        Args:
            audio: floating-point, full scale +-1, at any rate; channels are enhanced separately.
            sample_rate: of the audio, in Hz; content above the model's band is kept, with the
                gain at the top of the band, see ``wavediff.tasks.high_band``.
            sampler, steps: name of a sampler and number of steps (default: the checkpoint's).
            seed: of the noise; the same seed gives the same audio.
            dry: proportion of the input in the output, 0 to 1.

        Raises:
            UserError: for invalid audio, a value out of range, or an unknown sampler.
        """
        options: dict[str, Any] = {"sampler": sampler, "steps": steps, "seed": seed, "dry": dry}
        begin = partial(self.stream, sample_rate, chunk_seconds=None, **options)
        return enhance_signal(begin, audio)

    def stream(
        self,
        sample_rate: int,
        channels: int = 1,
        *,
        sampler: str | None = None,
        steps: int | None = None,
        seed: int = 0,
        dry: float = 0.0,
        chunk_seconds: float | None = 0.6,
        progress: Callable[[float], None] | None = None,
        backend: str = "torch",
    ) -> EnhancerStream | LiveStream:
        """Enhance a stream of blocks ``[channels, n]``, with the same result as ``forward``.

            stream = enhancer.stream(48_000)
            for block in microphone:
                play(stream.push(block))        # delayed by ``stream.latency`` seconds
            play(stream.finish())

        Args:
            sampler, steps, seed, dry: see ``forward``.
            chunk_seconds: of signal per network call: shorter chunks have a lower latency and a
                higher cost. None has the lowest cost, for files. With one network call per sample,
                a network that ``streams`` computes each frame once; others compute the context of
                each chunk again. A ``causal`` model computes what is there with every push.
            progress: called with the seconds of signal that have been processed.
            backend: ``torch``, or ``onnx`` for onnxruntime with the default sampler.

        Raises:
            UserError: see ``forward``; for a model that cannot be exported, or another sampler.
        """
        check_call(self.network, seed, sample_rate)
        chosen = self.with_sampler(sampler, steps)
        model: Enhancer | OnnxEnhancer = self
        by_frames = chunk_seconds is not None and takes_frames(self, chosen)
        step: Step = LiveStep(self, chosen, seed)
        if backend == "onnx":
            if sampler is not None or steps is not None:
                raise UserError("onnxruntime has the model's own sampler: leave sampler and steps")
            session, metadata = cached_session(self)
            if self.causal:
                step = OnnxStep(session, metadata)
            else:
                model, by_frames = OnnxEnhancer(session, metadata, self.enhance), False
        elif backend != "torch":
            raise UserError(f"no backend {shorten(backend)}: give torch or onnx")
        if self.causal:
            return LiveStream(self, step, sample_rate, channels, dry=dry, progress=progress)
        return EnhancerStream(
            model,
            sample_rate,
            channels,
            sampler=chosen,
            seed=seed,
            dry=dry,
            chunk_seconds=chunk_seconds,
            progress=progress,
            windows=partial(FrameEnhancer, self, chosen, seed) if by_frames else None,
        )

    def summary(self) -> dict[str, Any]:
        if not self.causal:
            return super().summary()
        return super().summary() | {"latency": self.representation.latency / self.sample_rate}

    def validate(self, batch: Mapping[str, Tensor], seed: int = 0) -> Tensor:
        """Enhance ``batch["noisy"] [1, 1, time]`` with the default sampler, in the same shape."""
        return self.enhance(batch["noisy"], seed=seed)

    def reach(self, sampler: Sampler | None = None) -> tuple[int, int]:
        """Receptive field (past, ahead) of an output sample, in samples of the input."""
        sampler = self.sampler if sampler is None else sampler
        frames = self.network.receptive_field * sampler.calls(self.denoiser.schedule)
        around = (frames + 2 * self.representation.halo + 1) * self.representation.hop_length
        around += 0 if self.mel is None else self.mel.n_fft
        level = (self.level.past + 1, self.level.ahead + 1)
        past, ahead = (around + frames * self.level.hop_length for frames in level)
        return past, ahead

    @torch.no_grad()
    def enhance(
        self,
        noisy: Tensor,
        *,
        sampler: Sampler | None = None,
        seed: int = 0,
        offset: int = 0,
    ) -> Tensor:
        """Enhance ``noisy [batch, 1, time]`` at the model's rate, without chunks.

        Args:
            sampler: see ``with_sampler`` (default: the checkpoint's).
            seed: of the noise; the same seed gives the same audio.
            offset: position of the first sample in the whole recording, a multiple of
                ``hop_length``: the noise depends on it, so that chunks fit together.
        """
        sampler = self.sampler if sampler is None else sampler
        schedule, length = self.denoiser.schedule, noisy.shape[-1]
        noisy = noisy.to(self.device)
        level = self.level(noisy) / self.level_rms
        cond = self.condition(normalised(noisy, level))
        draw = PositionNoise(seed, offset // self.representation.hop_length)
        if sampler.calls(schedule) > 1:
            cond = self.denoiser.prepare(cond)
        x = self.sample(cond, cond.needed("anchor").shape, draw, sampler)
        return self.representation.decode(x, length, cond.local) * level


def thresholded_error_db(estimate: Tensor, clean: Tensor, noisy: Tensor) -> Tensor:
    """10 log10(|estimate - clean|^2 / |noisy|^2 + 0.001), dB, ``[batch]`` for ``[batch, 1, time]``.

    Loud and quiet noise have equal weight down to -30 dB, and a silent target needs no special case
    (after the thresholded SNR of Wisdom et al. 2020, eq. 2).
    """
    error, reference = ((estimate - clean).square(), noisy.square())
    ratio = error.flatten(1).sum(1) / reference.flatten(1).sum(1).clamp(min=1e-8)
    return 10 * torch.log10(ratio + 1e-3)
