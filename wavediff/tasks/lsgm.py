"""LSGM: joint training of an autoencoder and diffusion in its latent (Vahdat et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.cross_entropy import cross_entropy, noised_entropy
from wavediff.diffusion.denoiser import Prediction
from wavediff.diffusion.noise import ItemNoise
from wavediff.diffusion.objective import DenoisingObjective
from wavediff.diffusion.sampler import Sampler
from wavediff.diffusion.schedule import Schedule
from wavediff.diffusion.transfer import like
from wavediff.networks.autoencoder import Posterior
from wavediff.representations.latent import Latent
from wavediff.tasks.autoencoder import reconstruction_losses
from wavediff.tasks.generator import Generator


class Learnt(nn.Module):
    """All trainable parameters: the denoiser's network and the autoencoder."""

    def __init__(self, score: nn.Module, representation: Latent) -> None:
        super().__init__()
        self.score = score
        self.representation = representation

    @property
    def label_embedding(self) -> nn.Module | None:
        """Label embedding of the denoiser's network, or None."""
        return getattr(self.score, "label_embedding", None)


class LSGM(Generator):
    """A generator trained jointly with its latent: reconstruction + kl_weight * KL(q || p).

    p is the diffusion model: KL = cross-entropy(q, p) - entropy(q), with likelihood weighting for
    both encoder and denoiser (LSGM's w_ll with importance sampling of the time). With prediction v,
    a network of zero output is the denoiser of N(0, 1): training starts as that of a VAE and learns
    the difference of p from it, which is LSGM's mixed score parameterisation.

    Args:
        representation: a ``Latent`` that is not frozen.
        network, schedule, prediction, sampler: of the diffusion in the latent.
        sample_rate, crop_seconds: see ``Generator``.
        mr_stft_weight, l1_weight: of the reconstruction, see ``Autoencoder``.
        kl_weight: of the KL divergence, in nats per latent element.

    Raises:
        ValueError: for a representation that is not a ``Latent``.
    """

    groups = ("task", "representation", "network", "schedule", "prediction", "sampler")

    def __init__(
        self,
        representation: Latent,
        network: nn.Module,
        schedule: Schedule,
        prediction: Prediction,
        sampler: Sampler,
        sample_rate: int = 22050,
        crop_seconds: float = 1.0,
        mr_stft_weight: float = 1.0,
        l1_weight: float = 1.0,
        kl_weight: float = 1e-2,
    ) -> None:
        if not isinstance(representation, Latent):
            raise ValueError("representation must be a latent: use representation=latent_learnt")
        objective = DenoisingObjective()
        parts = (representation, network, schedule, prediction, objective, sampler)
        super().__init__(*parts, sample_rate, crop_seconds)
        self.learnt = Learnt(network, representation)
        self.mr_stft_weight, self.l1_weight = mr_stft_weight, l1_weight
        self.kl_weight = kl_weight

    @property
    def network(self) -> nn.Module:
        """All trainable parameters."""
        return self.learnt

    @property
    def networks(self) -> list[nn.Module]:
        """Parts of ``network`` that are called separately."""
        return [self.denoiser.network, self.representation.autoencoder]

    def loss(self, batch: Mapping[str, Tensor], noise: ItemNoise) -> dict[str, Tensor]:
        """Training losses of ``batch["audio"] [batch, 1, crop_length]``, each ``[batch]``.

        ``kl``, ``cross_entropy`` and ``entropy`` are in nats per latent element.
        """
        audio, autoencoder = batch["audio"], self.representation.autoencoder
        shape = autoencoder.latent_channels, autoencoder.frames(audio.shape[-1])
        eps = like(noise.normal(*shape), audio)
        estimate, *posterior = autoencoder(audio, eps)
        posterior = Posterior(*posterior)
        cond = Condition(label=batch.get("label") if self.labels else None)
        u, z_eps = noise.uniform(), like(noise.normal(*shape, stream=2), audio)
        crossed = cross_entropy(self.denoiser, posterior.sample(eps), u, z_eps, cond)
        entropy = noised_entropy(self.denoiser.schedule, posterior.log_variance)
        losses = reconstruction_losses(estimate, audio)
        losses["cross_entropy"], losses["entropy"] = crossed.loss, entropy.flatten(1).mean(1)
        losses["kl"] = losses["cross_entropy"] - losses["entropy"]
        weights = {"mr_stft": self.mr_stft_weight, "l1": self.l1_weight, "kl": self.kl_weight}
        loss = cast(Tensor, sum(weight * losses[name] for name, weight in weights.items()))
        return losses | {"log_snr": crossed.log_snr, "loss": loss}
