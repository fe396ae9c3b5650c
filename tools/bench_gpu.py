"""Speed and correctness on a GPU, in under eight minutes, as Markdown tables.

    python tools/bench_gpu.py --out gpu.md
    python tools/bench_gpu.py --peer diffwave --out gpu.md     # beside lmnt-com/diffwave
    python tools/bench_gpu.py --device cpu --reduced           # that it runs, without a GPU

- The card: speed of a large matrix product and of a large copy.
- Outputs of the bundled models compared with those on the CPU, with the same noise.
- DiffWave BASE and LARGE, six sampling steps and a training step: in float32, TF32 and bfloat16,
  with CUDA graphs, the Triton gate, channels innermost in memory, compiled.
- The bundled models and NCSN++ (recipe voicebank_sgmse) through their Python API, and a training
  step as ``wavediff train`` does it.

The limits of DiffWave are those of tools/bench_vocoder.py. A row that fails says why, and the next
one follows. Each row is written as it is measured: what the time limit cuts off comes last.
"""

import argparse
import copy
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import bench_vocoder
import torch
from bench_vocoder import HOP, SIZES, Rates, limits, measured_rates, peer_modules, same_weights
from gpu_rows import (
    COMPILED,
    GATE,
    GRAPH,
    INNERMOST,
    PRECISIONS,
    Measured,
    Mode,
    Report,
    cells,
    check_recorded,
    measured,
    set_up,
    settings,
)  # fmt: skip
from machine import machine
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F

from wavediff.cli import run
from wavediff.commands.composing import composed
from wavediff.diffusion import Denoiser
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.preconditioning import eps
from wavediff.diffusion.sampler import Sampler
from wavediff.diffusion.schedule import Schedule, linear
from wavediff.errors import UserError
from wavediff.networks.diffwave import DiffWave
from wavediff.tasks.build import build_task
from wavediff.tasks.checkpoint import load_task
from wavediff.tasks.sampler import sampler_by_name
from wavediff.training.config import trainer_config
from wavediff.training.distributed import World
from wavediff.training.learner import Learner
from wavediff.training.optim import configured_optimizer

BANDS = bench_vocoder.BANDS
BUNDLED = ("vocoder-en-22k", "enhancer-16k", "enhancer-live-16k", "forecaster")
PLAIN = [Mode(precision) for precision in PRECISIONS]
GRAPHS = [Mode("TF32", (GRAPH,)), Mode("bfloat16", (GRAPH,))]
FAST = [
    Mode("bfloat16", (GRAPH,)),
    Mode("bfloat16", (GATE,)),
    Mode("bfloat16", (INNERMOST,)),
    Mode("bfloat16", (GATE, INNERMOST)),
    Mode("bfloat16", (GRAPH, GATE)),
    Mode("bfloat16", (GRAPH, GATE, INNERMOST)),
    Mode("TF32", (INNERMOST,)),
    Mode("TF32", (GRAPH, GATE)),
]


# DiffWave


class Vocoding(NamedTuple):
    """A network with what samples it."""

    network: nn.Module
    schedule: Schedule
    sampler: Sampler


def diffwave(size: str, peer: Any, folder: Path) -> Vocoding:
    """DiffWave with random weights, those of lmnt's network if there is one."""
    if peer is not None:
        model, inference = peer
        inference.base_params.update(residual_channels=SIZES[size])
        ours = same_weights(model, inference, inference.base_params, folder)[1]
        return Vocoding(ours.network, ours.denoiser.schedule, ours.sampler)
    torch.manual_seed(0)
    network = DiffWave(local_channels=BANDS, upsample=HOP, width=SIZES[size], embedding="table")
    nn.init.normal_(network.output_projection.weight, std=0.05)
    return Vocoding(network, linear(50, 1e-4, 0.05), sampler_by_name("diffwave_fast"))


