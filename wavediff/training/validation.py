"""Metrics of reconstructed utterances during training."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from wavediff.data.audio import BadAudio
from wavediff.errors import UserError, shorten
from wavediff.evaluation.metrics import METRICS, Metric, UndefinedMetric
from wavediff.training.distributed import World

# ({"audio": [1, 1, time], ...}, seed) -> [1, 1, time]
Reconstruct = Callable[[Mapping[str, Tensor], int], Tensor]


@dataclass(frozen=True)
class Sample:
    """One utterance; both signals are ``[time]`` on the CPU."""

    name: str
    reference: Tensor
    estimate: Tensor


@dataclass(frozen=True)
class Validation:
    """Means over the files, and some of the files (of the first process)."""

    scores: Mapping[str, float]
    undefined: Mapping[str, str] = field(default_factory=dict)  # metric: how many, first reason
    samples: Sequence[Sample] = ()


def choose_metrics(names: Sequence[str]) -> dict[str, Metric]:
    """Return the metrics of these names.

    Metrics whose package is not installed are left out, with a warning on stderr.

    Raises:
        UserError: for an unknown name.
    """
    chosen = {}
    for name in names:
        if name not in METRICS:
            raise UserError(
                f"trainer.measures: {shorten(name)!r} is not a metric. Use some of "
                f"{', '.join(METRICS)}."
            )
        try:
            METRICS[name].require()
        except UserError as error:
            print(f"validation leaves out {name}: {error}", file=sys.stderr)
        else:
            chosen[name] = METRICS[name]
    return chosen


def validate(
    reconstruct: Reconstruct,
    utterances: Sequence[Mapping],
    metrics: Mapping[str, Metric],
    world: World,
    sample_rate: int,
    *,
    files: int,
    seconds: float | None = None,
    media: int = 0,
    seed: int = 0,
) -> Validation:
    """Score the reconstructions of ``files`` utterances at even distances in ``utterances``.

    The processes share the files; all of them get the means.

    Args:
        reconstruct: reconstructs a batch of one utterance.
        utterances: the held-out utterances.
        metrics: by name.
        world: the processes that train together.
        sample_rate: of the utterances, in Hz.
        files: the number of utterances, at most all.
        seconds: the length that is scored, from the beginning; None for whole utterances.
        media: the number of utterances to return as samples.
        seed: of the noise; utterance i has ``seed + i``.
    """
    count = min(files, len(utterances))
    chosen = [k * len(utterances) // count for k in range(count)]
    results: list[dict[str, float | str]] = []
    samples: list[Sample] = []
    for number in chosen[world.rank :: world.size]:
        try:
            item = utterances[number]
        except BadAudio as error:
            results.append(dict.fromkeys(metrics, str(error)))
            continue
        stop = None if seconds is None else int(seconds * sample_rate)
        batch = {k: v[None, :, :stop] for k, v in item.items() if isinstance(v, Tensor)}
        if "label" in item:
            batch["label"] = torch.tensor([item["label"]])
        audio = batch["audio"]
        on_device = {k: v.to(world.device) for k, v in batch.items()}
        estimate = reconstruct(on_device, seed + number).float().cpu()
        results.append(_score(metrics, estimate, audio, sample_rate))
        if len(samples) < media:
            samples.append(Sample(item["name"], audio[0, 0], estimate[0, 0]))
    return _summary(metrics, [r for part in world.gather(results) for r in part], samples)


def _score(
    metrics: Mapping[str, Metric], estimate: Tensor, reference: Tensor, sample_rate: int
) -> dict[str, float | str]:
    """Return the value of each metric, or the reason why it has none."""
    if not estimate.isfinite().all():
        return dict.fromkeys(metrics, "the estimate is not finite")
    found: dict[str, float | str] = {}
    for name, metric in metrics.items():
        try:
            found[name] = metric(estimate, reference, sample_rate)
        except UndefinedMetric as error:
            found[name] = str(error)
    return found


def _summary(
    metrics: Mapping[str, Metric], results: list[dict[str, float | str]], samples: list[Sample]
) -> Validation:
    scores, undefined = {}, {}
    for name in metrics:
        values = [r[name] for r in results]
        numbers = [v for v in values if not isinstance(v, str) and math.isfinite(v)]
        reasons = [v if isinstance(v, str) else "not finite" for v in values if v not in numbers]
        if numbers:
            scores[name] = sum(numbers) / len(numbers)
        if reasons:
            undefined[name] = f"{len(reasons)} of {len(values)} files: {reasons[0]}"
    return Validation(scores, undefined, samples)
