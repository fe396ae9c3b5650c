"""Speed of DiffWave BASE beside lmnt-com/diffwave, same weights, one process, alternating.

    git clone https://github.com/lmnt-com/diffwave
    python tools/bench_vocoder.py --peer diffwave

Six fast sampling steps on one random mel, and one training step (forward, L1 loss, backward, Adam)
on four examples of 62 frames. Prints the median seconds of both, the ratio theirs / ours, and the
largest difference of the outputs, drawn from the same noise.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from torch import nn
from torch.nn import functional as F

from wavediff.cli import run
from wavediff.diffusion import reverse
from wavediff.diffusion.condition import Condition
from wavediff.errors import UserError
from wavediff.tasks.build import build_task
from wavediff.tasks.foreign import read_foreign
from wavediff.tasks.vocoder import Vocoder

HOP, BANDS, BATCH, CROP = 256, 80, 4, 62


def peer_modules(folder: Path) -> tuple[ModuleType, ModuleType]:
    """lmnt's (model, inference)."""
    if not (folder / "src" / "diffwave" / "model.py").is_file():
        raise UserError(f"{folder} is no checkout of lmnt-com/diffwave")
    sys.path.insert(0, str(folder / "src"))
    from diffwave import inference, model

    return model, inference


def same_weights(model: ModuleType, inference: ModuleType, folder: Path) -> tuple[Path, Vocoder]:
    """A checkpoint of theirs with seeded weights that do something, and ours from it."""
    torch.manual_seed(0)
    theirs = model.DiffWave(inference.AttrDict(inference.base_params))
    nn.init.normal_(theirs.output_projection.weight, std=0.05)
    path = folder / "weights.pt"
    torch.save({"model": theirs.state_dict(), "step": 0}, path)
    foreign = read_foreign(path)
    ours = build_task(foreign.config)
    ours.network.load_state_dict(foreign.state)
    return path, ours.eval()


def timed(calls: dict[str, Callable[[], torch.Tensor]], repeats: int, cuda: bool) -> dict:
    """Median seconds of each call, alternating, after one that is not counted; and the results."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    results = {}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            if cuda:
                torch.cuda.synchronize()
            began = time.perf_counter()
            results[name] = call()
            if cuda:
                torch.cuda.synchronize()
            if repeat:
                seconds[name].append(time.perf_counter() - began)
    return {name: (statistics.median(values), results[name]) for name, values in seconds.items()}


def sampling(
    path: Path, inference: ModuleType, ours: Vocoder, device: torch.device, seconds: float
) -> dict[str, Callable[[], torch.Tensor]]:
    """Six steps on ``seconds`` of audio."""
    torch.manual_seed(1)
    mel = torch.rand(1, BANDS, int(seconds * ours.sample_rate / HOP), device=device)
    ours = ours.to(device)
    schedule = ours.denoiser.schedule
    grid = ours.sampler.grid(schedule)

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
        return ours.sampler.function(
            ours.denoiser, reverse.start(schedule, grid[0], z, cond), grid, cond
        )[:, 0]

    return {"lmnt": call_theirs, "wavediff": call_ours}


def training(
    model: ModuleType, inference: ModuleType, ours: Vocoder, device: torch.device
) -> dict[str, Callable[[], torch.Tensor]]:
    """One step of each on the same batch."""
    torch.manual_seed(3)
    theirs = model.DiffWave(inference.AttrDict(inference.base_params)).to(device)
    ours = ours.to(device)
    mel = torch.rand(BATCH, BANDS, CROP, device=device)
    noise, noisy = torch.randn(2, BATCH, HOP * CROP, device=device)
    index = torch.randint(0, 50, (BATCH,), device=device)
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


def report(name: str, outcome: dict, compare: bool) -> None:
    (theirs, a), (ours, b) = outcome["lmnt"], outcome["wavediff"]
    difference = f"{float((a.float() - b.float()).abs().max()):9.1e}" if compare else " " * 9
    print(f"{name:<24}{theirs:9.3f}{ours:9.3f}{theirs / ours:8.2f}{difference}", flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", type=Path, required=True, help="a checkout of lmnt-com/diffwave")
    parser.add_argument("--seconds", type=float, default=3.0, help="of audio (default: 3)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--only", choices=("fp32", "bf16", "training"), help="one of the parts")
    options = parser.parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    model, inference = peer_modules(options.peer)
    devices = [torch.device("cpu"), *([torch.device("cuda")] if torch.cuda.is_available() else [])]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} CPU threads")
    print(f"{'':<24}{'lmnt s':>9}{'ours s':>9}{'ratio':>8}{'max diff':>9}")
    with tempfile.TemporaryDirectory() as folder:
        path, ours = same_weights(model, inference, Path(folder))
        for device in devices:
            cuda = device.type == "cuda"
            inference.models.clear()
            calls = sampling(path, inference, ours, device, options.seconds)
            if options.only in (None, "fp32"):
                outcome = timed(calls, options.repeats, cuda)
                report(f"{device} fp32, 6 steps", outcome, compare=True)
            if options.only in (None, "bf16"):
                with torch.autocast(device.type, torch.bfloat16):
                    outcome = timed(calls, options.repeats, cuda)
                report(f"{device} bf16, 6 steps", outcome, compare=True)
            if options.only in (None, "training"):
                outcome = timed(training(model, inference, ours, device), options.repeats, cuda)
                report(f"{device} fp32, training", outcome, compare=False)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
