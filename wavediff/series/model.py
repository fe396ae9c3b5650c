"""Windows of series: what is missing in them, now or in the future, from what is known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser, Prediction
from wavediff.diffusion.forward import broadcast
from wavediff.diffusion.noise import ItemNoise
from wavediff.diffusion.objective import Objective
from wavediff.diffusion.sampler import Sampler
from wavediff.diffusion.schedule import Schedule
from wavediff.errors import UserError
from wavediff.series import masks as mask_kinds
from wavediff.series import scaling
from wavediff.series.guidance import Guidance
from wavediff.series.metrics import coverage, mae, weighted_quantile_loss
from wavediff.series.series_set import SeriesSet
from wavediff.series.settings import build_series
from wavediff.series.windows import Windows, visible_lags
from wavediff.tasks.task import DiffusionTask
from wavediff.training.config import TrainerConfig
from wavediff.training.distributed import World
from wavediff.training.validation import Validation

# Windows that go through the network at once. On a CPU, tensors above 32 MB cost more to get from
# the system than to compute.
ROWS, GPU_ROWS = 256, 4096
VALIDATION_SAMPLES = 50
UNCONDITIONAL_GUIDANCE = "mse"  # the default of an unconditional model
SCALES = 200  # training windows whose scales a checkpoint remembers


class Window(NamedTuple):
    """Windows as the model wants them.

    Attributes:
        values: ``[batch, variables, length]`` in the data's own units, anything where not present.
        present: bool, like ``values``: where there is a value.
        local: ``[batch, features, length]``: calendar and known covariates.
        lags, lags_present: ``[batch, variables * lags, length]``, those of a variable together:
            the series itself, earlier.
        label: ``[batch]``, number of the item, or None.
    """

    values: Tensor
    present: Tensor
    local: Tensor
    lags: Tensor
    lags_present: Tensor
    label: Tensor | None = None

    @classmethod
    def of(cls, batch: Mapping[str, Tensor]) -> Window:
        """From a batch of ``wavediff.series.windows``."""
        return cls(
            batch["values"],
            batch["present"].bool(),
            batch["local"],
            batch["lags"],
            batch["lags_present"].bool(),
            batch.get("label"),
        )


class CleanObservations(Denoiser):
    """A denoiser whose network sees the known cells of x_t without noise (CSDI, Tashiro et al.
    2021, section 4.3), at the level of x_t.

    A block of DiffWave adds the local condition after its dilated convolution. Where no later block
    has dilation 1, a known cell thus tells nothing to those at an odd distance from it, which only
    the input can mend.
    """

    def forward(self, x: Tensor, t: Tensor | float, cond: Condition | None = None) -> Tensor:
        """The estimate of x_0, like ``x``; of no meaning in known cells.

        ``cond.local`` begins with the known values and where they are, both like ``x``.
        """
        y, known = (cond.local[:, k * x.shape[1] : (k + 1) * x.shape[1]] for k in range(2))
        level = torch.hypot(self.schedule.alpha(t), self.schedule.sigma(t))
        return super().forward(torch.where(known > 0, broadcast(level, x) * y, x), t, cond)


class SeriesModel(DiffusionTask):
    """Forecasts, fills gaps and makes series, all by sampling hidden cells of a window.

    The network sees the noisy window, and as its local condition the known cells (zero elsewhere),
    where they are, the calendar and the lags (CSDI, Tashiro et al. 2021; SSSD, Alcaraz &
    Strodthoff 2023). A window is scaled by its known cells, so units and levels do not matter.

    Args:
        network, schedule, prediction, objective, sampler: the parts.
        variables: of a window.
        features: calendar features and known covariates.
        lags: how many steps back the series itself is shown, in steps.
        context, horizon: steps of a window; the horizon is what a forecast fills at once.
        scaling: one of ``wavediff.series.scaling.KINDS``.
        masks: shares of the training masks of ``wavediff.series.masks``.
        clean_known: whether the known cells of the network's input are without noise.

    Attributes:
        command: by which it is used.
        guidance: by which known cells are sampled around without telling the network of them; None
            tells it. A model that was only ever trained with nothing known is guided.
    """

    command: str
    groups = ("task", "network", "schedule", "prediction", "objective", "sampler")
    title = "a model of series"
    advice = (
        "give the run folder of a recipe for series (wavediff train recipe=series data.path=FILE)"
    )

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        prediction: Prediction,
        objective: Objective,
        sampler: Sampler,
        variables: int,
        features: int,
        lags: list[int],
        context: int,
        horizon: int,
        scaling: str = "mean_abs",
        masks: Mapping[str, float] | None = None,
        clean_known: bool = False,
    ) -> None:
        kind = CleanObservations if clean_known else Denoiser
        super().__init__(kind(network, schedule, prediction), objective, sampler)
        self.variables, self.features, self.lags = variables, features, lags
        self.context, self.horizon, self.scaling = context, horizon, scaling
        self.command = "forecast" if horizon else "impute"
        self.masks = {"forecast": 1.0} if masks is None else dict(masks)
        mask_kinds.check(self.masks)
        self.guidance = Guidance.of(UNCONDITIONAL_GUIDANCE) if self.unconditional else None
        self._facts: dict[str, Any] = {}

    @staticmethod
    def network_arguments(channels: int) -> dict[str, int]:
        """None: ``complete`` has set them."""
        return {}

    @property
    def facts(self) -> Mapping[str, Any]:
        return self._facts

    def summary(self) -> dict[str, Any]:
        number = f"{self.variables} variable{'s' * (self.variables != 1)}"
        window = f"{number}, {self.context} steps of context, {self.horizon} ahead"
        return super().summary() | {"window": window}

    @staticmethod
    def complete(config: Mapping[str, Any]) -> Mapping[str, Any]:
        """``config`` with what follows from its data: the sizes of a window and of the network."""
        train, _, _ = _read(json.dumps(config["data"]), config["seed"])
        sizes = {
            "variables": train.variables,
            "features": train.local_channels,
            "lags": train.lags,
            "context": train.context,
            "horizon": train.horizon,
            "scaling": config["data"]["scaling"],
        }
        return config | {
            "task": config["task"] | sizes,
            "network": config["network"] | network_sizes(config["network"], **sizes),
        }

    def read(self, config: Mapping[str, Any], seed: int) -> tuple[Windows, Windows]:
        """(training windows, validation windows) of a data configuration."""
        train, held_out, series = _read(json.dumps(config), seed)
        self._facts = facts(train, series, self.scaling)
        return train, held_out

    def judge(
        self, held_out: Windows, config: TrainerConfig, metrics: Mapping[str, Any], world: World
    ) -> Validation:
        return Validation(self.score(held_out, config.validate_files))

    def score(self, held_out: Windows, count: int) -> dict[str, float]:
        """CRPS, MAE and coverage of the forecasts in ``count`` windows spread over those held out;
        without a horizon of what training masks hide there."""
        chosen = sorted({k * len(held_out) // count for k in range(count)})
        window = Window.of(default_collate([held_out[k] for k in chosen]))
        if self.horizon:
            known = window.present.clone()
            known[..., self.context :] = False
        else:
            known = self._masked(window.present, ItemNoise(0, chosen))
        samples = self.sample(window, known, VALIDATION_SAMPLES).double().cpu().numpy()
        hidden = window.present & ~known
        target = torch.where(hidden, window.values.double(), torch.nan).numpy()
        return {
            "crps": weighted_quantile_loss(samples, target),
            "mae": mae(samples, target),
            "coverage_80": coverage(samples, target, 0.8),
        }

    @property
    def length(self) -> int:
        """Steps of a window."""
        return self.context + self.horizon

    @property
    def unconditional(self) -> bool:
        """Whether the network was only ever trained with nothing known."""
        return {name for name, share in self.masks.items() if share > 0} == {"unconditional"}

    def guide(self, kind: str | None, scale: float | None = None) -> None:
        """Set ``guidance``.

        Args:
            kind: of ``wavediff.series.guidance``. None restores the default: ``mse`` for an
                unconditional model, no guidance for others.
            scale: its strength; None for the default of the kind.

        Raises:
            UserError: for an unknown kind, a scale out of range, or a model that was never trained
                unconditionally.
        """
        if kind is None and self.unconditional:
            kind = UNCONDITIONAL_GUIDANCE
        if kind is None:
            if scale is not None:
                raise UserError("a scale of guidance needs a guidance: give mse or quantile")
            self.guidance = None
        elif not self.masks.get("unconditional", 0) > 0:
            raise UserError(
                "guidance needs a model that was also trained unconditionally, and this one was "
                "not: leave the guidance out, or train with task.masks.unconditional above 0"
            )
        else:
            self.guidance = Guidance.of(kind, scale)

    @property
    def fewest(self) -> int:
        """Known cells of a variable from which its scale is taken."""
        return max(2, min(8, self.length // 16))

    def loss(self, batch: Mapping[str, Tensor], noise: ItemNoise) -> dict[str, Tensor]:
        """Training losses, each ``[batch]``: on what is hidden and there.

        Args:
            batch: of ``wavediff.series.windows``.
        """
        window = Window.of(batch)
        with torch.no_grad():
            known = self._masked(window.present, noise)
            wide = scaling.fit(window.values, window.present, self.scaling)
            x0, cond, _ = self._condition(window, known, wide)
            eps = noise.normal(*x0.shape[1:]).to(x0)
            u = noise.uniform().to(x0.device)
            hidden = (window.present & ~known).to(x0)
        denoised = self.objective(self.denoiser, x0, cond, u=u, eps=eps, weight=hidden)
        return {"denoising": denoised.loss, "log_snr": denoised.log_snr, "loss": denoised.loss}

    def _masked(self, present: Tensor, noise: ItemNoise) -> Tensor:
        """What is known of each window by a mask drawn for it."""
        found = present.cpu()
        known = [
            mask_kinds.drawn(self.masks, found[i], found[i - 1], self.horizon, generator)
            for i, generator in enumerate(noise.generators(stream=2))
        ]
        return torch.stack(known).to(present.device)

    def _condition(
        self,
        window: Window,
        known: Tensor,
        wide: scaling.Affine | None = None,
        conditional: bool = True,
    ) -> tuple[Tensor, Condition, scaling.Affine]:
        """(x0, what the network is told, the scale of each window).

        A variable of which too few cells are known to tell its scale takes that of ``wide``. A
        window of which nothing is known has no past either: its lags are hidden too. Where the
        network is not ``told``, the known cells give the scale and nothing else.
        """
        scale = scaling.fit(window.values, known, self.scaling)
        if wide is not None:
            enough = scaling.count(known, self.scaling) >= self.fewest
            scale = scaling.Affine(
                torch.where(enough, scale.loc, wide.loc),
                torch.where(enough, scale.scale, wide.scale),
            )
        values = torch.where(window.present, window.values, torch.zeros_like(window.values))
        x0 = torch.where(window.present, scale.apply(values), torch.zeros_like(values))
        known = known if conditional else torch.zeros_like(known)
        # [batch, variables, lags, length]: an earlier value is scaled like the variable it is of
        lags = window.lags.unflatten(1, (self.variables, -1)).double()
        lags = ((lags - scale.loc[..., None]) / scale.scale[..., None]).flatten(1, 2).to(x0)
        there = visible_lags(window.lags_present.to(x0), known.to(x0), self.lags)
        there = there * known.any(-1).any(-1)[:, None, None]
        local = [known * x0, known.to(x0), window.local.to(x0), lags * there, there]
        return x0, Condition(local=torch.cat(local, dim=1), label=window.label), scale

    def forecast(self, window: Window, samples: int, **options: Any) -> Tensor:
        """``[samples, batch, variables, horizon]``: the last steps of a window by those before.

        Args:
            options: of ``sample``.
        """
        known = window.present.clone()
        known[..., self.context :] = False
        return self.sample(window, known, samples, **options)[..., self.context :]

    @torch.no_grad()
    def sample(
        self,
        window: Window,
        known: Tensor,
        samples: int,
        *,
        sampler: Sampler | None = None,
        seed: int = 0,
        first: int = 0,
        wide: scaling.Affine | None = None,
        guidance: Guidance | None = None,
    ) -> Tensor:
        """``[samples, batch, variables, length]`` in the data's units, like ``window.values``.

        Known cells come back as they are. Window i sees noise that is a function of the seed and
        of ``first + i`` alone.

        Args:
            known: bool, like ``window.present``, a part of it: what the model is told.
            wide: the scale ``[batch, variables, 1]`` of variables of which fewer than ``fewest``
                cells are known; they have their own by default.
            guidance: the model's own by default.
        """
        guidance = self.guidance if guidance is None else guidance
        sampler = self.sampler if sampler is None else sampler
        window = Window(*(part if part is None else part.to(self.device) for part in window))
        known = known.to(self.device)
        rows = ROWS if self.device.type == "cpu" else GPU_ROWS
        rows = max(1, rows // (samples if guidance is None else 4 * samples))  # gradients are kept
        parts = []
        for start in range(0, len(known), rows):
            cut = slice(start, start + rows)
            part = Window(*(p if p is None else p[cut] for p in window))
            scale = None
            if wide is not None:
                scale = scaling.Affine(
                    wide.loc[cut].to(self.device), wide.scale[cut].to(self.device)
                )
            parts.append(
                self._sample(
                    part, known[cut], samples, sampler, seed, first + start, scale, guidance
                )
            )
        return torch.cat(parts, dim=1)

    def _sample(
        self,
        window: Window,
        known: Tensor,
        samples: int,
        sampler: Sampler,
        seed: int,
        first: int,
        wide: scaling.Affine | None,
        guidance: Guidance | None,
    ) -> Tensor:
        batch, variables, length = known.shape
        window = window._replace(present=known)
        x0, cond, scale = self._condition(window, known, wide, conditional=guidance is None)
        noises = ItemNoise(seed, range(first, first + batch))

        def noise(x: Tensor, draw: int) -> Tensor:
            drawn = noises.normal(samples, variables, length, stream=draw + 1)
            return drawn.transpose(0, 1).flatten(0, 1).to(x)

        repeated = cond.map(lambda part: part.repeat(samples, *[1] * (part.ndim - 1)))
        z = noise(x0, -1)
        guidance = Guidance.of("replace") if guidance is None or not known.any() else guidance
        y, there = (part.repeat(samples, 1, 1) for part in (x0, known))
        denoiser = guidance.around(self.denoiser, y, there, samples)
        repeated = replace(repeated, prepared=denoiser.prepare(cond).prepared)
        x = sampler(denoiser, z, repeated, noise=noise)
        filled = scale.invert(x.unflatten(0, (samples, batch)).to(window.values))
        return torch.where(known, window.values, filled)


def facts(train: Windows, series: SeriesSet, kind: str) -> dict[str, Any]:
    """What a checkpoint remembers of its data, as JSON.

    ``scales`` are the location and scale of each variable in up to ``SCALES`` training windows: a
    window that is made up takes those of one.
    """
    scales = []
    for number in range(max(10, min(SCALES, 20 * SCALES // train.variables))):
        window = train[number]
        if window["present"].any():
            scale = scaling.fit(window["values"], window["present"], kind)
            pair = torch.stack([scale.loc[:, 0], scale.scale[:, 0]], dim=-1)
            scales.append([[float(f"{x:.6g}") for x in row] for row in pair.tolist()])
    start = series.items[0].start
    return {
        "frequency": series.freq,
        "variables": list(series.variables) if train.multivariate else None,
        "local": train.local_names,
        "start": start if series.freq is None else str(start),
        "steps": max(train.stops),
        "scales": scales,
    }


def network_sizes(
    network: Mapping[str, Any], variables: int, features: int, lags: list[int], **rest: Any
) -> dict[str, int]:
    """What the network takes in, as arguments of its configuration ``network``."""
    local = 2 * variables + features + 2 * variables * len(lags)
    sizes = {"channels": variables, "local_channels": local, "upsample": 1}
    # of ``_condition``'s channels: for networks that treat each variable by itself
    shared = {"shared_start": 2 * variables, "shared_channels": features}
    return sizes | {key: size for key, size in shared.items() if key in network}


@lru_cache(maxsize=1)
def _read(config: str, seed: int) -> tuple[Windows, Windows, SeriesSet]:
    return build_series(json.loads(config), seed)