def sampling_call(own: Vocoding, device: torch.device, seconds: float) -> Callable[[], Tensor]:
    """Samples ``seconds`` of audio."""
    torch.manual_seed(1)
    mel = torch.rand(1, BANDS, int(seconds * 22050 / HOP), device=device)
    denoiser = Denoiser(own.network, own.schedule, eps)

    @torch.no_grad()
    def call() -> Tensor:
        torch.manual_seed(2)
        z = torch.randn(1, 1, HOP * mel.shape[-1], device=device)
        return own.sampler(denoiser, z, denoiser.prepare(Condition(local=mel)))[:, 0]

    return call


def training_call(own: Vocoding, device: torch.device, batch: int) -> Callable[[], Tensor]:
    """Trains for a step."""
    mel = torch.rand(batch, BANDS, bench_vocoder.CROP, device=device)
    noise, noisy = torch.randn(2, batch, 1, HOP * mel.shape[-1], device=device)
    step = torch.randint(0, 50, (batch,), device=device).float()
    optimizer = torch.optim.Adam(own.network.parameters(), lr=2e-4, fused=True)

    def call() -> Tensor:
        optimizer.zero_grad()
        loss = F.l1_loss(own.network(noisy, step, Condition(local=mel)), noise)
        loss.backward()
        nn.utils.clip_grad_norm_(own.network.parameters(), 1.0)
        optimizer.step()
        return loss.detach()

    return call


def diffwave_row(
    own: Vocoding, case: tuple[str, str], mode: Mode, options: argparse.Namespace, rates: Rates
) -> list[str]:
    device, train = torch.device(options.device), case[1] == "training"
    own = own._replace(network=copy.deepcopy(own.network).to(device))
    with settings(mode, device, train):
        set_up(own.network, mode, device, train)
        call = (
            training_call(own, device, options.batch)
            if train
            else sampling_call(own, device, options.seconds)
        )
        found = measured(call, device, options.reduced)
        check_recorded(own.network, mode)
    return with_limits(found, case, mode, options, rates)


def with_limits(
    found: Measured, case: tuple[str, str], mode: Mode, options: argparse.Namespace, rates: Rates
) -> list[str]:
    size, work = case
    crops = options.batch * bench_vocoder.CROP * HOP / 22050
    audio = crops if work == "training" else options.seconds
    return cells(found, audio, limits((size, work, mode.precision), rates, options))


def peer_row(
    peer: Any, case: tuple[str, str], mode: Mode, options: argparse.Namespace, rates: Rates,
    folder: Path,
) -> list[str]:  # fmt: skip
    """lmnt's network with the same weights, and the largest difference of the outputs."""
    size, work = case
    (model, inference), device = peer, torch.device(options.device)
    params = inference.base_params
    params.update(residual_channels=SIZES[size])
    path, ours = same_weights(model, inference, params, folder)
    inference.models.clear()
    with (
        settings(mode, device, work == "training"),
        torch.autocast(device.type, torch.bfloat16, enabled=mode.precision == "bfloat16"),
    ):
        if work == "training":
            calls = bench_vocoder.training(model, params, ours, device, options.batch)
            found = measured(calls["lmnt"], device, options.reduced)
            return with_limits(found, case, mode, options, rates)
        calls = bench_vocoder.sampling(
            path, inference, params, ours, options.device, options.seconds
        )
        found = measured(calls["lmnt"], device, options.reduced)
        difference = (calls["wavediff"]() - found.result).abs().max().item()
    return [*with_limits(found, case, mode, options, rates), f"differs by {difference:.0e}"]


# models


