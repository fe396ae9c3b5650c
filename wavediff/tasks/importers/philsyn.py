"""Checkpoints of philsyn/DiffWave-Vocoder: {model_state_dict, ...}, with weight norm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
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

ORIGIN = "philsyn/DiffWave-Vocoder"
BASE: dict[str, Any] = {"steps": 50, "beta_min": 1e-4, "beta_max": 0.05}
LARGE: dict[str, Any] = {"steps": 200, "beta_min": 1e-4, "beta_max": 0.02}

# ours <- theirs
NAMES = {
    "input_projection": "init_conv.0.conv",
    "embedding_projection.0": "residual_layer.fc_t1",
    "embedding_projection.2": "residual_layer.fc_t2",
    "skip_projection": "final_conv.0.conv",
    "output_projection": "final_conv.2.conv",
}
BLOCK = "residual_layer.residual_blocks.{}."


def state_of(content: Mapping[str, Any]) -> Mapping[str, Tensor] | None:
    """State dict in ``content``, or None for another format."""
    state = content.get("model_state_dict", content)
    if isinstance(state, Mapping) and BLOCK.format(0) + "fc_t.weight" in state:
        return state
    return None


def convert(content: Mapping[str, Any], overrides: Overrides) -> ForeignModel:
    """Convert the checkpoint.

    The residual connection includes the step embedding, each layer has its own upsampler, and the
    sampler does not clamp.

    Raises:
        UserError: for a missing tensor, or different numbers of skip and residual channels.
    """
    weights = Weights(state_of(content), ORIGIN)  # type: ignore[arg-type]  # it is of this format
    layers = weights.layers(r"residual_layer\.residual_blocks\.(\d+)\.")
    state: dict[str, Tensor] = {}
    for ours, theirs in NAMES.items():
        put(state, ours, conv(weights, theirs))
    for i in range(layers):
        block = BLOCK.format(i)
        put(state, f"blocks.{i}.step_projection", conv(weights, block + "fc_t"))
        put(
            state,
            f"blocks.{i}.dilated_conv",
            gate_first(conv(weights, block + "dilated_conv_layer.conv")),
        )
        put(state, f"local_projections.{i}", gate_first(conv(weights, block + "mel_conv.conv")))
        residual, skip = conv(weights, block + "res_conv"), conv(weights, block + "skip_conv")
        if residual[0].shape != skip[0].shape:
            raise UserError(
                f"this {ORIGIN} checkpoint has {len(skip[0])} skip channels and "
                f"{len(residual[0])} residual channels: only equal numbers can be imported"
            )
        weight, bias = (torch.cat(pair) for pair in zip(residual, skip, strict=True))
        put(state, f"blocks.{i}.output_projection", (weight, bias))
        for k in range(2):
            upsampler = conv(weights, f"{block}upsample_conv2d.{k}")
            put(state, f"upsamplers.{i}.convs.{k}", upsampler)
    weights.check_all_used()

    width = state["input_projection.weight"].shape[0]
    usual = LARGE if width >= 128 else BASE
    schedule, made = schedule_config(overrides, **usual)
    hop = strides([state[f"upsamplers.0.convs.{k}.weight"] for k in range(2)], None, ORIGIN)
    return ForeignModel(
        origin=ORIGIN,
        config=vocoder_config(
            mel=mel_config(
                "tacotron",
                sample_rate=overrides.sample_rate,
                n_mels=state["local_projections.0.weight"].shape[1],
                hop_length=hop,
            ),
            network={
                "width": width,
                "layers": layers,
                "dilation_cycle": 10,
                "kernel_size": state["blocks.0.dilated_conv.weight"].shape[-1],
                "embedding": "sinusoidal",
                "shared_upsampler": False,
                "step_in_residual": True,
            },
            schedule=schedule,
            sampler=sampler_config(made, overrides.fast_betas, clamp=None),
            norm="l2",
        ),
        state=state,
        extra={},
    )


Pair = tuple[Tensor, Tensor]  # weight and bias


def conv(weights: Weights, name: str) -> Pair:
    """Weight and bias with weight norm folded in: w = g v / |v|, the norm over all but dim 0."""
    if f"{name}.weight_g" in weights:
        g, v = weights[f"{name}.weight_g"], weights[f"{name}.weight_v"]
        weight = v * (g / v.flatten(1).norm(dim=1).view(g.shape))
    else:
        weight = weights[f"{name}.weight"]
    return weight, weights[f"{name}.bias"]


def gate_first(pair: Pair) -> Pair:
    """Swap the halves: the first is the tanh's in the checkpoint, and the sigmoid's in ours."""
    weight, bias = (torch.cat(tensor.chunk(2)[::-1]) for tensor in pair)
    return weight, bias


def put(state: dict[str, Tensor], name: str, pair: Pair) -> None:
    state[f"{name}.weight"], state[f"{name}.bias"] = pair
