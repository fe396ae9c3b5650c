"""Speed of DiffWave compared with lmnt-com/diffwave: same weights, alternating processes.

    git clone https://github.com/lmnt-com/diffwave
    python tools/bench_vocoder.py --peer diffwave

BASE (64 channels) and LARGE (128), in float32 and bfloat16 (autocast): six fast sampling steps on
one random mel, and one training step (forward, L1 loss, backward, Adam) on --batch examples of 62
frames. Prints the median seconds of both, the ratio theirs / ours, that of theirs in float32 to
ours, and the largest difference of the outputs for the same noise.

The limits are what the arithmetic of our network takes at the speed of a large matrix product, and
what its memory traffic takes at the speed of a large copy, if every block read and wrote its input,
condition, output and skip connection once, and nothing else (three times that for a training step).
Convolutions may be faster than PyTorch's matrix product, and small signals stay in the cache.
"""

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import product
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from machine import machine
from torch import nn
from torch.nn import functional as F

from wavediff.cli import run
from wavediff.diffusion.condition import Condition
from wavediff.errors import UserError
from wavediff.memory import keep_freed
from wavediff.tasks.build import build_task
from wavediff.tasks.importers import read_foreign
from wavediff.tasks.vocoder import Vocoder

HOP, BANDS, CROP = 256, 80, 62
SIZES = {"base": 64, "large": 128}  # name: channels
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
COLUMNS = (
    "network, work, precision", "lmnt s", "ours s", "ratio", "to lmnt in float32", "arithmetic s",
    "memory s", "largest difference",
)  # fmt: skip
WORKS = {"sampling": "6 steps", "training": "training step"}


class Timing(NamedTuple):
    """Median seconds of both, and the largest difference of their results."""

    theirs: float
    ours: float
    difference: float


class Rates(NamedTuple):
    """What a device does in a second: operations by precision, and bytes of memory traffic."""

    operations: dict[str, float]
    memory: float


def peer_modules(folder: Path) -> tuple[ModuleType, ModuleType]:
    """Modules (model, inference) of lmnt-com/diffwave."""
    if not (folder / "src" / "diffwave" / "model.py").is_file():
        raise UserError(f"{folder} is not a checkout of lmnt-com/diffwave")
    sys.path.insert(0, str(folder / "src"))
    from diffwave import inference, model

    return model, inference


def same_weights(
    model: ModuleType, inference: ModuleType, params: Any, folder: Path
) -> tuple[Path, Vocoder]:
    """(checkpoint of theirs with random weights, our vocoder with the same weights)."""
    torch.manual_seed(0)
    theirs = model.DiffWave(params)
    nn.init.normal_(theirs.output_projection.weight, std=0.05)
    path = folder / "weights.pt"
    torch.save({"model": theirs.state_dict(), "step": 0}, path)
    foreign = read_foreign(path)
    ours = build_task(foreign.config)
    ours.network.load_state_dict(foreign.state)
    return path, ours.eval()


