"""Metrics by ONNX models of waveforms: DNSMOS P.835, or any model of ``[1, time]`` to numbers.

A model of a fixed length gets windows of it, one second apart, and the mean of their results
counts; a shorter recording is repeated. This, and the polynomials of DNSMOS P.835 (Reddy et al.
2022), are as in the published evaluation script. A model of any length gets each channel whole.
Nothing is downloaded.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wavediff.data.resampling import resample
from wavediff.errors import UserError, listed, shorten
from wavediff.evaluation.metrics import Metric, UndefinedMetric
from wavediff.evaluation.no_reference import long_enough

DEFAULT_RATE = 16_000
DNSMOS_LENGTH = 144_160  # 9.01 s at 16 kHz
# of the raw output, highest power first
DNSMOS = {
    "sig": (-0.08397278, 1.22083953, 0.0052439),
    "bak": (-0.13166888, 1.60915514, -0.39604546),
    "ovr": (-0.06766283, 1.11546468, 0.04602535),
}
MOST_VALUES = 16
PROBE_SECONDS = 2.0
FLOATS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}


@dataclass(frozen=True)
class OnnxModel:
    """A model as the command line names it; each process opens it for itself.

    Attributes:
        name: of its metrics.
        path: of the file.
        sample_rate: of its input in Hz; None for that in its metadata, else 16 kHz.
    """

    name: str
    path: Path
    sample_rate: int | None = None


@dataclass(frozen=True)
class _Session:
    """An open model."""

    session: Any
    input: str
    dtype: type
    length: int | None  # samples that it takes; None for any number
    sample_rate: int
    rate_is_assumed: bool


@dataclass(frozen=True)
class _Value:
    """One number of a model, as the function of a metric."""

    model: OnnxModel
    index: int

    def __call__(self, audio: np.ndarray, sample_rate: int) -> float:
        signals = audio.astype(np.float32)
        scores = _scores(self.model, signals.tobytes(), len(signals), sample_rate)
        values = [channel[self.index] for channel in scores]
        if not all(map(math.isfinite, values)):
            raise UndefinedMetric("the model gives a number that is not finite")
        return float(np.mean(values))


def onnx_metrics(model: OnnxModel) -> tuple[dict[str, Metric], str]:
    """Open a model, and try it on noise.

    Returns:
        Its metrics by name, taken as higher is better: ``NAME`` for one number, ``NAME_1`` and so
        on for several, ``NAME_sig``, ``NAME_bak`` and ``NAME_ovr`` for DNSMOS P.835. And a sentence
        for the user where the sample rate is assumed, else "".

    Raises:
        UserError: without onnxruntime, or for a file that is not such a model.
    """
    opened = _open(model)
    noise = 0.01 * np.random.default_rng(0).standard_normal(round(PROBE_SECONDS * DEFAULT_RATE))
    try:
        count = len(_score(opened, noise.astype(np.float32)))
    except UndefinedMetric as error:
        raise UserError(f"{model.path}: {error}, on noise of {PROBE_SECONDS:g} s") from error
    if not 0 < count <= MOST_VALUES:
        raise UserError(
            f"{model.path} gives {count} numbers for a recording: a metric is a model that gives "
            f"1 to {MOST_VALUES}"
        )
    dnsmos = _is_dnsmos(opened.length, count)
    parts = list(DNSMOS) if dnsmos else [str(number) for number in range(1, count + 1)]
    names = [model.name] if count == 1 else [f"{model.name}_{part}" for part in parts]
    note = ""
    if opened.rate_is_assumed and not dnsmos:
        note = (
            f"{model.path} does not say its sample rate: {DEFAULT_RATE} Hz is assumed "
            f"(--onnx-metric {model.name}={model.path}@HZ sets another)"
        )
    return {
        name: Metric(name, True, _Value(model, index)) for index, name in enumerate(names)
    }, note


@lru_cache(maxsize=1)  # the numbers of one model are metrics by themselves
def _scores(model: OnnxModel, samples: bytes, channels: int, rate: int) -> list[np.ndarray]:
    """The numbers for each channel of the bytes of float32 ``[channels, time]``."""
    opened = _open(model)
    signals = torch.from_numpy(np.frombuffer(samples, np.float32).reshape(channels, -1).copy())
    long_enough(signals[0].numpy(), rate)
    return [_score(opened, x.numpy()) for x in resample(signals, rate, opened.sample_rate)]


def _score(opened: _Session, signal: np.ndarray) -> np.ndarray:
    """The numbers ``[values]`` for a float32 signal ``[time]`` at the model's rate."""
    if opened.length is None:
        return _run(opened, signal)
    while len(signal) < opened.length:
        signal = np.concatenate([signal, signal])
    length, rate = opened.length, opened.sample_rate
    windows = max(1, int(len(signal) // rate - length / rate) + 1)
    results = [_run(opened, signal[i * rate : i * rate + length]) for i in range(windows)]
    return np.mean(results, axis=0)


def _run(opened: _Session, window: np.ndarray) -> np.ndarray:
    """The numbers ``[values]`` for a window, those of DNSMOS mapped to its scale.

    Raises:
        UndefinedMetric: where the model fails.
    """
    try:
        outputs = opened.session.run(None, {opened.input: window[None].astype(opened.dtype)})
        raw = np.concatenate([np.asarray(output, np.float64).reshape(-1) for output in outputs])
    except Exception as error:  # onnxruntime has errors of many kinds
        raise UndefinedMetric(f"the model fails: {shorten(error, 200)}") from error
    if _is_dnsmos(opened.length, len(raw)):
        pairs = zip(DNSMOS.values(), raw, strict=True)
        return np.array([np.polyval(coefficients, x) for coefficients, x in pairs])
    return raw


def _is_dnsmos(length: int | None, values: int) -> bool:
    return length == DNSMOS_LENGTH and values == len(DNSMOS)


@lru_cache(maxsize=16)
def _open(model: OnnxModel) -> _Session:
    """Open a model, and check its input.

    Raises:
        UserError: without onnxruntime, or where it does not take a waveform.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError("onnxruntime is not installed: pip install 'wavediff[onnx]'") from error
    path = model.path
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # there is a process per core
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime has errors of many kinds
        raise UserError(
            f"{path} is not a model that onnxruntime reads ({shorten(error, 200)}): "
            "give an ONNX file"
        ) from error
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise UserError(
            f"{path} has {len(inputs)} inputs ({listed(i.name for i in inputs)}): a metric is a "
            "model with one, a waveform of shape [1, time]"
        )
    (only,) = inputs
    shape = list(only.shape)
    if len(shape) != 2 or (isinstance(shape[0], int) and shape[0] != 1):
        raise UserError(
            f"{path}: its input {shorten(only.name)} has the shape {shorten(shape)}: a metric is a "
            "model of a waveform of shape [1, time], not of its features"
        )
    if only.type not in FLOATS:
        raise UserError(
            f"{path}: its input {shorten(only.name)} is a {only.type}: a metric is a model of "
            "floating-point samples"
        )
    rate, assumed = _rate(model, session)
    length = shape[1] if isinstance(shape[1], int) and shape[1] > 0 else None
    return _Session(session, only.name, FLOATS[only.type], length, rate, assumed)


def _rate(model: OnnxModel, session: Any) -> tuple[int, bool]:
    """The sample rate of a model in Hz, and whether it is assumed."""
    if model.sample_rate is not None:
        return model.sample_rate, False
    given = session.get_modelmeta().custom_metadata_map.get("sample_rate")
    if given is None:
        return DEFAULT_RATE, True
    try:
        rate = int(given)
    except ValueError:
        rate = 0
    if not 1000 <= rate <= 768_000:
        raise UserError(
            f"{model.path}: the sample_rate in its metadata is {shorten(given)}: 1000 to 768000 Hz "
            f"are accepted; --onnx-metric {model.name}={model.path}@HZ sets another"
        )
    return rate, False
