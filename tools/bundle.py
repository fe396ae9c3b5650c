"""Make a bundled model of a trained run: the EMA weights of its last step in half precision.

    python tools/bundle.py runs/kathleen wavediff/pretrained/vocoder-en-22k
    python tools/bundle.py runs/fine_tuned enhancer-own --average enhancer-16k --share 0.4
    wavediff enhance noisy.wav -o clean.wav --checkpoint enhancer-own

A fine-tuned model's weights may be averaged with those that it began with: often it keeps most of
what it gained, and what it lost comes back (Wortsman et al. 2022, "Robust fine-tuning of zero-shot
models", sec. 3). The model card, README.md beside the weights, is written by hand.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from wavediff.cli import run
from wavediff.errors import UserError
from wavediff.tasks.build import build_task
from wavediff.tasks.checkpoint import (
    FILE_NAME,
    effort,
    find_checkpoint,
    read_checkpoint,
    save_task,
)
from wavediff.tasks.sampler import sampler_config


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="a run folder or a model.safetensors")
    parser.add_argument("output", type=Path, help="the folder of the bundled model")
    parser.add_argument(
        "--consistency", type=int, help="instead of the run's own number of iterations"
    )
    parser.add_argument("--sampler", help="instead of the run's own: a name in conf/sampler")
    parser.add_argument("--average", metavar="MODEL", help="average the weights with this model's")
    parser.add_argument(
        "--share", type=float, help="of MODEL in the average, 0 to 1 (default: 0.5)"
    )
    options = parser.parse_args(argv)
    if options.share is not None and options.average is None:
        raise UserError("--share is that of --average: give the model to average with")
    share = 0.5 if options.share is None else options.share
    config, extra, state = read_checkpoint(find_checkpoint(options.run))
    if options.average is not None:
        _, other_extra, other = read_checkpoint(find_checkpoint(options.average))
        state = averaged(state, other, share)
        steps = effort(other_extra).get("step", 0)
        extra["averaged_with"] = f"the weights of step {steps:,.0f}, share {share:g}"
    if options.sampler is not None:
        config["sampler"] = sampler_config(options.sampler)
    if options.consistency is not None:
        config["task"]["mel_iterations"] = options.consistency
    build_task(config)
    half = {
        name: value.to(torch.float16) if value.is_floating_point() else value
        for name, value in state.items()
    }
    target = options.output / FILE_NAME
    save_task(target, config, half, extra)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")
    return 0


def averaged(
    state: Mapping[str, Tensor], other: Mapping[str, Tensor], share: float
) -> dict[str, Tensor]:
    """``state`` with this share of ``other`` in each weight; whole numbers are ``state``'s.

    Raises:
        UserError: where the two are not weights of the same network, or the share is no share.
    """
    if not 0 <= share <= 1:
        raise UserError(f"--share {share:g}: give a number from 0 to 1")
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