def serve(pipe: Connection, name: str, options: argparse.Namespace) -> None:
    """Run one of the two in its own process, configured as for its users.

    For each (size, work, precision, device) received, send the seconds and the result of a call;
    None ends the process.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    if name == "wavediff":
        keep_freed()  # as `wavediff train` does
    model, inference = peer_modules(options.peer)
    made: tuple[Any, Callable[[], torch.Tensor]] | None = None
    with tempfile.TemporaryDirectory() as folder:
        while (wanted := pipe.recv()) is not None:
            size, work, precision, device = wanted
            if made is None or made[0] != wanted:
                params = inference.base_params  # their sampling reads no other
                params.update(residual_channels=SIZES[size])
                path, ours = same_weights(model, inference, params, Path(folder))
                inference.models.clear()
                calls = (
                    training(model, params, ours, torch.device(device), options.batch)
                    if work == "training"
                    else sampling(path, inference, params, ours, device, options.seconds)
                )
                made = wanted, calls[name]
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
                pipe.send(timed(made[1], device == "cuda"))


def timed(call: Callable[[], torch.Tensor], cuda: bool) -> tuple[float, np.ndarray]:
    """Call and return (seconds, result)."""
    if cuda:
        torch.cuda.synchronize()
    began = time.perf_counter()
    result = call()
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - began, result.float().cpu().numpy()


def sampling(
    path: Path, inference: ModuleType, params: Any, ours: Vocoder, device: str, seconds: float
) -> dict[str, Callable[[], torch.Tensor]]:
    """Calls of both that sample ``seconds`` of audio in six steps."""
    torch.manual_seed(1)
    mel = torch.rand(1, BANDS, int(seconds * ours.sample_rate / HOP), device=device)
    ours = ours.to(device)

    def call_theirs() -> torch.Tensor:
        torch.manual_seed(2)
        audio, _ = inference.predict(
            mel, model_dir=path, params=params, device=torch.device(device), fast_sampling=True
        )
        return audio

    @torch.no_grad()
    def call_ours() -> torch.Tensor:
        torch.manual_seed(2)
        z = torch.randn(1, 1, HOP * mel.shape[-1], device=device)
        cond = ours.denoiser.prepare(Condition(local=mel))
        return ours.sampler(ours.denoiser, z, cond)[:, 0]

    return {"lmnt": call_theirs, "wavediff": call_ours}


def training(
    model: ModuleType, params: Any, ours: Vocoder, device: torch.device, batch: int
) -> dict[str, Callable[[], torch.Tensor]]:
    """Calls of both that train for one step on the same batch."""
    torch.manual_seed(3)
    theirs = model.DiffWave(params).to(device)
    ours = ours.to(device)
    mel = torch.rand(batch, BANDS, CROP, device=device)
    noise, noisy = torch.randn(2, batch, HOP * CROP, device=device)
    index = torch.randint(0, 50, (batch,), device=device)
    fused = torch.optim.Adam(ours.network.parameters(), lr=2e-4, fused=True)
    plain = torch.optim.Adam(theirs.parameters(), lr=2e-4)

    def step(forward: Callable[[], torch.Tensor], optimizer: torch.optim.Optimizer) -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.l1_loss(forward(), noise)
        loss.backward()
        nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
        optimizer.step()
        return loss.detach()

    return {
        "lmnt": lambda: step(lambda: theirs(noisy, index, mel)[:, 0], plain),
        "wavediff": lambda: step(
            lambda: ours.network(noisy[:, None], index.float(), Condition(local=mel))[:, 0], fused
        ),
    }


def compare(case: tuple[str, str, str], device: str, options: argparse.Namespace) -> Timing:
    """Time both alternately, ``repeats`` times after a warm-up."""
    seconds: dict[str, list[float]] = {"lmnt": [], "wavediff": []}
    results = {}
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        pipes = {}
        for name in seconds:
            pipes[name], end = context.Pipe()
            worker = context.Process(target=serve, args=(end, name, options), daemon=True)
            worker.start()
            end.close()
            stack.callback(worker.join)
            stack.callback(pipes[name].send, None)
        for repeat in range(options.repeats + 1):
            for name, pipe in pipes.items():
                pipe.send((*case, device))
                taken, results[name] = pipe.recv()
                if repeat:
                    seconds[name].append(taken)
    theirs, ours = (statistics.median(values) for values in seconds.values())
    return Timing(theirs, ours, float(np.abs(results["lmnt"] - results["wavediff"]).max()))


def limits(case: tuple[str, str, str], rates: Rates, options: argparse.Namespace) -> tuple:
    """Seconds that the arithmetic and the memory traffic of a case take at least."""
    size, work, precision = case
    width, layers = SIZES[size], 30
    train = work == "training"
    frames = options.batch * CROP if train else int(options.seconds * 22050 / HOP)
    samples = frames * HOP
    calls = 1 if train else 6
    block = 2 * width * (3 * width + width)  # multiplications with a sum: dilated and 1 x 1
    conditioner = 2 * width * BANDS  # once for all sampling steps
    operations = 2 * samples * layers * (calls * block + conditioner) * (3 if train else 1)
    values = samples * layers * calls * width * (1 + 2 + 1 + 2) * (3 if train else 1)
    size_of = 2 if precision == "bfloat16" else 4
    return operations / rates.operations[precision], values * size_of / rates.memory


def measured_rates(device: str, threads: int, n: int | None = None, values: int = 1 << 26) -> Rates:
    """Operations per second of a product of n x n matrices, and bytes per second of a copy."""
    torch.set_num_threads(threads)
    cuda = device == "cuda"

    def best(call: Callable[[], torch.Tensor]) -> float:
        return min(timed(call, cuda)[0] for _ in range(5))

    n = n or (8192 if cuda else 2048)
    operations = {}
    for name, dtype in PRECISIONS.items():
        a = torch.randn(n, n, device=device).to(dtype)
        operations[name] = 2 * n**3 / best(lambda a=a: (a @ a)[:1])
    big, other = torch.zeros(2, values, device=device)
    return Rates(operations, 2 * 4 * big.numel() / best(lambda: other.copy_(big)[:1]))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", type=Path, required=True, help="a checkout of lmnt-com/diffwave")
    parser.add_argument("--seconds", type=float, default=1.0, help="of audio (default: 1)")
    parser.add_argument("--batch", type=int, default=4, help="of the training step (default: 4)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--sizes", nargs="+", choices=tuple(SIZES), default=tuple(SIZES))
    parser.add_argument("--works", nargs="+", choices=tuple(WORKS), default=tuple(WORKS))
    parser.add_argument(
        "--precisions", nargs="+", choices=tuple(PRECISIONS), default=tuple(PRECISIONS)
    )
    options = parser.parse_args(argv)
    peer_modules(options.peer)
    threads = options.threads or torch.get_num_threads()
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        rates = measured_rates(device, threads)
        speeds = ", ".join(f"{name} {x / 1e9:.0f} GFLOP/s" for name, x in rates.operations.items())
        where = machine(threads) if device == "cpu" else torch.cuda.get_device_name()
        print(f"{where}: matrix product {speeds}, copy {rates.memory / 1e9:.1f} GB/s\n")
        print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
        for size, work in product(options.sizes, options.works):
            full: float | None = None
            for precision in options.precisions:
                case = size, work, precision
                found = compare(case, device, options)
                full = found.theirs if precision == "float32" else full
                arithmetic, memory = limits(case, rates, options)
                title = f"{size.upper()}, {WORKS[work]}, {precision}"
                to_full = f"{full / found.ours:.2f}" if full else ""
                difference = f"{found.difference:.0e}" if work == "sampling" else ""
                print(
                    f"| {title} | {found.theirs:.3f} | {found.ours:.3f} "
                    f"| {found.theirs / found.ours:.2f} | {to_full} | {arithmetic:.3f} "
                    f"| {memory:.3f} | {difference} |",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
