"""Metrics of speech: how close an estimate is to its reference.

Every metric is a function ``(estimate, reference, sample_rate) -> float`` of two signals of the
same length, NumPy arrays or tensors of shape ``[T]``, ``[1, T]`` or ``[1, 1, T]``, at a rate in Hz;
``METRICS`` lists them by name. Signals are not aligned in time (only PESQ does so itself).

A metric raises ``UndefinedMetric`` with the reason if it has no value, as for every silent
reference. PESQ and STOI are computed by the packages pesq and pystoi; without them these metrics
raise ``UserError``.
"""

import importlib
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import librosa
import numpy as np
import scipy.fft
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from wavediff.data.resampling import resample
from wavediff.errors import UserError, shorten
from wavediff.evaluation import spectral
from wavediff.evaluation.composite import FULL_SCALE, Composite, composite
from wavediff.files import exclusive

SILENCE = 2.0**-15  # peak below which a signal is silent: one step of 16-bit audio
PESQ_SECONDS = 20.0  # see pesq_wb
CEPSTRAL_ORDER = 24


class UndefinedMetric(Exception):
    """The metric has no value for this pair; the message is the reason."""


def pesq_wb(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Wide-band PESQ (ITU-T P.862.2, MOS-LQO), 1.04 to 4.64, higher is better; at 16 kHz.

    Audio above 20 s is split into equal pieces of at most 20 s; the result is the mean over the
    pieces in which the reference has speech. The reference code overruns its memory beyond 50
    utterances, and P.862 is specified for 8 to 30 s.
    """
    _package("pesq")
    return _pesq_wb(*_wide_band(estimate, reference, sample_rate))


@lru_cache(maxsize=1)  # the composite metrics need it too
def _pesq_wb(estimate: bytes, reference: bytes) -> float:
    """PESQ of the bytes of float32 samples at 16 kHz."""
    pesq = _package("pesq")
    signals = [np.frombuffer(samples, np.float32) for samples in (estimate, reference)]
    count = math.ceil(len(signals[0]) / (PESQ_SECONDS * 16000))
    pieces = (np.array_split(signal, count) for signal in signals)
    scores = []
    for estimate_piece, reference_piece in zip(*pieces, strict=True):
        if is_silent(reference_piece):
            continue
        if is_silent(estimate_piece):
            raise UndefinedMetric(f"a piece of {len(estimate_piece) / 16000:.0f} s is silent")
        try:
            scores.append(pesq.pesq(16000, reference_piece, estimate_piece, "wb"))
        except pesq.NoUtterancesError:
            continue
        except pesq.BufferTooShortError:
            raise UndefinedMetric("shorter than a quarter of a second") from None
        except (pesq.PesqError, ValueError) as error:
            raise UndefinedMetric(f"the pesq package failed: {shorten(error)}") from None
    if not scores:
        raise UndefinedMetric("no utterance in the reference")
    return float(np.mean(scores))


def csig(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Composite rating of speech distortion (CSIG), 1 to 5, higher is better; at 16 kHz.

    ``csig``, ``cbak`` and ``covl`` are those of Hu and Loizou (2008) with wide-band PESQ, as in
    published tables: ``wavediff.evaluation.composite``.
    """
    return _composite(estimate, reference, sample_rate).csig


def cbak(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Composite rating of background intrusiveness (CBAK), 1 to 5, higher is better."""
    return _composite(estimate, reference, sample_rate).cbak


def covl(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Composite rating of overall quality (COVL), 1 to 5, higher is better."""
    return _composite(estimate, reference, sample_rate).covl


def _composite(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> Composite:
    _package("pesq")
    return _composite_wide_band(*_wide_band(estimate, reference, sample_rate))


@lru_cache(maxsize=1)  # three metrics of one pair
def _composite_wide_band(estimate: bytes, reference: bytes) -> Composite:
    pesq = _pesq_wb(estimate, reference)
    s_hat, s = (np.frombuffer(x, np.float32) * float(FULL_SCALE) for x in (estimate, reference))
    return composite(s_hat.astype(np.float64), s.astype(np.float64), 16000, pesq)


def _wide_band(estimate: ArrayLike, reference: ArrayLike, rate: int) -> tuple[bytes, bytes]:
    """Both signals at 16 kHz as the bytes of float32 samples, which can be keys of a cache."""
    s_hat, s = _signals(estimate, reference)
    if rate < 16000:
        raise UndefinedMetric("wide-band PESQ needs audio of at least 16 kHz")
    if is_silent(s_hat):
        raise UndefinedMetric("the estimate is silent")
    return _resample(s_hat, rate, 16000).tobytes(), _resample(s, rate, 16000).tobytes()


def stoi(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Short-time objective intelligibility (Taal et al. 2011), at most 1, higher is better.

    Computed at 10 kHz over the frames within 40 dB of the loudest frame of the reference.
    """
    return _stoi(estimate, reference, sample_rate, extended=False)


def estoi(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Extended STOI (Jensen and Taal 2016), at most 1, higher is better."""
    return _stoi(estimate, reference, sample_rate, extended=True)


def _stoi(estimate: ArrayLike, reference: ArrayLike, sample_rate: int, extended: bool) -> float:
    pystoi = _package("pystoi")
    s_hat, s = _signals(estimate, reference)
    too_short = UndefinedMetric("less than 0.4 s of speech in the reference")
    if len(s) < 0.4 * sample_rate:
        raise too_short
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Not enough STFT frames")  # else it returns 1e-5
        try:
            return float(pystoi.stoi(s, s_hat, sample_rate, extended=extended))
        except RuntimeWarning:
            raise too_short from None


def si_sdr(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019), higher is better.

    10 log10(||a s||^2 / ||a s - s_hat||^2) with a = <s_hat, s> / ||s||^2, after the mean of each
    signal is removed. Undefined beyond +-200 dB: if the estimate equals the reference up to a
    factor, or is orthogonal to it.
    """
    s_hat, s = (signal - signal.mean() for signal in _signals(estimate, reference))
    if is_silent(s):
        raise UndefinedMetric("the reference is constant")
    target = (s_hat @ s) / (s @ s) * s
    signal, distortion = target @ target, np.sum((target - s_hat) ** 2)
    if distortion <= 1e-20 * signal:
        if is_silent(s_hat):
            raise UndefinedMetric("the estimate is silent")
        raise UndefinedMetric("infinite: the estimate equals the reference up to a factor")
    if signal <= 1e-20 * distortion:
        raise UndefinedMetric("minus infinity: the estimate is orthogonal to the reference")
    return float(10 * np.log10(signal / distortion))


def mr_stft(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Multi-resolution STFT distance, lower is better: ``wavediff.evaluation.spectral.mr_stft``."""
    return float(spectral.mr_stft(*_batches(estimate, reference)))


def log_mel_error(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Mean absolute error of natural-log mel magnitudes, lower is better.

    80 bands up to half the sample rate: ``wavediff.evaluation.spectral.log_mel_error``.
    """
    return float(spectral.log_mel_error(*_batches(estimate, reference), sample_rate))


def lsd(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Log-spectral distance in dB, lower is better: ``wavediff.evaluation.spectral.lsd``."""
    return float(spectral.lsd(*_batches(estimate, reference)).mean())


def mcd(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Mel-cepstral distortion in dB (Kubichek 1993), lower is better.

    The mean over the frames of ``cepstral_distortion`` of the log-mel spectra of
    ``wavediff.evaluation.spectral.log_mel`` (80 Slaney bands up to half the sample rate, magnitudes
    floored at 1e-5). Frames are compared at equal times.
    """
    log_mels = (spectral.log_mel(x, sample_rate)[0] for x in _batches(estimate, reference))
    return float(np.mean(cepstral_distortion(*(x.double().numpy() for x in log_mels))))


def cepstral_distortion(estimate: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Mel-cepstral distortion of each frame: 10 sqrt(2) / ln 10 ||c - c_hat|| in dB.

    The mel cepstrum is that of ln M_k = c_0 + sum_m c_m cos(pi m (k + 1/2) / n_mels), for orders 1
    to 24; the level c_0 is left out. With all orders the result would be the RMS difference of the
    spectra in dB.

    Args:
        estimate: natural-log magnitudes ``[n_mels, frames]``.
        reference: the same.

    Returns:
        ``[frames]``.
    """
    n_mels = reference.shape[0]
    cepstra = scipy.fft.dct(reference - estimate, axis=0) / n_mels
    distance = np.linalg.norm(cepstra[1 : CEPSTRAL_ORDER + 1], axis=0)
    return 10 * math.sqrt(2) / math.log(10) * distance


def f0_rmse(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """RMS of 1200 log2(F0_hat / F0) in cents over the frames voiced in both, lower is better.

    F0 and voicing are estimated by probabilistic YIN (Mauch and Dixon 2014, as in librosa) from 60
    to 500 Hz on a grid of 10 cents, at 16 kHz, in frames of 64 ms every 16 ms.
    """
    s_hat, s = _signals(estimate, reference)
    if is_silent(s_hat):
        raise UndefinedMetric("the estimate is silent")
    _compile_pyin()
    f0_hat, f0 = (_f0(_resample(signal, sample_rate, 16000)) for signal in (s_hat, s))
    cents = 1200 * np.log2(f0_hat / f0)
    cents = cents[np.isfinite(cents)]
    if not len(cents):
        raise UndefinedMetric("no frame is voiced in both")
    return float(np.sqrt(np.mean(cents**2)))


def _f0(signal: np.ndarray) -> np.ndarray:
    """F0 of each frame of a signal at 16 kHz in Hz, NaN where unvoiced."""
    f0, _, _ = librosa.pyin(
        signal, fmin=60.0, fmax=500.0, sr=16000, frame_length=1024, hop_length=256
    )
    return f0


@lru_cache(maxsize=1)
def _compile_pyin() -> None:
    """Let Numba compile pYIN in one process at a time.

    Processes that write Numba's cache at once may leave parts there that do not belong together,
    and every later process that loads them ends in a segmentation fault.
    """
    with exclusive(Path(librosa.__file__).parent):
        _f0(np.zeros(4096, np.float32))


@dataclass(frozen=True)
class Metric:
    """A metric's function, with what a table says about it."""

    label: str  # with the unit
    higher_is_better: bool | None  # None where neither is better
    function: Callable[..., float]
    package: str | None = None  # the optional package that it needs

    def __call__(self, *arguments: ArrayLike) -> float:
        """Call the function: with estimate, reference and rate, or with a recording and rate."""
        return self.function(*arguments)

    def require(self) -> None:
        """Check that the package that the metric needs is installed.

        Raises:
            UserError: if it is not.
        """
        if self.package:
            _package(self.package)


METRICS = {
    "pesq_wb": Metric("PESQ-wb", True, pesq_wb, package="pesq"),
    "csig": Metric("CSIG", True, csig, package="pesq"),
    "cbak": Metric("CBAK", True, cbak, package="pesq"),
    "covl": Metric("COVL", True, covl, package="pesq"),
    "stoi": Metric("STOI", True, stoi, package="pystoi"),
    "estoi": Metric("ESTOI", True, estoi, package="pystoi"),
    "si_sdr": Metric("SI-SDR (dB)", True, si_sdr),
    "mr_stft": Metric("MR-STFT", False, mr_stft),
    "lsd": Metric("LSD (dB)", False, lsd),
    "mcd": Metric("MCD (dB)", False, mcd),
    "log_mel_error": Metric("log-mel error", False, log_mel_error),
    "f0_rmse": Metric("F0 RMSE (cents)", False, f0_rmse),
}


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"the package {name} is missing: pip install 'wavediff[evaluate]' installs it."
        ) from error


def _signals(estimate: ArrayLike, reference: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both signals as float64 ``[T]``.

    Raises:
        ValueError: for another shape or different lengths.
        UndefinedMetric: for a silent reference, or an estimate that is not finite.
    """
    arrays = []
    for signal in (estimate, reference):
        if isinstance(signal, Tensor):
            signal = signal.detach().cpu().double()
        array = np.asarray(signal, dtype=np.float64)
        if array.ndim == 0 or array.size != array.shape[-1]:
            raise ValueError(f"a signal must be [T], [1, T] or [1, 1, T], not {array.shape}")
        arrays.append(np.ascontiguousarray(array.reshape(-1)))
    if arrays[0].shape != arrays[1].shape:
        lengths = f"{len(arrays[0])} and {len(arrays[1])}"
        raise ValueError(f"estimate and reference must have the same length, not {lengths}")
    if is_silent(arrays[1]):
        raise UndefinedMetric("the reference is silent")
    if not np.isfinite(arrays[0]).all():
        raise UndefinedMetric("the estimate holds NaN or infinite values")
    return arrays[0], arrays[1]


def _batches(estimate: ArrayLike, reference: ArrayLike) -> tuple[Tensor, Tensor]:
    """Both signals as float32 tensors ``[1, T]``."""
    s_hat, s = _signals(estimate, reference)
    return torch.from_numpy(s_hat).float()[None], torch.from_numpy(s).float()[None]


def is_silent(signal: np.ndarray) -> bool:
    """Return whether no sample is as large as ``SILENCE``."""
    return not len(signal) or float(np.abs(signal).max()) < SILENCE


def _resample(signal: np.ndarray, sample_rate: int, target: int) -> np.ndarray:
    return resample(torch.from_numpy(signal).float(), sample_rate, target).numpy()
