"""`wavediff tune`: search the time grid for a given number of sampling steps."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wavediff.cli import run
from wavediff.commands.arguments import Parser, device, positive_int, require_model
from wavediff.commands.outputs import require_new
from wavediff.errors import UserError
from wavediff.inputs import find_audio
from wavediff.tasks.names import find_checkpoint

if TYPE_CHECKING:
    from torch import Tensor

    from wavediff.diffusion.condition import Condition
    from wavediff.diffusion.sampler import Sampler

DESCRIPTION = "Search the time grid for a given number of sampling steps."

EXAMPLES = """\
examples:
  wavediff tune runs/ljspeech --steps 6 --from held-out/ -o tuned.safetensors
  wavediff tune runs/enhance --steps 4 --sampler dpmpp_2m --from noisy/ -o tuned.safetensors
  wavediff tune runs/notes --steps 8 -o tuned.safetensors      a generator needs no audio
  wavediff vocode mels/ -o audio/ --checkpoint tuned.safetensors

The grid is searched on a reference run of many steps over a few examples. The checkpoint OUT has
the same weights; its sampler takes N steps at the times found, unless --sampler or --steps say
otherwise. stdout gets the loss of both grids: the distance of N steps from the end of the reference
run, relative to its root mean square, with noise that the search has not seen.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    arguments = parse(argv)
    output = arguments.output
    if output.suffix != ".safetensors":
        raise UserError(f"cannot write {output}: give the name of a .safetensors file")
    require_new(output, arguments.overwrite)
    require_model(arguments)
    files = None if arguments.audio is None else find_audio(arguments.audio)

    from wavediff.diffusion import search
    from wavediff.diffusion.noise import ItemNoise
    from wavediff.tasks.build import build_task
    from wavediff.tasks.checkpoint import load_task, read_checkpoint, save_task
    from wavediff.tasks.sampler import sampler_config
    from wavediff.tasks.task import DiffusionTask

    path = find_checkpoint(arguments.checkpoint)
    task = load_task(path).to(device(arguments))
    if not isinstance(task, DiffusionTask) or not task.tunable:
        raise UserError(f"{task.title} is not sampled in steps of audio: there is nothing to tune")
    config, extra, state = read_checkpoint(path)
    if arguments.sampler is not None:
        config["sampler"] = sampler_config(arguments.sampler)
    sampler = task.with_sampler(arguments.sampler, arguments.steps)
    batch = crops(task, files, arguments.examples)

    def drawn(first: int) -> tuple[Tensor, Condition]:
        count = len(batch["audio"])
        noise = ItemNoise(arguments.seed, range(first, first + count))
        z, cond = task.examples(batch, noise)
        return z, task.denoiser.prepare(cond)

    methods = {"dp": search.dynamic_programming, "straightness": search.equal_straightness}
    reference = search.reference_run(task.denoiser, *drawn(0))
    grids = {
        "before": sampler.grid(task.denoiser.schedule),
        arguments.method: methods[arguments.method](reference, arguments.steps),
    }
    losses = grid_losses(task.denoiser, sampler, drawn(len(batch["audio"])), grids)
    for name, grid in grids.items():
        times = " ".join(f"{t:.4g}" for t in grid.tolist())
        print(f"{name:12}  loss {losses[name]:.4f}  times {times}")
    best = min(grids, key=losses.__getitem__)
    if best == "before":
        print("the search found no better grid: the times are unchanged", file=sys.stderr)
    config["sampler"]["times"] = {
        "_target_": "wavediff.diffusion.times.fixed",
        "times": grids[best].tolist(),
    }
    build_task(config)
    save_task(arguments.output, config, state, extra | {"tuned": best, "tuned_loss": losses[best]})
    print(f"{arguments.output} samples in {arguments.steps} steps by default", file=sys.stderr)
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser("tune", DESCRIPTION, EXAMPLES)
    parser.add_argument(
        "checkpoint", metavar="MODEL", help="a run folder, a file, or a bundled model"
    )
    parser.add_output("a .safetensors file")
    parser.add_argument(
        "--method",
        choices=["dp", "straightness"],
        default="dp",
        help="dp: dynamic programming; straightness: equal changes of direction (default: dp)",
    )
    parser.add_argument(
        "--from",
        dest="audio",
        nargs="+",
        metavar="AUDIO",
        help="files, folders or quoted globs: speech for a vocoder, noisy speech for an enhancer",
    )
    parser.add_option("--examples", positive_int, "N", "how many", default=4)
    parser.add_sampling(required=True, help="sampling steps")
    return parser.parse_args(argv)


def crops(task: Any, files: list[Path] | None, count: int) -> dict[str, Tensor]:
    """Examples as in training, ``audio`` and ``noisy [n, 1, crop_length]`` the same signal.

    The loudest part of each of so many files, spread over all; silence for a generator.

    Raises:
        UserError: without audio for a model that is conditioned on it.
    """
    import torch

    length = task.crop_length
    if files is None:
        if task.command != "generate":
            raise UserError(f"this model, {task.title}, is tuned on recordings: give --from AUDIO")
        audio = torch.zeros(count, 1, length)
    else:
        count = min(count, len(files))
        chosen = [files[k * len(files) // count] for k in range(count)]
        audio = torch.stack([loudest(file, task.sample_rate, length) for file in chosen])
    batch = {"audio": audio, "noisy": audio}
    if task.labels:
        batch["label"] = torch.arange(count) % task.labels
    return {name: value.to(task.device) for name, value in batch.items()}


def loudest(file: Path, sample_rate: int, length: int) -> Tensor:
    """``[1, length]`` of an audio file, where it has most energy; short ones end in silence.

    Raises:
        BadAudio: where it cannot be read.
    """
    from torch.nn import functional as F

    from wavediff.data.audio import read_audio

    audio, _ = read_audio(file, sample_rate=sample_rate)
    audio = F.pad(audio, (0, max(0, length - audio.shape[-1])))
    pieces = audio[0].unfold(0, length, max(1, length // 2))
    return pieces[pieces.square().sum(1).argmax()][None]


def grid_losses(
    denoiser: Any, sampler: Sampler, drawn: tuple[Tensor, Condition], grids: Mapping[str, Tensor]
) -> dict[str, float]:
    """Return the distance of each grid's samples from a reference run's, over its root mean square.

    A sampler that adds noise ends elsewhere by nature: DDIM is used instead.
    """
    import torch

    from wavediff.diffusion.ddim import DDIM
    from wavediff.diffusion.sampler import Sampler
    from wavediff.diffusion.search import reference_run

    z, cond = drawn
    losses = {}
    with torch.no_grad():
        end = reference_run(denoiser, z, cond).x[-1]
        for name, grid in grids.items():
            on_grid = DDIM(grid) if sampler.stochastic else Sampler(sampler.method, grid)
            sample = on_grid(denoiser, z, cond)
            error = (sample - end).square().mean() / end.square().mean()
            losses[name] = float(error.sqrt())
    return losses


if __name__ == "__main__":
    sys.exit(run(main))
