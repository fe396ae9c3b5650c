"""Logging of a run: a progress bar on stderr, and TensorBoard."""

import math
import os
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor
from tqdm import tqdm

from wavediff.diffusion.transfer import like
from wavediff.evaluation.metrics import METRICS
from wavediff.training.distributed import World
from wavediff.training.learner import Step
from wavediff.training.validation import Validation


class Meter:
    """Statistics of the steps since the last reading, over all processes.

    Args:
        edges: log-SNRs, increasing, of the bins of the loss by noise level.
        world: the processes that train together.
    """

    def __init__(self, edges: Sequence[float], world: World) -> None:
        self.world = world
        self.edges = torch.tensor(edges, dtype=torch.float32, device=world.device)
        bounds = ["low", *(f"{edge:g}" for edge in edges), "high"]
        self.levels = [f"{a}_to_{b}" for a, b in pairwise(bounds)]
        self._reset()

    def _reset(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.by_level = torch.zeros(
            2, len(self.levels), dtype=torch.float64, device=self.world.device
        )
        self.items = self.steps = 0
        self.seconds = 0.0
        self.norms: list[float] = []
        self.rate = 0.0

    def add(self, step: Step, seconds: float) -> None:
        """Add a step and its duration; the losses of a skipped one are left out."""
        self.steps += 1
        self.seconds += seconds
        self.rate = step.learning_rate
        if step.skipped:
            return
        self.norms.append(step.gradient_norm)
        for losses in step.losses:
            for name in losses.keys() - {"log_snr"}:
                self.sums[name] = self.sums.get(name, 0) + losses[name].sum(dtype=torch.float64)
            loss = losses["loss"].double()
            self.items += len(loss)
            if "log_snr" in losses:
                log_snr = losses["log_snr"].float()  # of times, which are on the CPU
                place = torch.bucketize(like(log_snr, self.edges), self.edges)
                self.by_level.index_add_(1, place, torch.stack([loss, torch.ones_like(loss)]))

    def read(self, batch_size: int) -> dict[str, float]:
        """Return scalars by name and reset. All processes must call it after the same steps."""
        names = sorted(self.sums)
        count = self.by_level.new_tensor([self.items])
        local = torch.cat([self.by_level.flatten(), count, *(self.sums[n][None] for n in names)])
        numbers = self.world.sum(local).tolist()
        bins = len(self.levels)
        totals, counts, (items, *sums) = (
            numbers[:bins],
            numbers[bins : 2 * bins],
            numbers[2 * bins :],
        )
        scalars = {f"loss/{name}": total / items for name, total in zip(names, sums, strict=True)}
        for level, total, count in zip(self.levels, totals, counts, strict=True):
            if count:
                scalars[f"loss_by_log_snr/{level}"] = total / count
        if self.norms:
            scalars["train/gradient_norm"] = sum(self.norms) / len(self.norms)
        scalars["train/learning_rate"] = self.rate
        scalars["train/samples_per_second"] = self.steps * batch_size / self.seconds
        self._reset()
        return scalars


class Log:
    """TensorBoard files in ``run_dir`` and a progress bar, of the main process only.

    Args:
        run_dir: the folder of the run; None for the progress bar alone.
        world: the processes that train together.
        sample_rate: of the audio samples, in Hz.
        step: the step that the run starts from.
        max_steps: the last step.
        bar: whether to show the progress bar.
    """

    def __init__(
        self,
        run_dir: Path | None,
        world: World,
        sample_rate: int,
        step: int,
        max_steps: int,
        bar: bool,
    ) -> None:
        self.sample_rate = sample_rate
        self.speaks = world.main and (bar or run_dir is not None)
        self.writer = None
        self.loss: float | None = None  # smoothed, for the bar
        self.shown: set[str] = set()
        self.bar = tqdm(
            total=max_steps,
            initial=step,
            desc="training",
            unit="step",
            file=sys.stderr,
            dynamic_ncols=True,
            # fewer updates in a log file, where each is a line
            mininterval=0.5 if sys.stderr.isatty() else 30 if run_dir else 10,
            disable=not (bar and world.main),
        )
        if run_dir is not None and world.main:
            # the import takes a second
            from torch.utils.tensorboard import SummaryWriter

            # steps after the checkpoint that the run resumes from are logged again
            purge = step + 1 if step else None
            self.writer = SummaryWriter(str(run_dir), purge_step=purge)

    def __enter__(self) -> "Log":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.close()
        if self.writer is not None:
            self.writer.close()

    def step(self, step: Step) -> None:
        """Show a finished step in the progress bar."""
        if step.skipped:
            self.say(f"a step was skipped: {step.skipped}")
        else:
            old = step.loss if self.loss is None else self.loss
            self.loss = 0.98 * old + 0.02 * step.loss
            self.bar.set_postfix({"loss": f"{self.loss:.4f}"}, refresh=False)
        self.bar.update(1)

    def say(self, sentence: str) -> None:
        """Print a line on stderr above the progress bar."""
        if self.speaks:
            tqdm.write(sentence, file=sys.stderr)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write scalars by name to TensorBoard."""
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)

    def validation(self, step: int, result: Validation) -> None:
        """Log scores, audio (the original once) and spectrograms."""
        self.scalars(step, {f"validation/{name}": v for name, v in result.scores.items()})
        parts = [
            f"{METRICS[name].label if name in METRICS else name} {value:.4g}"
            for name, value in result.scores.items()
        ]
        parts += [f"{name} undefined for {why}" for name, why in result.undefined.items()]
        if parts:
            self.say(f"step {step}: {', '.join(parts)}")
        if self.writer is None:
            return
        for sample in result.samples:
            rate = self.sample_rate
            name = os.fsencode(sample.name).decode("utf-8", "replace")  # TensorBoard takes no other
            if name not in self.shown:
                self.shown.add(name)
                self.writer.add_audio(f"{name}/original", sample.reference, step, rate)
            estimate = sample.estimate.nan_to_num().clamp(-1, 1)
            self.writer.add_audio(f"{name}/model", estimate, step, rate)
            picture = spectrograms([sample.reference, estimate], rate)
            self.writer.add_image(f"{name}/original_above_model", picture, step)
        self.writer.flush()


def spectrograms(signals: Sequence[Tensor], sample_rate: int) -> Tensor:
    """Draw log-magnitude spectrograms above one another, over a range of 80 dB.

    Frames are about 46 ms long, 12 ms apart.

    Args:
        signals: ``[time]`` each.
        sample_rate: in Hz.

    Returns:
        A picture, uint8 ``[3, height, width]``.
    """
    from matplotlib import colormaps

    n_fft = 2 ** round(math.log2(0.046 * sample_rate))
    rows = []
    for signal in signals:
        spectrum = torch.stft(
            signal, n_fft, n_fft // 4, window=torch.hann_window(n_fft), return_complex=True,
            pad_mode="constant",
        )  # fmt: skip
        rows.append(20 * spectrum.abs().clamp_min(1e-7).log10().flip(0))
    # all share the scale of the first
    unit = [((row - rows[0].max()) / 80 + 1).clamp(0, 1) for row in rows]
    edge = torch.ones(4, unit[0].shape[1])
    stacked = torch.cat([part for row in unit for part in (row, edge)][:-1])
    colours = colormaps["magma"](stacked.numpy(), bytes=True)[..., :3]
    return torch.from_numpy(colours).permute(2, 0, 1)
