"""`wavediff bundle`: export a run as a checkpoint in half precision."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from wavediff.cli import run
from wavediff.commands.arguments import Parser, fraction
from wavediff.commands.outputs import require_new
from wavediff.errors import UserError
from wavediff.tasks.names import FILE_NAME, find_checkpoint, find_sampler

if TYPE_CHECKING:
    from torch import Tensor

DESCRIPTION = """\
Export the EMA weights of a run's last step as a checkpoint in half precision, of the size at which
models are bundled.
"""

EXAMPLES = """\
examples:
  wavediff bundle runs/kathleen -o vocoder-own
  wavediff bundle runs/fine_tuned -o enhancer-own --average enhancer-16k --share 0.4
  wavediff enhance noisy.wav -o clean.wav --checkpoint enhancer-own

The weights of a fine-tuned model may be averaged with those that it was initialised with: often it
keeps most of what it gained, and regains what it lost (Wortsman et al. 2022, "Robust fine-tuning of
zero-shot models", sec. 3).
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    arguments = parse(argv)
    if arguments.share is not None and arguments.average is None:
        raise UserError("--share is that of --average: give the model to average with")
    target = arguments.output / FILE_NAME
    require_new(target, arguments.overwrite)
    for model in (arguments.run, arguments.average):
        if model is not None:
            find_checkpoint(model)
    if arguments.sampler is not None:
        find_sampler(arguments.sampler)

    import torch

    from wavediff.tasks.build import build_task
    from wavediff.tasks.checkpoint import effort, read_checkpoint, save_task
    from wavediff.tasks.sampler import sampler_config

    config, extra, state = read_checkpoint(find_checkpoint(arguments.run))
    if arguments.average is not None:
        share = 0.5 if arguments.share is None else arguments.share
        _, other_extra, other = read_checkpoint(find_checkpoint(arguments.average))
        state = averaged(state, other, share)
        steps = effort(other_extra).get("step", 0)
        extra["averaged_with"] = f"the weights of step {steps:,.0f}, share {share:g}"
    if arguments.sampler is not None:
        config["sampler"] = sampler_config(arguments.sampler)
    if arguments.mel_iterations is not None:
        config["task"]["mel_iterations"] = arguments.mel_iterations
    build_task(config)
    half = {
        name: value.to(torch.float16) if value.is_floating_point() else value
        for name, value in state.items()
    }
    save_task(target, config, half, extra)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser("bundle", DESCRIPTION, EXAMPLES)
    parser.add_argument("run", metavar="RUN", help="a run folder or a model.safetensors")
    parser.add_output(f"folder to write {FILE_NAME} into", metavar="DIR")
    parser.add_option("--average", str, "MODEL", "average the weights with this model's")
    parser.add_option("--share", fraction, "S", "of MODEL in the average, 0 to 1 (default: 0.5)")
    parser.add_sampler()
    parser.add_mel_iterations()
    return parser.parse_args(argv)


def averaged(
    state: Mapping[str, Tensor], other: Mapping[str, Tensor], share: float
) -> dict[str, Tensor]:
    """Return ``state`` with this share of ``other`` in each weight; integers are ``state``'s.

    Raises:
        UserError: where the two are not weights of the same network.
    """
    import torch

    shapes = [{name: value.shape for name, value in weights.items()} for weights in (state, other)]
    if shapes[0] != shapes[1]:
        raise UserError(
            "--average: the two models have different weights, give one of the same network"
        )
    return {
        name: torch.lerp(value.float(), other[name].float(), share)
        if value.is_floating_point()
        else value
        for name, value in state.items()
    }


if __name__ == "__main__":
    sys.exit(run(main))