def use(task: Any, options: argparse.Namespace) -> tuple[Callable[[], Tensor], float]:
    """(a call as a user makes it, seconds of audio or number of series)."""
    torch.manual_seed(3)
    seconds, few = options.model_seconds, {"steps": 2} if options.reduced else {}
    if hasattr(task, "forecast"):
        count = options.series
        values = torch.randn(count, 512).cumsum(1)
        periods = torch.tensor([[24, 168]]).expand(count, 2)
        return lambda: task.forecast(values, periods, 24, 100 // count), count
    if task.command == "vocode":
        audio = 0.1 * torch.randn(1, 1, int(seconds * task.sample_rate))
        mel = task.analyse(audio)[0]
        return lambda: task(mel, **few), seconds
    audio = 0.1 * torch.randn(int(seconds * task.sample_rate))
    return lambda: task(audio, task.sample_rate, **few), seconds


def outputs_row(name: str, mode: Mode, options: argparse.Namespace) -> list[str]:
    """Largest difference from the CPU's output in float32, and its level below the output."""
    device = torch.device(options.device)
    reference = use(load_task(name), options)[0]().float()
    task = load_task(name)
    call, _ = use(task, options)
    with settings(mode, device, False):
        task.to(device)
        set_up(task.network, mode, device, False)
        for _ in range(3 if GRAPH in mode.how else 1):
            found = call().cpu().float()
        check_recorded(task.network, mode)
    error = found - reference
    level = 20 * torch.log10(error.norm() / reference.norm()).item()
    return [f"{error.abs().max():.1e}", f"{reference.abs().max():.2g}", f"{level:.0f}"]


def model_of(name: str) -> Any:
    """A bundled model, or one of a recipe with random weights."""
    if name in BUNDLED:
        return load_task(name)
    config: Any = OmegaConf.to_container(composed([f"recipe={name}"]), resolve=True)
    torch.manual_seed(0)
    task = build_task(config)
    return task.eval()


def use_row(name: str, mode: Mode, options: argparse.Namespace) -> list[str]:
    device, task = torch.device(options.device), model_of(name)
    call, amount = use(task, options)
    with settings(mode, device, False):
        task.to(device)
        set_up(task.network, mode, device, False)
        found = measured(call, device, options.reduced)
        check_recorded(task.network, mode)
    return cells(found, amount)


def learn_row(name: str, mode: Mode, options: argparse.Namespace) -> list[str]:
    """A training step with everything that ``wavediff train`` does in one."""
    device, task, batch = torch.device(options.device), model_of(name), options.model_batch
    words = [f"trainer.precision={PRECISIONS[mode.precision].value}", "recipe=tiny"]
    words += [f"trainer.batch_size={batch}", f"trainer.compile={COMPILED in mode.how}"]
    config = composed(words)
    make: Any = partial(configured_optimizer, OmegaConf.to_container(config.optimizer))
    index = torch.arange(batch)
    if hasattr(task, "forecast"):
        horizon, length = 64, 128 if options.reduced else 576
        data = {
            "values": torch.randn(batch, length).cumsum(1),
            "horizon": torch.full((batch,), horizon),
            "periods": torch.tensor([[24, 168]]).expand(batch, 2),
        }
    else:
        length = task.crop_length // (4 if options.reduced else 1)
        audio, noise = 0.1 * torch.randn(2, batch, 1, length)
        data = {"audio": audio, "noisy": audio + noise}
    with settings(mode, device, True):
        learner = Learner(task, trainer_config(config.trainer), World(0, 1, device), make, 0)
        loaded = iter(lambda: data | {"index": index}, None)
        found = measured(lambda: learner.learn(0, loaded), device, options.reduced)
    return cells(found, batch)


# the whole


def rates_of(options: argparse.Namespace) -> Rates:
    """Speeds of the device; TF32 beside float32 where there is one."""
    device, sizes = torch.device(options.device), (128, 1 << 16) if options.reduced else ()
    found = {}
    for precision in ("float32", "TF32"):
        with settings(Mode(precision), device, False):
            found[precision] = measured_rates(options.device, options.threads, *sizes)
    operations = found["float32"].operations | {"TF32": found["TF32"].operations["float32"]}
    return Rates(operations, found["float32"].memory)


def bench(options: argparse.Namespace, report: Report, peer: Any, folder: Path) -> None:
    cuda = options.device == "cuda"
    name = torch.cuda.get_device_name() if cuda else machine(options.threads)
    rates = rates_of(options)
    speeds = ", ".join(f"{key} {x / 1e12:.2f} TFLOP/s" for key, x in rates.operations.items())
    name = f"{name}, torch {torch.__version__}" if cuda else name
    report.say(f"{name}: matrix product {speeds}, copy {rates.memory / 1e9:.0f} GB/s")

    few = options.reduced
    modes = PLAIN[:1] if few else [*PLAIN, GRAPHS[0]]
    columns = "largest difference", "largest value", "error (dB)"
    title = "Outputs compared with the CPU in float32"
    report.section(title, "model", "precision", "execution", *columns)
    for model, mode in product(BUNDLED, modes):
        report.row([model, mode.precision, str(mode)], partial(outputs_row, model, mode, options))

    timing = ("network", "work", "precision", "execution", "ms")
    shares = ("x real time", "of arithmetic limit", "of memory limit", "peak GB")

    def diffwave_rows(sizes: Sequence[str], modes: Sequence[Mode], beside: Any = None) -> None:
        for size, work in product(sizes, ("sampling", "training")):
            own, case = diffwave(size, peer, folder), (size, work)
            for mode in modes:
                if work == "training" and GRAPH in mode.how:
                    continue
                names = [size.upper(), work, mode.precision, str(mode)]
                report.row(names, partial(diffwave_row, own, case, mode, options, rates))
            for mode in PLAIN if beside is not None else ():
                names = [size.upper(), work, mode.precision, "lmnt"]
                report.row(names, partial(peer_row, beside, case, mode, options, rates, folder))

    step = f"training step of {options.batch} x {bench_vocoder.CROP} frames"
    report.section(f"DiffWave: 6 steps for {options.seconds:g} s, {step}", *timing, *shares)
    diffwave_rows(["base"] if few else list(SIZES), [*PLAIN, *FAST], peer)

    report.section(
        f"Models: {options.model_seconds:g} s of audio or {options.series} series, training step "
        f"of {options.model_batch}", *timing, "seconds or items per s", "peak GB",
    )  # fmt: skip
    models = BUNDLED[2:] if few else [*BUNDLED, "voicebank_sgmse"]
    plain = PLAIN[:1] if few else PLAIN
    for model, mode in product(models, [*plain, *GRAPHS]):
        names = [model, "use", mode.precision, str(mode)]
        report.row(names, partial(use_row, model, mode, options))
    for model, mode in product(models, plain):
        names = [model, "training", mode.precision, str(mode)]
        report.row(names, partial(learn_row, model, mode, options))
    if few:
        return
    compiled = Mode("bfloat16", (COMPILED,))
    report.section("DiffWave, compiled", *timing, *shares)
    diffwave_rows(list(SIZES), [compiled])
    report.section("NCSN++, compiled", *timing, "items per s", "peak GB")
    names = ["voicebank_sgmse", "training", "bfloat16", COMPILED]
    report.row(names, partial(learn_row, "voicebank_sgmse", compiled, options))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--reduced", action="store_true", help="tiny shapes, few rows")
    parser.add_argument("--minutes", type=float, default=8.0, help="time limit (default: 8)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the tables there too")
    parser.add_argument("--peer", type=Path, metavar="FOLDER", help="checkout of lmnt-com/diffwave")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args(argv)
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no GPU that torch can use: give --device cpu --reduced")
    options.seconds, options.batch = (0.05, 1) if options.reduced else (1.0, 16)
    options.model_seconds, options.model_batch = (0.5, 1) if options.reduced else (10.0, 8)
    options.series = 2 if options.reduced else 32
    if options.reduced:
        bench_vocoder.CROP = 2
    peer = None if options.peer is None else peer_modules(options.peer)
    report = Report(options.out, options.minutes, torch.device(options.device))
    with tempfile.TemporaryDirectory() as folder:
        bench(options, report, peer, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
