"""Audio autoencoders: from audio to a compact latent and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from wavediff.data.resampling import resample
from wavediff.diffusion.noise import ItemNoise
from wavediff.diffusion.transfer import like
from wavediff.errors import UserError
from wavediff.evaluation.spectral import mr_stft
from wavediff.networks import autoencoder as networks
from wavediff.tasks.chunks import Piece, pieces
from wavediff.tasks.task import Task

PIECE_NUMBERS = 4_000_000  # elements of the widest tensor while a long signal is encoded or decoded


class Autoencoder(Task):
    """A variational autoencoder of audio, used on its own or as the basis of latent diffusion.

        autoencoder = Autoencoder.from_pretrained("runs/autoencoder")
        latent = autoencoder.encode(audio, sample_rate)     # [channels, frames]
        again = autoencoder.decode(latent)                  # [frames * hop_length]

    Args:
        network: a ``networks.autoencoder.Autoencoder``.
        sample_rate: of the audio, in Hz.
        crop_seconds: duration of a training example, in seconds.
        mr_stft_weight: of the multi-resolution STFT loss of the reconstruction.
        l1_weight: of its mean absolute error.
        kl_weight: of KL(q || N(0, I)), in nats per latent element (beta of Higgins et al. 2017).

    Raises:
        ValueError: for another kind of network, or a value that is not positive.
    """

    command = "encode"
    title = "an autoencoder"
    advice = "give the run folder of an autoencoder (wavediff train recipe=autoencoder)"

    def __init__(
        self,
        network: networks.Autoencoder,
        sample_rate: int = 22050,
        crop_seconds: float = 1.0,
        mr_stft_weight: float = 1.0,
        l1_weight: float = 1.0,
        kl_weight: float = 1e-3,
    ) -> None:
        super().__init__()
        if not isinstance(network, networks.Autoencoder):
            raise ValueError(f"network must be an autoencoder, not a {type(network).__name__}")
        if not (sample_rate > 0 and crop_seconds > 0):
            raise ValueError("sample_rate and crop_seconds must be positive")
        self.network = network
        self.sample_rate = sample_rate
        self.crop_seconds = crop_seconds
        self.mr_stft_weight, self.l1_weight = mr_stft_weight, l1_weight
        self.kl_weight = kl_weight

    @property
    def crop_length(self) -> int:  # type: ignore[override]
        """Length of a training example in samples, a multiple of the hop length."""
        hop = self.network.hop_length
        return max(1, round(self.crop_seconds * self.sample_rate / hop)) * hop

    def loss(self, batch: Mapping[str, Tensor], noise: ItemNoise) -> dict[str, Tensor]:
        """Training losses of ``batch["audio"] [batch, 1, crop_length]``, each ``[batch]``.

        ``kl`` is in nats per latent element.
        """
        audio = batch["audio"]
        frames = self.network.frames(audio.shape[-1])
        eps = like(noise.normal(self.network.latent_channels, frames), audio)
        estimate, *posterior = self.network(audio, eps)
        losses = reconstruction_losses(estimate, audio)
        losses["kl"] = networks.Posterior(*posterior).kl().flatten(1).mean(1)
        weights = {"mr_stft": self.mr_stft_weight, "l1": self.l1_weight, "kl": self.kl_weight}
        loss = cast(Tensor, sum(weight * losses[name] for name, weight in weights.items()))
        return losses | {"loss": loss}

    def summary(self) -> dict[str, Any]:
        network = self.network
        rates = {"hop_length": network.hop_length, "compression": network.compression}
        return super().summary() | rates

    def validate(self, batch: Mapping[str, Tensor], seed: int = 0) -> Tensor:
        """Reconstruct ``batch["audio"] [1, 1, time]`` from the posterior mean, same shape."""
        audio = batch["audio"]
        return self._decoded(self._encoded(audio), audio.shape[-1])

    def forward(self, audio: Tensor, sample_rate: int) -> Tensor:
        """Reconstruct ``audio [time]`` or ``[channels, time]`` at the model's sample rate."""
        latent = self.encode(audio, sample_rate)
        length = -(-audio.shape[-1] * self.sample_rate // sample_rate)
        return self.decode(latent, length)

    @torch.no_grad()
    def encode(self, audio: Tensor, sample_rate: int) -> Tensor:
        """Encode audio as the posterior mean of its latent, ``[latent_channels, frames]``.

        Args:
            audio: ``[time]`` or ``[channels, time]``, floating-point, full scale +-1; channels
                are encoded separately, into ``[channels, latent_channels, frames]``.
            sample_rate: of the audio, in Hz.

        Raises:
            UserError: for audio of an invalid shape or type, or with NaN or infinite samples, and
                for a latent that is not finite.
        """
        if audio.ndim not in (1, 2) or audio.shape[-1] < 1 or not audio.is_floating_point():
            raise UserError(
                f"audio must be floating-point [time] or [channels, time], got {list(audio.shape)}"
            )
        if not audio.isfinite().all():
            raise UserError("the audio holds NaN or infinite samples: repair it first")
        rows = audio.float().reshape(-1, audio.shape[-1])
        latent = self._encoded(resample(rows, sample_rate, self.sample_rate)[:, None])
        if not latent.isfinite().all():
            raise UserError(
                "the model's latent holds NaN or infinite values: its checkpoint is broken, try "
                "another"
            )
        return latent if audio.ndim == 2 else latent[0]

    @torch.no_grad()
    def decode(self, latent: Tensor, length: int | None = None) -> Tensor:
        """Decode ``latent [latent_channels, frames]`` to audio ``[length]``, or a row per channel.

        Args:
            length: in samples at the model's rate (default: to the end of the last frame).

        Raises:
            UserError: for a latent of another model, or a length that does not match it.
        """
        channels, hop = self.network.latent_channels, self.network.hop_length
        if latent.ndim not in (2, 3) or latent.shape[-2] != channels or latent.shape[-1] < 1:
            raise UserError(
                f"a latent of this model is [{channels}, frames], got {list(latent.shape)}: decode "
                "it with the model that encoded it"
            )
        if not latent.isfinite().all():
            raise UserError("the latent holds NaN or infinite elements: encode the audio again")
        frames = latent.shape[-1]
        length = frames * hop if length is None else length
        if self.network.frames(length) != frames:
            raise UserError(
                f"{frames} latent frames are {(frames - 1) * hop + 1} to {frames * hop} samples, "
                f"not {length}"
            )
        audio = self._decoded(latent.float().reshape(-1, channels, frames), length)[:, 0]
        return audio if latent.ndim == 3 else audio[0]

    def _encoded(self, audio: Tensor) -> Tensor:
        """Encode ``[batch, 1, time]`` to means ``[batch, latent_channels, frames]``, in chunks."""
        network, hop, length = self.network, self.network.hop_length, audio.shape[-1]
        parts = []
        for piece in self._pieces(network.frames(length), -(-network.encoder_reach // hop)):
            cut = audio[..., piece.left * hop : piece.right * hop].to(self.device)
            mean = network.encode(cut).mean
            parts.append(mean[..., piece.start - piece.left : piece.stop - piece.left])
        return torch.cat(parts, dim=-1)

    def _decoded(self, latent: Tensor, length: int) -> Tensor:
        """Decode ``[batch, latent_channels, frames]`` to ``[batch, 1, length]``, in chunks."""
        network, hop = self.network, self.network.hop_length
        parts = []
        for piece in self._pieces(latent.shape[-1], network.decoder_reach):
            cut = latent[..., piece.left : piece.right].to(self.device)
            audio = network.decode(cut, cut.shape[-1] * hop)
            left = (piece.start - piece.left) * hop
            parts.append(audio[..., left : left + (piece.stop - piece.start) * hop])
        return torch.cat(parts, dim=-1)[..., :length]

    def _pieces(self, frames: int, halo: int) -> Iterator[Piece]:
        width = max(m.out_channels for m in self.network.modules() if isinstance(m, nn.Conv1d))
        size = max(8 * halo, PIECE_NUMBERS // (width * self.network.hop_length))
        return pieces(frames, size, halo)


def reconstruction_losses(estimate: Tensor, audio: Tensor) -> dict[str, Tensor]:
    """Multi-resolution STFT loss and mean absolute error, each ``[batch]``."""
    return {"mr_stft": mr_stft(estimate, audio), "l1": (estimate - audio).abs().flatten(1).mean(1)}
