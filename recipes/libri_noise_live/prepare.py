"""Makes a causal model out of a trained enhancer, with which the recipe libri_noise_live begins.

    python recipes/libri_noise_live/prepare.py -o runs/causal_start
    wavediff train recipe=libri_noise_live init_from=runs/causal_start

Convolutions keep their taps of the past and the present. The width falls to that of the recipe: the
residual stream and the sum of the skip connections are projected on their principal components over
training examples, and of the gates those are kept that contribute most. What depended on the mel,
which the causal network does not see, is replaced by its mean. KEY=VALUE changes the recipe.
"""

import argparse
import sys
from pathlib import Path
from unittest.mock import patch

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.utils.data import default_collate

from wavediff.cli import run
from wavediff.diffusion.noise import PositionNoise
from wavediff.files import conf_folder
from wavediff.networks import diffwave, frames
from wavediff.networks.diffwave import DiffWave
from wavediff.representations.level import normalised
from wavediff.tasks.build import build_task
from wavediff.tasks.enhancer import Enhancer

EXAMPLES = 48
GROUPS = ("task", "representation", "network", "schedule", "prediction", "objective", "sampler")


def activations(enhancer: Enhancer, noisy: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Inputs ``[channels, frames]`` of layers of the network over time, by name, and the mean mel.

    Under ``step N`` is the output of block N's step projection.
    """
    network = enhancer.network.network
    kept: dict[str, Tensor] = {}

    def keep(name: str, output: bool = False):
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], result: Tensor) -> None:
            if output:
                kept[name] = result[0]
            else:
                kept[name] = inputs[0].transpose(0, 1).flatten(1)

        return hook

    hooks = [
        network.skip_projection.register_forward_hook(keep("skip")),
        network.output_projection.register_forward_hook(keep("output")),
    ]
    for i, block in enumerate(network.blocks):
        hooks += [
            block.register_forward_hook(keep(f"block {i}")),
            block.output_projection.register_forward_hook(keep(f"gate {i}")),
            block.step_projection.register_forward_hook(keep(f"step {i}", output=True)),
        ]
    cond = enhancer.condition(normalised(noisy, enhancer.level(noisy) / enhancer.level_rms))
    # layers of the other layout are not called, see networks/layout.py
    with (
        patch.object(frames, "has_channels_innermost", lambda x: False),
        patch.object(diffwave, "has_channels_innermost", lambda x: False),
    ):
        enhancer.sample(cond, cond.needed("anchor").shape, PositionNoise(0))
    for hook in hooks:
        hook.remove()
    return kept, cond.needed("local").mean((0, 2))


def components(x: Tensor, count: int) -> Tensor:
    """The principal directions of ``x [channels, n]``, ``[channels, count]``."""
    _, vectors = torch.linalg.eigh((x @ x.T).double())
    return vectors[:, -count:].to(x.dtype)


def most(x: Tensor, weight: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(kept, dropped) of the inputs ``x [channels, n]`` of ``weight [out, channels]``, by power."""
    power = x.square().mean(1) * weight.square().sum(0)
    order = power.argsort(descending=True)
    return order[:count].sort().values, order[count:].sort().values


@torch.no_grad()
def make_causal(student: DiffWave, teacher: DiffWave, kept: dict[str, Tensor], mel: Tensor) -> None:
    """Set the weights of the causal ``student``."""
    width, before = student.width, teacher.width
    stream = components(
        torch.cat([kept[f"block {i}"] for i in range(len(teacher.blocks))], dim=1), width
    )
    skips = components(kept["skip"], width)

    def copy(layer: nn.Module, weight: Tensor, bias: Tensor) -> None:
        layer.weight.copy_(weight.reshape(layer.weight.shape))
        layer.bias.copy_(bias)

    own = teacher.input_projection
    copy(student.input_projection, stream.T @ own.weight[:, :, 0], stream.T @ own.bias)
    for i, (new, old) in enumerate(zip(student.blocks, teacher.blocks, strict=True)):
        gate = kept[f"gate {i}"]
        weight, bias = old.output_projection.weight[:, :, 0], old.output_projection.bias
        keep, drop = most(gate, weight, width)
        rows = torch.cat([keep, keep + before])
        local = teacher.local_projections[i]
        shift = old.dilated_conv.bias + local.bias + local.weight[:, :, 0] @ mel
        taps = old.dilated_conv.weight[rows][:, :, :2]  # past and present
        copy(new.dilated_conv, torch.einsum("oit,iq->oqt", taps, stream), shift[rows])
        bias = bias + weight[:, drop] @ gate.mean(1)[drop]
        residual, skip = weight[:, keep].split(before)
        copy(
            new.output_projection,
            torch.cat([stream.T @ residual, skips.T @ skip]),
            torch.cat([stream.T @ bias[:before], skips.T @ bias[before:]]),
        )
        new.step_projection.weight.zero_()
        new.step_projection.bias.copy_(stream.T @ kept[f"step {i}"])
    last = teacher.output_projection.weight[:, :, 0]
    keep, drop = most(kept["output"], last, width)
    own = teacher.skip_projection
    copy(student.skip_projection, own.weight[keep][:, :, 0] @ skips, own.bias[keep])
    bias = teacher.output_projection.bias + last[:, drop] @ kept["output"].mean(1)[drop]
    copy(student.output_projection, last[:, keep], bias)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="run folder to write")
    parser.add_argument("--teacher", default="enhancer-16k", help="model to begin with")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_args(argv)
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_folder())):
        composed = compose("train", ["recipe=libri_noise_live", *options.overrides])
    config = {key: composed[key] for key in (*GROUPS, "data")}
    config = OmegaConf.to_container(OmegaConf.create(config), resolve=True)
    torch.manual_seed(0)  # of the embedding of the noise level, which is not taken over
    student = build_task({group: config[group] for group in GROUPS})
    teacher = Enhancer.from_pretrained(options.teacher)

    examples, _ = student.read(config["data"], 0)
    chosen = range(0, len(examples), max(1, len(examples) // EXAMPLES))
    batch = default_collate([examples[i] for i in list(chosen)[:EXAMPLES]])
    with torch.no_grad():
        kept, mel = activations(teacher, batch["noisy"])
    make_causal(student.network.network, teacher.network.network, kept, mel)
    with torch.no_grad():
        for new, old in zip(student.network.down, teacher.network.down, strict=True):
            new.weight.copy_(old.weight[:, :, :2])
            new.bias.copy_(old.bias)
        for new, old in zip(student.network.up, teacher.network.up, strict=True):
            new.weight.copy_(old.weight[:, :, 1:])  # transposed: present and past
            new.bias.copy_(old.bias)
        student.network.place.copy_(teacher.network.place)
    student.save_pretrained(options.output)
    print(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
