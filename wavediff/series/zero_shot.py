"""A diffusion model of the horizon of any series, trained on synthetic series alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser, Prediction
from wavediff.diffusion.noise import ItemNoise
from wavediff.diffusion.objective import Objective
from wavediff.diffusion.sampler import Sampler
from wavediff.diffusion.schedule import Schedule
from wavediff.diffusion.transfer import like
from wavediff.errors import UserError
from wavediff.networks.patch_transformer import PatchTransformer
from wavediff.networks.precision import reduced
from wavediff.series import features
from wavediff.series.metrics import coverage, decile_losses
from wavediff.series.synthetic_windows import CHUNK, SyntheticWindows
from wavediff.tasks.task import DiffusionTask

if TYPE_CHECKING:
    from wavediff.training.config import TrainerConfig
    from wavediff.training.distributed import World
    from wavediff.training.validation import Validation

TOKENS = 8192  # of the horizon that go through the network at once on a CPU
CELLS = 65_536  # of the past that are smoothed at once
VALIDATION_SAMPLES = 50
CHUNKS = 12  # of synthetic windows, each with a length of its own, that validation is spread over


class ZeroShotForecaster(DiffusionTask):
    """Sample joint paths of the horizon of series that it was never trained on.

    The horizon is denoised in units of the error of an exponential smoothing around its forecast
    (``wavediff.series.features``), so that a network without knowledge gives that forecast. The
    past is encoded once for all paths and steps.

    Args:
        network: a ``PatchTransformer``.
        schedule: of the noise.
        prediction: what the network's output means.
        objective: by which it is trained.
        sampler: by which it is sampled unless another is given.
        block: steps that are denoised together, a multiple of the network's patch; a longer
            horizon continues from the paths of the block before.
        levels: noise levels of each encoded past in training.
    """

    groups = ("task", "network", "schedule", "prediction", "objective", "sampler")
    command = "forecast"
    title = "a pre-trained forecaster"
    advice = "give forecaster, or the run folder of the recipe forecaster"

    def __init__(
        self,
        network: PatchTransformer,
        schedule: Schedule,
        prediction: Prediction,
        objective: Objective,
        sampler: Sampler,
        block: int = 64,
        levels: int = 4,
    ) -> None:
        super().__init__(Denoiser(network, schedule, prediction), objective, sampler)
        if block < 1 or block % network.patch or levels < 1:
            raise ValueError(
                f"block is a multiple of {network.patch} and levels at least 1, not {block} and "
                f"{levels}"
            )
        self.block, self.levels = block, levels

    @staticmethod
    def network_arguments(channels: int) -> dict[str, int]:
        return {
            "past_features": features.PAST,
            "ahead_features": features.AHEAD,
            "series_features": features.SERIES,
        }

    @property
    def networks(self) -> list[nn.Module]:
        return [self.network.encoder, self.network]

    def read(self, config: Mapping[str, Any], seed: int) -> tuple[Any, Any]:
        """(training windows, held-out windows), all of them synthetic."""
        families = config["families"]
        return SyntheticWindows(seed, families), SyntheticWindows(seed, families, stream=1)

    def judge(
        self, held_out: Any, config: TrainerConfig, metrics: Mapping[str, Any], world: World
    ) -> Validation:
        """Relative weighted quantile loss and coverage on held-out synthetic windows."""
        from wavediff.training.validation import Validation  # with all metrics of audio

        return Validation(scores(self, held_out, config.validate_files))

    def loss(self, batch: Mapping[str, Tensor], noise: ItemNoise) -> dict[str, Tensor]:
        """Training losses, each ``[batch]``, over the known steps of the horizon.

        Args:
            batch: of ``wavediff.series.synthetic_windows``.
            noise: to draw from.
        """
        horizon = int(batch["horizon"][0])
        with torch.no_grad():
            values = batch["values"]
            past, y = values[:, :-horizon], values[:, -horizon:]
            begun = torch.isfinite(past).any(0).to(torch.uint8).argmax()
            seen, scale = features.describe(
                past[:, begun:], batch["periods"], horizon, self.network.patch
            )
            known = torch.isfinite(y)
            x0 = torch.where(known, scale.apply(torch.where(known, y, 0)), 0)
            x0, weight = (self._repeated(part.float(), self.levels) for part in (x0, known))
            eps = like(noise.normal(self.levels, horizon), x0).flatten(0, 1)[:, None]
            shift = torch.arange(self.levels) / self.levels
            u = ((noise.uniform()[:, None] + shift) % 1).flatten()
        cond = Condition(prepared=self.network.encoder(*seen))
        denoised = self.objective(self.denoiser, x0, cond, u=u, eps=eps, weight=weight)
        loss = denoised.loss.unflatten(0, (-1, self.levels)).mean(1)
        log_snr = denoised.log_snr.unflatten(0, (-1, self.levels))[:, 0]
        return {"denoising": loss, "log_snr": log_snr, "loss": loss}

    @staticmethod
    def _repeated(x: Tensor, times: int) -> Tensor:
        """``[batch, horizon]`` as ``[batch * times, 1, horizon]``."""
        return x.repeat_interleave(times, 0)[:, None]

    @torch.no_grad()
    def forecast(
        self,
        values: Tensor,
        periods: Tensor,
        horizon: int,
        samples: int,
        *,
        sampler: Sampler | None = None,
        seed: int = 0,
        rows: Sequence[int] | None = None,
    ) -> Tensor:
        """Sample what follows a batch of series.

        Args:
            values: ``[batch, length]`` in any unit, NaN where missing; shorter series begin later.
            periods: int64 ``[batch, 2]``: a short and a longer season in steps, 1 for none.
            horizon: number of steps.
            samples: paths of each series.
            sampler: the model's own by default.
            seed: of the noise, a function of it and of the number of a series alone.
            rows: numbers of the series, from 0 on by default.

        Returns:
            float64 ``[samples, batch, horizon]``.

        Raises:
            UserError: where the network's output is not finite.
        """
        block, patch = self.block, self.network.patch
        blocks: list[Tensor] = []
        numbers = torch.arange(len(values)) if rows is None else torch.tensor(rows)
        paths = samples
        for start in range(0, horizon, block):
            size = min(block, horizon - start)
            size += -size % patch
            if start == block:  # from here on each path has a past of its own
                values = values.repeat_interleave(samples, 0)
                periods = periods.repeat_interleave(samples, 0)
                numbers = (numbers[:, None] * samples + torch.arange(samples)).flatten()
                paths = 1
            if start:
                values = torch.cat([values, blocks[-1].to(values)], 1)[:, -features.LONGEST :]
            found = self._block(values, periods, size, paths, sampler, seed + start, numbers)
            blocks.append(found.flatten(0, 1))
        joined = torch.cat(blocks, 1)[:, :horizon]
        if not joined.isfinite().all():
            raise UserError(
                "the model's samples hold NaN or infinite values: its checkpoint is broken, try "
                "another"
            )
        return joined.unflatten(0, (-1, samples)).transpose(0, 1)

    def _block(
        self,
        values: Tensor,
        periods: Tensor,
        horizon: int,
        samples: int,
        sampler: Sampler | None,
        seed: int,
        rows: Tensor,
    ) -> Tensor:
        """Paths ``[batch, samples, horizon]``, a piece of the batch at a time."""
        each = max(1, TOKENS * self.network.patch // (samples * horizon))
        each = min(each, max(1, CELLS // min(values.shape[1], features.LONGEST)))
        parts = []
        for start in range(0, len(values), each):
            cut = slice(start, start + each)
            seen, scale = features.describe(values[cut], periods[cut], horizon, self.network.patch)
            seen = features.Features(*(part.to(self.device) for part in seen))
            with reduced(self.device):
                cond = Condition(prepared=self.network.encoder(*seen))
            noises = ItemNoise(seed, rows[cut].tolist())

            def noise(x: Tensor, draw: int, noises: ItemNoise = noises) -> Tensor:
                drawn = noises.normal(samples, 1, horizon, stream=draw + 1)
                return like(drawn.flatten(0, 1), x)

            shape = (len(values[cut]) * samples, 1, horizon)
            with reduced(self.device):
                z = self.sample(cond, shape, noise, sampler).float()
            parts.append(scale.invert(z.cpu().unflatten(0, (-1, samples))[:, :, 0]))
        return torch.cat(parts)


def scores(model: ZeroShotForecaster, windows: SyntheticWindows, count: int) -> dict[str, float]:
    """Relative quantile loss (geometric mean over series) and coverage on held-out windows.

    Args:
        model: to judge.
        windows: of ``CHUNKS`` chunks, ``count`` series in all are forecast.
        count: number of series.
    """
    losses, inside = [], []
    for chunk in range(CHUNKS):
        rows = range(chunk * CHUNK, chunk * CHUNK + max(1, count // CHUNKS))
        batch = default_collate([windows[row] for row in rows])
        horizon = int(batch["horizon"][0])
        past, y = batch["values"][:, :-horizon], batch["values"][:, -horizon:].numpy()
        samples = model.forecast(past, batch["periods"], horizon, VALIDATION_SAMPLES).numpy()
        naive = features.seasonal_naive(past, batch["periods"], horizon).numpy()
        ratio = decile_losses(samples, y) / decile_losses(naive[None], y)
        losses.append(np.log(ratio[np.isfinite(ratio) & (ratio > 0)]))
        inside.append(coverage(samples, y, 0.8))
    return {
        "relative_wql": float(np.exp(np.concatenate(losses).mean())),
        "coverage_80": float(np.mean(inside)),
    }
