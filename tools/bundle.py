"""Make a bundled model of a trained run: its averaged weights in half precision.

    python tools/bundle.py runs/kathleen wavediff/pretrained/vocoder-en-22k

The model card, README.md beside the weights, is written by hand.
"""

import argparse
import sys
from pathlib import Path

import torch

from wavediff.cli import run
from wavediff.tasks.build import build_task
from wavediff.tasks.checkpoint import FILE_NAME, find_checkpoint, read_checkpoint, save_task
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
    options = parser.parse_args(argv)
    config, extra, state = read_checkpoint(find_checkpoint(options.run))
    if options.sampler is not None:
        config["sampler"] = sampler_config(options.sampler)
    if options.consistency is not None:
        config["task"]["consistency"] = options.consistency
    build_task(config)
    half = {
        name: value.to(torch.float16) if value.is_floating_point() else value
        for name, value in state.items()
    }
    target = options.output / FILE_NAME
    save_task(target, config, half, extra)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
