"""`wavediff tune`: the best times for a given number of sampling steps, kept in the checkpoint."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from wavediff.cli import run
from wavediff.commands.arguments import Parser, device, positive, require_writable
from wavediff.data.audio import find_audio, read_audio
from wavediff.diffusion import search
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.ddim import DDIM
from wavediff.diffusion.noise import ItemNoise
from wavediff.diffusion.sampler import Sampler
from wavediff.errors import UserError
from wavediff.tasks.build import build_task
from wavediff.tasks.checkpoint import find_checkpoint, load_task, read_checkpoint, save_task
from wavediff.tasks.sampler import sampler_config, sampler_names

METHODS = {"dp": search.dynamic_programming, "straightness": search.equal_straightness}

EXAMPLES = """\
examples:
  wavediff tune runs/ljspeech --steps 6 --from held-out/ -o tuned.safetensors
  wavediff tune runs/enhance --steps 4 --sampler dpmpp_2m --from noisy/ -o tuned.safetensors
  wavediff tune runs/notes --steps 8 -o tuned.safetensors      a generator needs no audio
  wavediff vocode mels/ -o audio/ --checkpoint tuned.safetensors

A fine run of the model over a few examples shows where its steps must be short. The checkpoint OUT
has the same weights; its sampler takes N steps at the times found, unless told otherwise by
--sampler or --steps. stdout gets both grids' loss: how far N steps end from the fine run, relative
to its own size, with noise that the search has not seen.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    arguments = parse(argv)
    output = arguments.output.expanduser()
    check_output(output, arguments.overwrite)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    path = find_checkpoint(arguments.checkpoint)
    task = load_task(path).to(device(arguments.device))
    if not task.tunable:
        raise UserError(f"{task.title} is not sampled in steps of audio: there is nothing to tune")
    config, extra, state = read_checkpoint(path)
    if arguments.sampler is not None:
        config["sampler"] = sampler_config(arguments.sampler)
    sampler = task.with_sampler(arguments.sampler, arguments.steps)
    batch = crops(task, arguments)

    def drawn(first: int) -> tuple[Tensor, Condition]:
        count = len(batch["audio"])
        noise = ItemNoise(arguments.seed, range(first, first + count))
        z, cond = task.examples(batch, noise)
        return z, task.denoiser.prepare(cond)

    reference = search.reference_run(task.denoiser, *drawn(0))
    grids = {
        "before": sampler.grid(task.denoiser.schedule),
        arguments.method: METHODS[arguments.method](reference, arguments.steps),
    }
    losses = grid_losses(task.denoiser, sampler, drawn(len(batch["audio"])), grids)
    for name, grid in grids.items():
        times = " ".join(f"{t:.4g}" for t in grid.tolist())
        print(f"{name:12}  loss {losses[name]:.4f}  times {times}")
    best = min(grids, key=losses.__getitem__)
    if best == "before":
        print("the search found nothing better: the times of before are kept", file=sys.stderr)
    config["sampler"]["times"] = {
        "_target_": "wavediff.diffusion.times.fixed",
        "times": grids[best].tolist(),
    }
    build_task(config)
    save_task(output, config, state, extra | {"tuned": best, "tuned_loss": losses[best]})
    print(f"{output} samples in {arguments.steps} steps by default", file=sys.stderr)
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(
        prog="wavediff tune",
        description="Find the best times for a given number of sampling steps.",
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add("checkpoint", metavar="MODEL", help="a run folder, a file, or a bundled model")
    add("-o", "--output", type=Path, required=True, metavar="OUT", help="a .safetensors file")
    add("--steps", type=positive, required=True, metavar="N", help="steps that may be taken")
    add(
        "--method",
        choices=list(METHODS),
        default="dp",
        help="dp: dynamic programming; straightness: equal changes of direction (default: dp)",
    )
    add(
        "--sampler",
        metavar="NAME",
        help=f"one of {', '.join(sampler_names())} (default: the checkpoint's own)",
    )
    add(
        "--from",
        dest="audio",
        nargs="+",
        metavar="AUDIO",
        help="files, folders or quoted globs: speech for a vocoder, noisy speech for an enhancer",
    )
    add("--examples", type=positive, default=4, metavar="N", help="how many (default: 4)")
    add("--seed", type=int, default=0, metavar="N", help="of the noise (default: 0)")
    add(
        "--device",
        choices=["auto", "cpu", "cuda"],
        default="auto",
        help="auto takes a GPU where there is one (default: auto)",
    )
    add("--threads", type=positive, metavar="N", help="CPU threads (default: one per core)")
    add("--overwrite", action="store_true", help="replace OUT where it exists")
    return parser.parse_args(argv)


def check_output(output: Path, overwrite: bool) -> None:
    """Raises UserError, before the work, for a file that cannot be written."""
    if output.suffix != ".safetensors" or output.is_dir():
        raise UserError(f"the tuned model is a file: give it a name in .safetensors, not {output}")
    if output.exists() and not overwrite:
        raise UserError(f"{output} exists already: give --overwrite to replace it")
    require_writable(output.parent)


def crops(task: Any, arguments: argparse.Namespace) -> dict[str, Tensor]:
    """Examples as in training, ``audio`` and ``noisy [n, 1, crop_length]`` the same signal.

    The loudest part of each of so many files, spread over all; silence for a generator.

    Raises:
        UserError: without audio for a model that is conditioned on it.
    """
    length, count = task.crop_length, arguments.examples
    if arguments.audio is None:
        if task.command != "generate":
            raise UserError(
                f"this model, a {type(task).__name__}, is tuned on recordings: give --from AUDIO"
            )
        audio = torch.zeros(count, 1, length)
    else:
        files = find_audio(arguments.audio)
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
    audio, _ = read_audio(file, sample_rate=sample_rate)
    audio = F.pad(audio, (0, max(0, length - audio.shape[-1])))
    pieces = audio[0].unfold(0, length, max(1, length // 2))
    return pieces[pieces.square().sum(1).argmax()][None]


@torch.no_grad()
def grid_losses(
    denoiser: Any,
    sampler: Sampler,
    drawn: tuple[Tensor, Condition],
    grids: Mapping[str, Tensor],
) -> dict[str, float]:
    """How far each grid's samples end from a fine run's, over its root mean square.

    A sampler that adds noise ends elsewhere by nature: DDIM stands in for it.
    """
    z, cond = drawn
    end = search.reference_run(denoiser, z, cond).x[-1]
    losses = {}
    for name, grid in grids.items():
        on_grid = DDIM(grid) if sampler.stochastic else Sampler(sampler.method, grid)
        sample = on_grid(denoiser, z, cond)
        error = (sample - end).square().mean() / end.square().mean()
        losses[name] = float(error.sqrt())
    return losses


if __name__ == "__main__":
    sys.exit(run(main))
