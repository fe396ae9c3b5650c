"""Checkpoints of lmnt-com/diffwave: {step, model, optimizer, params, scaler}, or a state dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from wavediff.errors import UserError
from wavediff.tasks.importers.model import (
    ForeignModel,
    Overrides,
    Weights,
    mel_config,
    sampler_config,
    schedule_config,
    strides,
    vocoder_config,
)

ORIGIN = "lmnt-com/diffwave"
USUAL: dict[str, Any] = {"steps": 50, "beta_min": 1e-4, "beta_max": 0.05}

# ours <- theirs
NAMES = {
    "input_projection": "input_projection",
    "embedding_projection.0": "diffusion_embedding.projection1",
    "embedding_projection.2": "diffusion_embedding.projection2",
    "skip_projection": "skip_projection",
    "output_projection": "output_projection",
    "upsamplers.0.convs.0": "spectrogram_upsampler.conv1",
    "upsamplers.0.convs.1": "spectrogram_upsampler.conv2",
}
LAYER_NAMES = {
    "blocks.{}.dilated_conv": "residual_layers.{}.dilated_conv",
    "blocks.{}.step_projection": "residual_layers.{}.diffusion_projection",
    "blocks.{}.output_projection": "residual_layers.{}.output_projection",
    "local_projections.{}": "residual_layers.{}.conditioner_projection",
}


def state_of(content: Mapping[str, Any]) -> Mapping[str, Tensor] | None:
    """State dict in ``content``, or None for another format."""
    state = content.get("model", content)
    if isinstance(state, Mapping) and "residual_layers.0.dilated_conv.weight" in state:
        return state
    return None


def convert(content: Mapping[str, Any], overrides: Overrides) -> ForeignModel:
    """Convert the checkpoint; the halves of gates and outputs already have our order.

    Raises:
        UserError: for a missing tensor, or a model that is not a vocoder.
    """
    weights = Weights(state_of(content), ORIGIN)  # type: ignore[arg-type]  # it is of this format
    params = content.get("params")
    params = params if isinstance(params, Mapping) else {}
    if "spectrogram_upsampler.conv1.weight" not in weights:
        raise UserError(
            f"this {ORIGIN} checkpoint is unconditional: a vocoder needs one conditioned on mels"
        )
    layers = weights.layers(r"residual_layers\.(\d+)\.")
    names = dict(NAMES)
    for i in range(layers):
        names |= {ours.format(i): theirs.format(i) for ours, theirs in LAYER_NAMES.items()}
    state = {
        f"{ours}.{part}": weights[f"{theirs}.{part}"]
        for ours, theirs in names.items()
        for part in ("weight", "bias")
    }
    # some versions save the table of embeddings, which is recomputed
    weights.used.add("diffusion_embedding.embedding")
    weights.check_all_used()

    ups = [state[f"upsamplers.0.convs.{i}.weight"] for i in range(2)]
    hop = strides(ups, params.get("hop_samples"), ORIGIN)
    sample_rate = overrides.sample_rate
    if sample_rate is None:
        sample_rate = params.get("sample_rate", 22_050)
    schedule, made = schedule_config(overrides, **USUAL, betas=params.get("noise_schedule"))
    fast = overrides.fast_betas
    if fast is None and not overrides.schedule:
        fast = params.get("inference_noise_schedule")
    return ForeignModel(
        origin=ORIGIN,
        config=vocoder_config(
            mel=mel_config(
                "lmnt",
                sample_rate=sample_rate,
                n_mels=state["local_projections.0.weight"].shape[1],
                n_fft=params.get("n_fft"),
                hop_length=hop,
                win_length=4 * hop,
                f_max=sample_rate / 2,
            ),
            network={
                "width": state["input_projection.weight"].shape[0],
                "layers": layers,
                "dilation_cycle": params.get("dilation_cycle_length", 10),
                "kernel_size": state["blocks.0.dilated_conv.weight"].shape[-1],
                "embedding": "table",
                "steps": len(made.betas),
            },
            schedule=schedule,
            sampler=sampler_config(made, fast, clamp=1.0),
            norm="l1",
        ),
        state=state,
        extra={"step": content["step"]} if isinstance(content.get("step"), int) else {},
    )
