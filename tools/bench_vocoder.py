"""Speed of DiffWave BASE compared with lmnt-com/diffwave: same weights, alternating processes.

    git clone https://github.com/lmnt-com/diffwave
    python tools/bench_vocoder.py --peer diffwave

Six fast sampling steps on one random mel, and one training step (forward, L1 loss, backward, Adam)
on --batch examples of 62 frames. Prints the median seconds of both, the ratio theirs / ours, and
the largest difference of the outputs for the same noise.
"""

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
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
PARTS = {"fp32": "fp32, 6 steps", "bf16": "bf16, 6 steps", "training": "fp32, training"}


def peer_modules(folder: Path) -> tuple[ModuleType, ModuleType]:
    """Modules (model, inference) of lmnt-com/diffwave."""
    if not (folder / "src" / "diffwave" / "model.py").is_file():
        raise UserError(f"{folder} is not a checkout of lmnt-com/diffwave")
    sys.path.insert(0, str(folder / "src"))
    from diffwave import inference, model

    return model, inference


def same_weights(model: ModuleType, inference: ModuleType, folder: Path) -> tuple[Path, Vocoder]:
    """(checkpoint of theirs with random weights, our vocoder with the same weights)."""
    torch.manual_seed(0)
    theirs = model.DiffWave(inference.AttrDict(inference.base_params))
    nn.init.normal_(theirs.output_projection.weight, std=0.05)
    path = folder / "weights.pt"
    torch.save({"model": theirs.state_dict(), "step": 0}, path)
    foreign = read_foreign(path)
    ours = build_task(foreign.config)
    ours.network.load_state_dict(foreign.state)
    return path, ours.eval()


def serve(pipe: Connection, name: str, options: argparse.Namespace) -> None:
    """Run one of the two in its own process, configured as for its users: for each (part, device)
    received, send the seconds and the result of a call; None ends the process."""
    if options.threads:
        torch.set_num_threads(options.threads)
    if name == "wavediff" and options.only == "training":
        keep_freed()  # as `wavediff train` does
    model, inference = peer_modules(options.peer)
    calls: dict[tuple[str, str], Callable[[], torch.Tensor]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path, ours = same_weights(model, inference, Path(folder))
        while (wanted := pipe.recv()) is not None:
            part, device = wanted
            if wanted not in calls:
                calls.clear()
                inference.models.clear()
                made = (
                    training(model, inference, ours, torch.device(device), options.batch)
                    if part == "training"
                    else sampling(path, inference, ours, torch.device(device), options.seconds)
                )
                calls[wanted] = made[name]
            with torch.autocast(device, torch.bfloat16, enabled=part == "bf16"):
                pipe.send(timed(calls[wanted], device == "cuda"))


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
    path: Path, inference: ModuleType, ours: Vocoder, device: torch.device, seconds: float
) -> dict[str, Callable[[], torch.Tensor]]:
    """Calls of both that sample ``seconds`` of audio in six steps."""
    torch.manual_seed(1)
    mel = torch.rand(1, BANDS, int(seconds * ours.sample_rate / HOP), device=device)
    ours = ours.to(device)

    def call_theirs() -> torch.Tensor:
        torch.manual_seed(2)
        audio, _ = inference.predict(
            mel, model_dir=path, params=inference.base_params, device=device, fast_sampling=True
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
    model: ModuleType, inference: ModuleType, ours: Vocoder, device: torch.device, batch: int
) -> dict[str, Callable[[], torch.Tensor]]:
    """Calls of both that train for one step on the same batch."""
    torch.manual_seed(3)
    theirs = model.DiffWave(inference.AttrDict(inference.base_params)).to(device)
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


def compare(part: str, device: str, options: argparse.Namespace) -> None:
    """Time both alternately, ``repeats`` times after a warm-up, and print a line of the table."""
    seconds: dict[str, list[float]] = {"lmnt": [], "wavediff": []}
    results = {}
    context = multiprocessing.get_context("spawn")
    options = argparse.Namespace(**vars(options) | {"only": part})
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
                pipe.send((part, device))
                taken, results[name] = pipe.recv()
                if repeat:
                    seconds[name].append(taken)
    theirs, ours = (statistics.median(values) for values in seconds.values())
    difference = np.abs(results["lmnt"] - results["wavediff"]).max()
    end = " " * 9 if part == "training" else f"{difference:9.1e}"
    title = f"{device} {PARTS[part]}"
    print(f"{title:<24}{theirs:9.3f}{ours:9.3f}{theirs / ours:8.2f}{end}", flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", type=Path, required=True, help="a checkout of lmnt-com/diffwave")
    parser.add_argument("--seconds", type=float, default=3.0, help="of audio (default: 3)")
    parser.add_argument("--batch", type=int, default=4, help="of the training step (default: 4)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--only", choices=tuple(PARTS), help="one of the parts")
    options = parser.parse_args(argv)
    peer_modules(options.peer)
    threads = options.threads or torch.get_num_threads()
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    print(f"torch {torch.__version__}, {threads} CPU threads")
    print(f"{'':<24}{'lmnt s':>9}{'ours s':>9}{'ratio':>8}{'max diff':>9}")
    for device in devices:
        for part in [options.only] if options.only else PARTS:
            compare(part, device, options)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
