"""A diffusion model of windows of time series: forecasting, imputation and synthesis."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

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
from wavediff.errors import UserError, shorten
from wavediff.series import checks, scaling
from wavediff.series import masks as mask_kinds
from wavediff.series.condition import CleanObservations, Window, condition, network_sizes
from wavediff.series.guidance import Guidance
from wavediff.series.metrics import coverage, mae, weighted_quantile_loss
from wavediff.series.record import check_record
from wavediff.series.series_set import SeriesSet
from wavediff.series.settings import build_series
from wavediff.series.windows import Windows
from wavediff.tasks.task import DiffusionTask

if TYPE_CHECKING:
    from wavediff.training.config import TrainerConfig
    from wavediff.training.distributed import World
    from wavediff.training.validation import Validation

# Windows that go through the network at once. On a CPU, tensors above 32 MB cost more to get from
# the system than to compute.
ROWS, GPU_ROWS = 256, 4096
VALIDATION_SAMPLES = 50
UNCONDITIONAL_GUIDANCE = "mse"  # the default of an unconditional model
LONGEST = 20_000  # steps of a window: far beyond all that fits into memory in training
SCALES = 200  # training windows whose scales a checkpoint stores


class SeriesModel(DiffusionTask):
    """Forecasts, imputes and synthesizes series by sampling the hidden cells of a window.

    The network sees the noisy window, and as its local condition the known cells (zero elsewhere),
    where they are, the calendar and the lags (CSDI, Tashiro et al. 2021; SSSD, Alcaraz &
    Strodthoff 2023). A window is scaled by its known cells, so the units of the data are free.

    Args:
        network: the denoising network.
        schedule: of the noise.
        prediction: what the network's output means.
        objective: by which it is trained.
        sampler: by which it is sampled unless another is given.
        variables: number of variables of a window.
        features: number of calendar features and known covariates.
        lags: at which earlier values of the series are inputs, in steps.
        context: steps of a window before the horizon.
        horizon: steps that are forecast at once; 0 for a model of gaps.
        scaling: one of ``wavediff.series.scaling.KINDS``.
        masks: weights of the training masks of ``wavediff.series.masks``.
        clean_known: whether the known cells of the network's input are without noise.

    Attributes:
        command: by which it is used.
        guidance: by which the unconditional model is guided to the known cells; None conditions
            the network on them. An unconditional model is guided by default.
    """

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
        if not 0 < context + horizon <= LONGEST:
            raise UserError(
                f"a window of {shorten(context + horizon)} steps cannot be: give 1 to {LONGEST} "
                "of context and horizon together"
            )
        self.variables, self.features, self.lags = variables, features, lags
        self.context, self.horizon, self.scaling = context, horizon, scaling
        self.command = "forecast" if horizon else "impute"  # type: ignore[misc]
        self.masks = {"forecast": 1.0} if masks is None else dict(masks)
        mask_kinds.check(self.masks)
        self.guidance = Guidance.of(UNCONDITIONAL_GUIDANCE) if self.unconditional else None
        self._facts: dict[str, Any] = {}

    @staticmethod
    def network_arguments(channels: int) -> dict[str, int]:
        """None: ``complete`` sets them."""
        return {}

    @property
    def facts(self) -> Mapping[str, Any]:
        return self._facts

    def check_extra(self) -> None:
        check_record(self.extra, self.variables)
        network = self.config["network"]
        wanted = network_sizes(network, self.variables, self.features, self.lags)
        odd = [key for key in wanted if network.get(key, wanted[key]) != wanted[key]]
        if odd:
            raise UserError(
                f"the network does not fit the windows of the task ({odd[0]} is "
                f"{shorten(network[odd[0]])}, not {wanted[odd[0]]}): copy the checkpoint again"
            )

    def summary(self) -> dict[str, Any]:
        number = f"{self.variables} variable{'s' * (self.variables != 1)}"
        window = f"{number}, {self.context} steps of context, {self.horizon} ahead"
        return super().summary() | {"window": window}

    @staticmethod
    def complete(config: Mapping[str, Any]) -> Mapping[str, Any]:
        """``config`` with what follows from its data: the sizes of a window and of the network."""
        train, _, _ = _read(json.dumps(config["data"]), config["seed"])
        return sized(config, train, config["data"]["scaling"])

    def read(self, config: Mapping[str, Any], seed: int) -> tuple[Windows, Windows]:
        """(training windows, validation windows) of a data configuration."""
        train, held_out, series = _read(json.dumps(config), seed)
        self._facts = facts(train, series, self.scaling)
        return train, held_out

    def judge(
        self, held_out: Windows, config: TrainerConfig, metrics: Mapping[str, Any], world: World
    ) -> Validation:
        from wavediff.training.validation import Validation  # with all metrics of audio

        return Validation(self.score(held_out, config.validate_files))

    def score(self, held_out: Windows, count: int) -> dict[str, float]:
        """CRPS, MAE and coverage of forecasts, or of imputations where there is no horizon.

        Args:
            held_out: validation windows.
            count: how many of them to forecast, evenly spread; without a horizon the cells that
                the training masks hide are imputed.
        """
        chosen = sorted({k * len(held_out) // count for k in range(count)})
        window = Window.of(default_collate([held_out[k] for k in chosen]))
        if self.horizon:
            known = window.present.clone()
            known[..., self.context :] = False
        else:
            known = self._masked(window.present, ItemNoise(0, chosen))
        drawn = self.sample_windows(window, known, VALIDATION_SAMPLES, finite=False)
        samples = drawn.double().cpu().numpy()
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
        """Whether the network was only trained unconditionally."""
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
    def min_known(self) -> int:
        """The min_known known cells of a variable that its scale is taken from."""
        return max(2, min(8, self.length // 16))

    def loss(self, batch: Mapping[str, Tensor], noise: ItemNoise) -> dict[str, Tensor]:
        """Training losses, each ``[batch]``, on the cells that are hidden and present.

        Args:
            batch: of ``wavediff.series.windows``.
            noise: to draw from.
        """
        window = Window.of(batch)
        with torch.no_grad():
            known = self._masked(window.present, noise)
            wide = scaling.fit(window.values, window.present, self.scaling)
            x0, cond, _ = self._condition(window, known, wide)
            eps = like(noise.normal(*x0.shape[1:]), x0)
            u = noise.uniform()
            hidden = (window.present & ~known).to(x0)
        denoised = self.objective(self.denoiser, x0, cond, u=u, eps=eps, weight=hidden)
        return {"denoising": denoised.loss, "log_snr": denoised.log_snr, "loss": denoised.loss}

    def _masked(self, present: Tensor, noise: ItemNoise) -> Tensor:
        """The known cells of each window by a mask drawn for it."""
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
        """(x0, the condition, the scale of each window).

        Args:
            window: whose ``present`` cells are in x0.
            known: the cells that the windows are scaled by, and conditioned on.
            wide: the scale of variables of which fewer than ``min_known`` cells are known.
            conditional: False hides the known cells from the network.
        """
        scale = scaling.fit(window.values, known, self.scaling)
        if wide is not None:
            enough = scaling.count(known, self.scaling) >= self.min_known
            scale = scaling.Affine(
                torch.where(enough, scale.loc, wide.loc),
                torch.where(enough, scale.scale, wide.scale),
            )
        values = torch.where(window.present, window.values, torch.zeros_like(window.values))
        x0 = torch.where(window.present, scale.apply(values), torch.zeros_like(values))
        x0 = x0.to(window.local.dtype)  # values may be of a higher precision
        known = known if conditional else torch.zeros_like(known)
        return x0, condition(window, x0, known, scale, self.lags), scale

    def forecast(self, window: Window, samples: int, **options: Any) -> Tensor:
        """Forecast the last steps of windows from those before.

        Args:
            window: the windows.
            samples: of each.
            options: of ``sample_windows``.

        Returns:
            ``[samples, batch, variables, horizon]`` in the data's units.
        """
        if not isinstance(window, Window):
            raise UserError(f"a {type(window).__name__} is no Window: build one by Window.of")
        known = window.present.clone()
        known[..., self.context :] = False
        return self.sample_windows(window, known, samples, **options)[..., self.context :]

    @torch.no_grad()
    def sample_windows(
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
        finite: bool = True,
    ) -> Tensor:
        """Sample the cells of windows that are not known; known cells keep their values.

        Args:
            window: the windows.
            known: bool, like ``window.present`` and a part of it: the cells to condition on.
            samples: of each window.
            sampler: the model's own by default.
            seed: of the noise; window i sees a function of the seed and of ``first + i`` alone.
            first: number of the first window.
            wide: the scale ``[batch, variables, 1]`` of variables of which fewer than ``min_known``
                cells are known; their own by default.
            guidance: the model's own by default.
            finite: refuse an output that is not finite.

        Returns:
            ``[samples, batch, variables, length]`` in the data's units, like ``window.values``.

        Raises:
            UserError: for windows of another shape, no samples, or an output that is not finite.
        """
        samples = checks.whole("samples", samples)
        if not isinstance(window, Window) or known.shape != window.present.shape:
            raise UserError("give a Window, and which of its cells are known, like its present")
        guidance = self.guidance if guidance is None else guidance
        sampler = self.sampler if sampler is None else sampler
        window = window.map(lambda part: part.to(self.device))
        known = known.to(self.device)
        rows = ROWS if self.device.type == "cpu" else GPU_ROWS
        rows = max(1, rows // (samples if guidance is None else 4 * samples))  # gradients are kept
        parts = []
        for start in range(0, len(known), rows):
            cut = slice(start, start + rows)
            part = window.rows(cut)
            scale = None
            if wide is not None:
                scale = scaling.Affine(wide.loc[cut], wide.scale[cut]).to(self.device)
            place = first + start
            parts.append(
                self._sample(part, known[cut], samples, sampler, seed, place, scale, guidance)
            )
        found = torch.cat(parts, dim=1)
        if finite and not (found.isfinite() | known).all():
            raise UserError(
                "the model's samples hold NaN or infinite values: its checkpoint is broken, try "
                "another"
            )
        return found

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
            return like(drawn.transpose(0, 1).flatten(0, 1), x)

        repeated = cond.map(lambda part: part.repeat(samples, *[1] * (part.ndim - 1)))
        z = noise(x0, -1)
        guidance = Guidance.of("replace") if guidance is None or not known.any() else guidance
        y, there = (part.repeat(samples, 1, 1) for part in (x0, known))
        denoiser = guidance.around(self.denoiser, y, there, samples)
        repeated = replace(repeated, prepared=denoiser.prepare(cond).prepared)
        x = sampler(denoiser, z, repeated, noise=noise)
        sampled = scale.invert(x.unflatten(0, (samples, batch)).to(window.values))
        return torch.where(known, window.values, sampled)


def sized(config: Mapping[str, Any], data: Windows, kind: str) -> dict[str, Any]:
    """``config`` with the sizes of the task and of its network that follow from its windows.

    Args:
        config: with the groups ``task`` and ``network``.
        data: the windows.
        kind: of the scaling.
    """
    sizes: dict[str, Any] = {
        "variables": data.variables,
        "features": data.local_channels,
        "lags": data.lags,
        "context": data.context,
        "horizon": data.horizon,
        "scaling": kind,
    }
    network = config["network"] | network_sizes(config["network"], **sizes)
    return {**config, "task": config["task"] | sizes, "network": network}


def facts(train: Windows, series: SeriesSet, kind: str) -> dict[str, Any]:
    """What a checkpoint stores about its data, in types of JSON.

    ``scales`` are the location and scale of each variable in up to ``SCALES`` training windows, of
    which a synthetic window takes one.

    Args:
        train: training windows.
        series: that they are from.
        kind: of the scaling.
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


@lru_cache(maxsize=1)
def _read(config: str, seed: int) -> tuple[Windows, Windows, SeriesSet]:
    return build_series(json.loads(config), seed)
