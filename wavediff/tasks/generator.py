"""Audio generation, unconditional or conditioned on a class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from wavediff.diffusion import guidance as guided
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser, DenoiserLike, Prediction
from wavediff.diffusion.noise import ItemNoise
from wavediff.diffusion.objective import Objective
from wavediff.diffusion.sampler import Sampler
from wavediff.diffusion.schedule import Schedule
from wavediff.diffusion.transfer import like
from wavediff.diffusion.wiener import WienerDenoiser
from wavediff.errors import UserError
from wavediff.representations.mel import MelFrontEnd
from wavediff.representations.representation import Representation
from wavediff.tasks.arguments import check_call
from wavediff.tasks.labels import Labelled
from wavediff.tasks.observation import FORGET, Observation, nothing
from wavediff.tasks.observation import observe as observed
from wavediff.tasks.sampler import on_path
from wavediff.tasks.task import DiffusionTask

MOST_SECONDS = 3600  # of a sound
KNOWN_WEIGHT = 0.05  # of the error of what is known, in training with observations


class Generator(Labelled, DiffusionTask):  # type: ignore[override]
    """A generative model of audio, unconditional or conditioned on a class.

        generator = Generator.from_pretrained("runs/kathleen_prior")
        audio = generator.generate(4, seconds=2.0)      # [4, 1, time]

    It also serves as a prior: ``wavediff.tasks.restoration`` restores missing parts of a recording
    with it.

    Args:
        representation, network, schedule, prediction, objective, sampler: see ``DiffusionTask``.
        sample_rate: of the audio, in Hz.
        crop_seconds: duration of a training example and, by default, of a sample, in seconds.
        label_dropout: probability of training without the class, 0 to 1, as classifier-free
            guidance needs (Ho & Salimans 2022). A label is then optional.
        scale: factor that brings the representation to about unit standard deviation.
        wiener: options of ``WienerDenoiser``, for signals whose level varies widely; None for
            ``Denoiser``.
        observe: shares of the training examples of which ``nothing`` is known, or all but ``gaps``,
            the spectrum above a cutoff (``band``) or ``clipped`` peaks, which the network then sees
            as anchor and local condition, see ``wavediff.tasks.observation``; None for a network
            without.
        level: root mean square of the training examples without their pauses, to which recordings
            are brought for restoration; by default that of a decoded state of unit noise.
        mel: ignored; accepted for uniform construction.

    Raises:
        ValueError: for a probability outside [0, 1], a duration, rate or scale of 0 or less, or
            observations of an unknown kind or with a representation without frequencies.
    """

    command = "generate"
    title = "a generator"
    adversarial = tunable = True
    paired = False
    advice = "give the run folder of a recipe for generation (wavediff train recipe=tiny_generate)"

    def __init__(
        self,
        representation: Representation,
        network: nn.Module,
        schedule: Schedule,
        prediction: Prediction,
        objective: Objective,
        sampler: Sampler,
        sample_rate: int = 22050,
        crop_seconds: float = 1.0,
        label_dropout: float = 0.0,
        scale: float = 1.0,
        wiener: Mapping[str, Any] | None = None,
        observe: Mapping[str, float] | None = None,
        level: float | None = None,
        mel: MelFrontEnd | None = None,
    ) -> None:
        parts = (network, schedule, prediction)
        denoiser = Denoiser(*parts) if wiener is None else WienerDenoiser(*parts, **wiener)
        super().__init__(denoiser, objective, sampler, representation)
        if not 0 <= label_dropout <= 1:
            raise ValueError(f"label_dropout must be between 0 and 1, not {label_dropout}")
        if not (sample_rate > 0 and crop_seconds > 0 and scale > 0):
            raise ValueError(
                "sample_rate, crop_seconds and scale must be positive, "
                f"not {sample_rate}, {crop_seconds}, {scale}"
            )
        if observe and not hasattr(representation, "centres"):
            raise ValueError(
                f"{type(representation).__name__} has no centre frequencies of its channels, which "
                "observe needs"
            )
        if observe and (unknown := set(observe) - set(FORGET)):
            raise ValueError(f"observe has {', '.join(FORGET)}, not {', '.join(sorted(unknown))}")
        self.sample_rate = sample_rate
        self.crop_seconds = crop_seconds
        self.label_dropout = label_dropout
        self.scale = scale
        self.observe = dict(observe) if observe else None
        self.level = level

    @property
    def crop_length(self) -> int:  # type: ignore[override]
        """Length of a training example, in samples."""
        return self.length(self.crop_seconds)

    @property
    def label_optional(self) -> bool:  # type: ignore[override]
        """Whether the model can also be used without a class, by ``label_dropout``."""
        return self.label_dropout > 0

    def length(self, seconds: float) -> int:
        """Number of samples in ``seconds``, rounded to frames of the representation."""
        hop = self.representation.hop_length
        return max(1, round(seconds * self.sample_rate / hop)) * hop

    def encode(self, audio: Tensor) -> Tensor:
        """Encode audio ``[batch, 1, time]`` as x_0, ``[batch, channels, frames]``."""
        return self.scale * self.representation.encode(audio)

    def decode(self, x0: Tensor, length: int) -> Tensor:
        """Invert ``encode``, to ``[batch, 1, length]``."""
        return self.representation.decode(x0 / self.scale, length)

    def condition(self, n: int, length: int, label: Tensor | None = None) -> Condition:
        """The condition of ``n`` sounds of ``length`` samples of which nothing is known."""
        return self.known(nothing(n, length, self.device), label)

    def known(self, observation: Observation, label: Tensor | None = None) -> Condition:
        """The condition of sounds of which something is known, see ``observe``.

        A model that was trained without observations sees the class alone.
        """
        if self.observe is None:
            return Condition(label=label)
        return replace(observation.condition(self.representation, self.scale), label=label)

    def loss(self, batch: Mapping[str, Tensor], noise: ItemNoise) -> dict[str, Tensor]:
        """Training losses, each ``[batch]``.

        Args:
            batch: ``audio [batch, 1, crop_length]``, and ``label [batch]`` for a class-conditional
                model.
        """
        with torch.no_grad():
            x0 = self.encode(batch["audio"])
            eps = like(noise.normal(*x0.shape[1:]), x0)
            u = noise.uniform()
            label = batch.get("label") if self.labels else None
            if label is not None and self.label_dropout:
                kept = noise.uniform(stream=2) >= self.label_dropout
                label = torch.where(like(kept.long(), label) > 0, label, -1)
            cond, weight = Condition(label=label), None
            if self.observe is not None:
                observation = observed(batch["audio"], noise, self.observe)
                cond = self.known(observation, label)
                weight = observation.unknown(self.representation).clamp(min=KNOWN_WEIGHT)
        denoised = self.objective(self.denoiser, x0, cond, u=u, eps=eps, weight=weight)
        return {"denoising": denoised.loss, "log_snr": denoised.log_snr, "loss": denoised.loss}

    def generated(self, batch: Mapping[str, Tensor], noise: ItemNoise) -> tuple[Tensor, Tensor]:
        """(audio on the sampler's own path, true audio of the same classes), each
        ``[batch, 1, time]``; see ``on_path``.
        """
        audio = batch["audio"]
        frames = self.representation.frames(audio.shape[-1])
        like = audio.new_empty(len(audio), self.representation.channels, frames)
        cond = self.condition(
            len(audio), audio.shape[-1], batch.get("label") if self.labels else None
        )
        x0_hat = on_path(self.sampler, self.denoiser, like, cond, noise)
        return self.decode(x0_hat, audio.shape[-1]), audio

    @torch.no_grad()
    def examples(self, batch: Mapping[str, Tensor], noise: ItemNoise) -> tuple[Tensor, Condition]:
        """(noise, condition) for sampling in the shape of ``batch["audio"]`` with its labels."""
        audio = batch["audio"]
        frames = self.representation.frames(audio.shape[-1])
        z = like(noise.normal(self.representation.channels, frames), audio)
        label = batch.get("label") if self.labels else None
        return z, self.condition(len(audio), audio.shape[-1], label)

    def validate(self, batch: Mapping[str, Tensor], seed: int = 0) -> Tensor:
        """Generate a sample in the shape and of the class of ``batch["audio"] [1, 1, time]``.

        It is not an estimate of that audio: only metrics without a reference apply.
        """
        length, label = batch["audio"].shape[-1], batch.get("label")
        number = None if label is None or not self.labels else int(label[0])
        seconds = -(-length // self.representation.hop_length) * self.representation.hop_length
        audio = self.generate(1, seconds=seconds / self.sample_rate, label=number, seed=seed)
        return audio[..., :length]

    @torch.no_grad()
    def generate(
        self,
        n: int,
        *,
        seconds: float | None = None,
        label: int | str | None = None,
        guidance: float = 1.0,
        sampler: str | Sampler | None = None,
        steps: int | None = None,
        seed: int = 0,
        first: int = 0,
    ) -> Tensor:
        """Generate ``n`` samples, ``[n, 1, time]`` float32 on the model's device, full scale +-1.

        Args:
            seconds: duration, rounded to frames of the representation (default: ``crop_seconds``).
            label: number or name of the class, for a class-conditional model.
            guidance: scale of classifier-free guidance; 1 is no guidance, larger values give more
                typical samples.
            sampler, steps: sampler and number of steps (default: the checkpoint's).
            seed: of the noise. Sample i depends on the seed and on ``first + i`` only, not on
                ``n``.
            first: index of the first sample.

        Raises:
            UserError: for a value out of range, an unknown sampler, or a label that is missing,
                unknown or not supported.
        """
        check_call(self.network, seed)
        if not isinstance(n, Integral) or n < 1:
            raise UserError(f"the number of sounds must be 1 or more, not {n}")
        if seconds is not None and not 0 < seconds <= MOST_SECONDS:
            raise UserError(
                f"a sound's length must be positive and at most {MOST_SECONDS} seconds, not "
                f"{seconds:g}"
            )
        number = self.label_number(label)
        denoiser = self._guided(number, guidance)
        if not isinstance(sampler, Sampler):
            sampler = self.with_sampler(sampler, steps)
        length = self.length(self.crop_seconds if seconds is None else seconds)
        source = ItemNoise(seed, range(first, first + n))

        def draw(x: Tensor, i: int) -> Tensor:
            return like(source.normal(*x.shape[1:], stream=i + 1), x)

        labels = None if number is None else torch.full((n,), number, device=self.device)
        cond = self.condition(n, length, labels)
        shape = n, self.representation.channels, self.representation.frames(length)
        return self.decode(self.sample(cond, shape, draw, sampler, denoiser), length)

    def _guided(self, label: int | None, scale: float) -> DenoiserLike:
        """The denoiser with classifier-free guidance of ``scale``."""
        if scale == 1:
            return self.denoiser
        if label is None or label < 0:
            raise UserError(f"guidance {scale:g} needs a class: give a label")
        if not self.label_optional:
            raise UserError(
                "this model cannot be guided: it was trained without task.label_dropout; leave "
                "guidance at 1"
            )
        return guided.ClassifierFree(self.denoiser, scale)
