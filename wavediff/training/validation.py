"""How good the reconstructions of whole utterances are."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from wavediff.data.audio import BadAudio
from wavediff.errors import UserError
from wavediff.evaluation.metrics import METRICS, Metric, UndefinedMetric
from wavediff.training.distributed import World

# ({"audio": [1, 1, time], ...}, seed) -> like audio
Reconstruct = Callable[[Mapping[str, Tensor], int], Tensor]


@dataclass(frozen=True)
class Sample:
    """One utterance, both [time] on the CPU."""

    name: str
    reference: Tensor
    estimate: Tensor


@dataclass(frozen=True)
class Validation:
    """Means over the files, and some of the files themselves (of the first process)."""

    scores: Mapping[str, float]
    unmeasured: Mapping[str, str] = field(default_factory=dict)  # measure: how many, first reason
    samples: Sequence[Sample] = ()


def choose_metrics(names: Sequence[str]) -> dict[str, Metric]:
    """The measures called so; one whose package is not installed is left out, and stderr told.

    Raises ``UserError`` for a name that is no measure.
    """
    chosen = {}
    for name in names:
        if name not in METRICS:
            raise UserError(
                f"trainer.measures: there is no measure {name!r}; choose from {', '.join(METRICS)}"
            )
        try:
            METRICS[name].require()
        except UserError as error:
            print(f"validation goes without {name}: {error}", file=sys.stderr)
        else:
            chosen[name] = METRICS[name]
    return chosen


def validate(
    reconstruct: Reconstruct,
    utterances: Sequence[Mapping],
    measures: Mapping[str, Metric],
    world: World,
    sample_rate: int,
    *,
    files: int,
    seconds: float | None = None,
    media: int = 0,
    seed: int = 0,
) -> Validation:
    """Measure the reconstructions of ``files`` utterances spread over all, ``seconds`` of each.

    The processes share the files; every one of them gets the means.
    """
    count = min(files, len(utterances))
    chosen = [k * len(utterances) // count for k in range(count)]
    results: list[dict[str, float | str]] = []
    samples = []
    for number in chosen[world.rank :: world.size]:
        try:
            item = utterances[number]
        except BadAudio as error:
            results.append(dict.fromkeys(measures, str(error)))
            continue
        stop = None if seconds is None else int(seconds * sample_rate)
        batch = {k: v[None, :, :stop] for k, v in item.items() if isinstance(v, Tensor)}
        if "label" in item:
            batch["label"] = torch.tensor([item["label"]])
        audio = batch["audio"]
        on_device = {k: v.to(world.device) for k, v in batch.items()}
        estimate = reconstruct(on_device, seed + number).float().cpu()
        results.append(_measure(measures, estimate, audio, sample_rate))
        if len(samples) < media:
            samples.append(Sample(item["name"], audio[0, 0], estimate[0, 0]))
    return _summary(measures, [r for part in world.gather(results) for r in part], samples)


def _measure(
    measures: Mapping[str, Metric], estimate: Tensor, reference: Tensor, sample_rate: int
) -> dict[str, float | str]:
    """Value, or why there is none, by measure."""
    if not estimate.isfinite().all():
        return dict.fromkeys(measures, "the estimate is not finite")
    found: dict[str, float | str] = {}
    for name, measure in measures.items():
        try:
            found[name] = measure(estimate, reference, sample_rate)
        except UndefinedMetric as error:
            found[name] = str(error)
    return found


def _summary(
    measures: Mapping[str, Metric], results: list[dict[str, float | str]], samples: list[Sample]
) -> Validation:
    scores, unmeasured = {}, {}
    for name in measures:
        values = [r[name] for r in results]
        numbers = [v for v in values if not isinstance(v, str) and math.isfinite(v)]
        reasons = [v if isinstance(v, str) else "not finite" for v in values if v not in numbers]
        if numbers:
            scores[name] = sum(numbers) / len(numbers)
        if reasons:
            unmeasured[name] = f"{len(reasons)} of {len(values)} files: {reasons[0]}"
    return Validation(scores, unmeasured, samples)
