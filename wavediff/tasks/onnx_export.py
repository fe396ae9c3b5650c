"""Export of models to ONNX, with what a program needs to know of them as metadata.

The key ``wavediff`` of a file's metadata holds JSON: ``kind`` (live_step, enhance or network),
rates, windows, and what else the kind needs.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wavediff import __version__
from wavediff.errors import UserError, shorten
from wavediff.files import atomic_path
from wavediff.tasks.enhancer import Enhancer
from wavediff.tasks.onnx_models import EnhanceModel, LiveStepModel, NetworkModel
from wavediff.tasks.onnx_runtime import METADATA, open_session
from wavediff.tasks.task import Task
from wavediff.tasks.vocoder import Vocoder

OPSET = 20
TOLERANCE = 1e-4  # of the largest value, between onnxruntime and torch
ANY = torch.export.Dim.DYNAMIC


def export(task: Task, path: Path) -> dict[str, Any]:
    """Write a model as an ONNX file that agrees with torch to ``TOLERANCE``; returns its metadata.

    Raises:
        UserError: for a kind of model that cannot be exported, a missing package, a file that
            cannot be written, or a result that is not that of torch.
    """
    if isinstance(task, Enhancer):
        return _live_step(task, path) if task.causal else _enhance(task, path)
    if isinstance(task, Vocoder):
        return _network(task, path)
    raise UserError(f"{task.title} cannot be exported: give an enhancer or a vocoder")


def _live_step(enhancer: Enhancer, path: Path) -> dict[str, Any]:
    model = LiveStepModel(enhancer).eval()
    representation = enhancer.representation
    state = model.initial_state()
    names = [f"state_{i}" for i in range(len(state))]
    metadata = {
        "kind": "live_step",
        "sample_rate": enhancer.sample_rate,
        "n_fft": representation.n_fft,
        "hop_length": representation.hop_length,
        "latency": representation.latency,
        "level_blocks": enhancer.level.past + 1,
        "level_rms": enhancer.level_rms,
        "state": {name: [0, *tensor.shape[1:]] for name, tensor in zip(names, state, strict=True)},
        "window": representation.window.tolist(),
        "synthesis_window": representation.synthesis_window.tolist(),
    }
    torch.manual_seed(0)
    bins = representation.n_fft // 2 + 1

    def example(channels: int, frames: int) -> tuple[Any, ...]:
        before = [torch.randn(channels, *tensor.shape[1:]) for tensor in state]
        return torch.randn(channels, bins, frames, 2), before

    shapes = {"spectrum": {0: ANY, 2: ANY}, "state": [{0: ANY} for _ in state]}
    outputs = ["enhanced", *(f"next_{name}" for name in names)]
    examples = example(2, 3), example(1, 1)
    return _write(model, examples, shapes, ["spectrum", *names], outputs, path, metadata)


def _enhance(enhancer: Enhancer, path: Path) -> dict[str, Any]:
    past, ahead = enhancer.reach()
    metadata = {
        "kind": "enhance",
        "sample_rate": enhancer.sample_rate,
        "grid": enhancer.hop_length,
        "past": past,
        "ahead": ahead,
        "longer_than": 0 if enhancer.mel is None else enhancer.mel.n_fft,
    }
    torch.manual_seed(0)
    whole = enhancer.sample_rate // enhancer.hop_length * enhancer.hop_length
    lengths = whole + 1, whole, whole + enhancer.hop_length - 1  # a last block of any length
    examples = [(0.1 * torch.randn(2, 1, length),) for length in lengths]
    shapes = {"noisy": {0: ANY, 2: ANY}}
    model = EnhanceModel(enhancer).eval()
    return _write(model, examples, shapes, ["noisy"], ["enhanced"], path, metadata)


def _network(vocoder: Vocoder, path: Path) -> dict[str, Any]:
    if vocoder.labels:
        raise UserError("a vocoder with voices or classes cannot be exported: give one without")
    channels, upsample = vocoder.representation.channels, vocoder.upsample
    metadata = {
        "kind": "network",
        "sample_rate": vocoder.sample_rate,
        "channels": channels,
        "frames_per_mel_frame": upsample,
        "mel": dict(vocoder.config["mel"]),
        "representation": dict(vocoder.config["representation"]),
    }
    torch.manual_seed(0)

    def example(batch: int, frames: int) -> tuple[Any, ...]:
        x = torch.randn(batch, channels, frames * upsample)
        return x, torch.rand(batch), torch.randn(batch, vocoder.mel.n_mels, frames)

    shapes = {"x": {0: ANY, 2: ANY}, "c_noise": {0: ANY}, "mel": {0: ANY, 2: ANY}}
    model = NetworkModel(vocoder.network).eval()
    names = ["x", "c_noise", "mel"]
    return _write(
        model, (example(2, 40), example(1, 25)), shapes, names, ["output"], path, metadata
    )


def _write(
    model: nn.Module,
    examples: Sequence[tuple[Any, ...]],
    shapes: Mapping[str, Any],
    inputs: Sequence[str],
    outputs: Sequence[str],
    path: Path,
    metadata: dict[str, Any],
) -> dict[str, Any]:
    """Export with the first of the ``examples``, and compare on all, which differ in size."""
    metadata = {"wavediff": __version__} | metadata
    tensors = examples[0]
    with atomic_path(path) as temporary:
        try:
            with _quiet(), torch.no_grad():
                program: Any = torch.onnx.export(
                    model,
                    tensors,
                    dynamo=True,
                    input_names=list(inputs),
                    output_names=list(outputs),
                    dynamic_shapes=dict(shapes),
                    opset_version=OPSET,
                    external_data=False,
                    verbose=False,
                )
        except ImportError as error:
            raise UserError(
                f"to export, install what is missing ({error.name}): pip install 'wavediff[onnx]'"
            ) from error
        program.model.metadata_props[METADATA] = json.dumps(metadata)
        program.save(str(temporary))
        for given in examples:
            _compare(model, given, inputs, temporary)
    return metadata


def _compare(model: nn.Module, tensors: tuple[Any, ...], inputs: Sequence[str], path: Path) -> None:
    """See that onnxruntime computes what torch does."""
    with torch.no_grad():
        expected = _flat(model(*tensors))
    session, _ = open_session(path)
    given = {k: t.numpy() for k, t in zip(inputs, _flat(tensors), strict=True)}
    for found, wanted in zip(session.run(None, given), expected, strict=True):
        scale = max(1e-6, float(wanted.abs().max()))
        error = float(np.abs(found - wanted.numpy()).max()) / scale
        if not error <= TOLERANCE:
            raise UserError(
                f"the exported model differs from torch by {shorten(error)} of its largest value: "
                "another version of torch or onnxruntime may help"
            )


def _flat(tensors: Any) -> list[Tensor]:
    if isinstance(tensors, Tensor):
        return [tensors]
    return [tensor for part in tensors for tensor in _flat(part)]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of itself."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
