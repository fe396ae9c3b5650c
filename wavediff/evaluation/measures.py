"""Measures of speech: how close an estimate comes to its reference.

Every measure is a function `(estimate, reference, sample_rate) -> float` of two signals of the same
length, NumPy arrays or tensors of shape [T], [1, T] or [1, 1, T]; `MEASURES` lists them by name.
Frames are compared where they stand: nothing is aligned in time (PESQ does that by itself).

Each raises `Unmeasurable`, with the reason, where it cannot judge: none judges a silent reference.
PESQ and STOI come from the packages pesq and pystoi; without them these measures raise `UserError`.
"""

import importlib
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType

import librosa
import numpy as np
import scipy.fft
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from wavediff.data.resampling import resample
from wavediff.errors import UserError
from wavediff.evaluation import spectral
from wavediff.evaluation.composite import FULL_SCALE, Composite, composite

SILENCE = 2.0**-15  # a signal that stays below one step of 16-bit audio is silent
PESQ_SECONDS = 20.0  # see pesq_wb
CEPSTRAL_ORDER = 24


class Unmeasurable(Exception):
    """A measure cannot judge this pair; the message says why."""


def pesq_wb(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Wide-band PESQ (ITU-T P.862.2, MOS-LQO), 1.04 to 4.64, higher is better; at 16 kHz.

    Audio of more than 20 s is cut into equal pieces of at most that, and the mean over the pieces
    in which the reference has speech is given: the reference code has room for 50 utterances and
    overruns its memory beyond them, and P.862 itself is made for 8 to 30 s.
    """
    _package("pesq")
    return _pesq_wb(*_wide_band(estimate, reference, sample_rate))


@lru_cache(maxsize=1)  # because the composite measures take it too
def _pesq_wb(estimate: bytes, reference: bytes) -> float:
    """From float32 samples at 16 kHz."""
    pesq = _package("pesq")
    estimate, reference = (np.frombuffer(samples, np.float32) for samples in (estimate, reference))
    pieces = math.ceil(len(reference) / (PESQ_SECONDS * 16000))
    pairs = zip(np.array_split(estimate, pieces), np.array_split(reference, pieces), strict=True)
    scores = []
    for estimate_piece, reference_piece in pairs:
        if _silent(reference_piece):
            continue
        if _silent(estimate_piece):
            raise Unmeasurable(f"a piece of {len(estimate_piece) / 16000:.0f} s is silent")
        try:
            scores.append(pesq.pesq(16000, reference_piece, estimate_piece, "wb"))
        except pesq.NoUtterancesError:
            continue
        except pesq.BufferTooShortError:
            raise Unmeasurable("shorter than a quarter of a second") from None
        except (pesq.PesqError, ValueError) as error:
            raise Unmeasurable(f"the pesq package failed: {error}") from None
    if not scores:
        raise Unmeasurable("no utterance found in the reference")
    return float(np.mean(scores))


def csig(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Composite rating of the distortion of the speech, 1 to 5, higher is better; at 16 kHz.

    This and `cbak` and `covl` are those of Hu and Loizou (2008) with wide-band PESQ, as in
    published tables: `wavediff.evaluation.composite`.
    """
    return _composite(estimate, reference, sample_rate).csig


def cbak(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Composite rating of the intrusiveness of the background, 1 to 5, higher is better."""
    return _composite(estimate, reference, sample_rate).cbak


def covl(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Composite rating of the whole, 1 to 5, higher is better."""
    return _composite(estimate, reference, sample_rate).covl


def _composite(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> Composite:
    _package("pesq")
    return _composite_wide_band(*_wide_band(estimate, reference, sample_rate))


@lru_cache(maxsize=1)  # three measures of one pair
def _composite_wide_band(estimate: bytes, reference: bytes) -> Composite:
    pesq = _pesq_wb(estimate, reference)
    signals = (np.frombuffer(x, np.float32) * float(FULL_SCALE) for x in (estimate, reference))
    return composite(*(signal.astype(np.float64) for signal in signals), 16000, pesq)


def _wide_band(estimate: ArrayLike, reference: ArrayLike, rate: int) -> tuple[bytes, bytes]:
    """Both at 16 kHz as the bytes of float32 samples, by which a result can be remembered."""
    estimate, reference = _signals(estimate, reference)
    if rate < 16000:
        raise Unmeasurable("wide-band PESQ needs audio of at least 16 kHz")
    if _silent(estimate):
        raise Unmeasurable("the estimate is silent")
    return tuple(_resample(x, rate, 16000).tobytes() for x in (estimate, reference))


def stoi(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Short-time objective intelligibility (Taal et al. 2011), up to 1, higher is better.

    At 10 kHz, over the frames within 40 dB of the reference's loudest.
    """
    return _stoi(estimate, reference, sample_rate, extended=False)


def estoi(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Extended STOI (Jensen and Taal 2016), up to 1, higher is better."""
    return _stoi(estimate, reference, sample_rate, extended=True)


def _stoi(estimate: ArrayLike, reference: ArrayLike, sample_rate: int, extended: bool) -> float:
    pystoi = _package("pystoi")
    estimate, reference = _signals(estimate, reference)
    too_short = Unmeasurable("less than 0.4 s of speech in the reference")
    if len(reference) < 0.4 * sample_rate:
        raise too_short
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Not enough STFT frames")  # it would return 1e-5
        try:
            return float(pystoi.stoi(reference, estimate, sample_rate, extended=extended))
        except RuntimeWarning:
            raise too_short from None


def si_sdr(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019), higher is better.

    10 log10(||a s||^2 / ||a s - s_hat||^2) with a = <s_hat, s> / ||s||^2, after the mean of each
    signal is removed. Unmeasurable where it is infinite: above 200 dB (equal up to a factor) or
    below -200 dB (nothing of the reference in the estimate).
    """
    estimate, reference = (signal - signal.mean() for signal in _signals(estimate, reference))
    if _silent(reference):
        raise Unmeasurable("the reference is constant")
    target = (estimate @ reference) / (reference @ reference) * reference
    signal, distortion = target @ target, np.sum((target - estimate) ** 2)
    if distortion <= 1e-20 * signal:
        if _silent(estimate):
            raise Unmeasurable("the estimate is silent")
        raise Unmeasurable("infinite: the estimate equals the reference up to a factor")
    if signal <= 1e-20 * distortion:
        raise Unmeasurable("infinitely low: nothing of the reference is in the estimate")
    return float(10 * np.log10(signal / distortion))


def mr_stft(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Multi-resolution STFT distance, lower is better: `wavediff.evaluation.spectral.mr_stft`."""
    return float(spectral.mr_stft(*_batches(estimate, reference)))


def log_mel_error(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Mean absolute error of natural-log mel magnitudes, lower is better.

    80 bands up to half the sample rate: `wavediff.evaluation.spectral.log_mel_error`.
    """
    return float(spectral.log_mel_error(*_batches(estimate, reference), sample_rate))


def lsd(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Log-spectral distance in dB, lower is better: `wavediff.evaluation.spectral.lsd`."""
    return float(spectral.lsd(*_batches(estimate, reference)).mean())


def mcd(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Mel-cepstral distortion in dB (Kubichek 1993), lower is better.

    The mean over all frames, aligned by their time, of `cepstral_distortion` of the log-mel
    spectra of `wavediff.evaluation.spectral.log_mel` (80 Slaney bands up to half the sample rate,
    magnitudes floored at 1e-5).
    """
    log_mels = (spectral.log_mel(x, sample_rate)[0] for x in _batches(estimate, reference))
    return float(np.mean(cepstral_distortion(*(x.double().numpy() for x in log_mels))))


def cepstral_distortion(estimate: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """10 sqrt(2) / ln 10 * sqrt(sum over m = 1..24 of (c_m - c_hat_m)^2) in dB, [frames].

    estimate, reference: natural-log magnitudes [n_mels, frames]. The mel cepstrum is that of
    ln M_k = c_0 + sum of c_m cos(pi m (k + 1/2) / n_mels), so that with all m the result is the
    root mean square of the difference of the two spectra in dB. c_0, the level, is left out.
    """
    n_mels = reference.shape[0]
    cepstra = scipy.fft.dct(reference - estimate, axis=0) / n_mels
    distance = np.linalg.norm(cepstra[1 : CEPSTRAL_ORDER + 1], axis=0)
    return 10 * math.sqrt(2) / math.log(10) * distance


def f0_rmse(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Root mean square of 1200 log2(F0_hat / F0) over the frames voiced in both, in cents.

    F0 and voicing by probabilistic YIN (Mauch and Dixon 2014, as in librosa) between 60 and 500 Hz
    on a grid of 10 cents, at 16 kHz, frames of 64 ms every 16 ms. Lower is better.
    """
    estimate, reference = _signals(estimate, reference)
    if _silent(estimate):
        raise Unmeasurable("the estimate is silent")
    tracks = []
    for signal in (estimate, reference):
        signal = _resample(signal, sample_rate, 16000)
        f0, _, _ = librosa.pyin(
            signal, fmin=60.0, fmax=500.0, sr=16000, frame_length=1024, hop_length=256
        )
        tracks.append(f0)  # NaN where unvoiced
    cents = 1200 * np.log2(tracks[0] / tracks[1])
    cents = cents[np.isfinite(cents)]
    if not len(cents):
        raise Unmeasurable("no frame is voiced in both")
    return float(np.sqrt(np.mean(cents**2)))


@dataclass(frozen=True)
class Measure:
    """A measure's function with what a table needs to know of it."""

    label: str  # with the unit
    higher_is_better: bool
    function: Callable[[ArrayLike, ArrayLike, int], float]
    package: str | None = None  # the optional package that it needs

    def __call__(self, estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
        return self.function(estimate, reference, sample_rate)

    def require(self) -> None:
        """Raise `UserError` where the package that the measure needs is not installed."""
        if self.package:
            _package(self.package)


MEASURES = {
    "pesq_wb": Measure("PESQ-wb", True, pesq_wb, package="pesq"),
    "csig": Measure("CSIG", True, csig, package="pesq"),
    "cbak": Measure("CBAK", True, cbak, package="pesq"),
    "covl": Measure("COVL", True, covl, package="pesq"),
    "stoi": Measure("STOI", True, stoi, package="pystoi"),
    "estoi": Measure("ESTOI", True, estoi, package="pystoi"),
    "si_sdr": Measure("SI-SDR (dB)", True, si_sdr),
    "mr_stft": Measure("MR-STFT", False, mr_stft),
    "lsd": Measure("LSD (dB)", False, lsd),
    "mcd": Measure("MCD (dB)", False, mcd),
    "log_mel_error": Measure("log-mel error", False, log_mel_error),
    "f0_rmse": Measure("F0 RMSE (cents)", False, f0_rmse),
}


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"the package {name} is missing: install it by pip install 'wavediff[evaluate]'."
        ) from error


def _signals(estimate: ArrayLike, reference: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 [T]; refuses a silent reference and signals that are not a pair."""
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
    if _silent(arrays[1]):
        raise Unmeasurable("the reference is silent")
    if not np.isfinite(arrays[0]).all():
        raise Unmeasurable("the estimate holds NaN or infinite values")
    return arrays[0], arrays[1]


def _batches(estimate: ArrayLike, reference: ArrayLike) -> tuple[Tensor, Tensor]:
    """Both as float32 tensors [1, T]."""
    estimate, reference = _signals(estimate, reference)
    return torch.from_numpy(estimate).float()[None], torch.from_numpy(reference).float()[None]


def _silent(signal: np.ndarray) -> bool:
    return not len(signal) or float(np.abs(signal).max()) < SILENCE


def _resample(signal: np.ndarray, sample_rate: int, target: int) -> np.ndarray:
    return resample(torch.from_numpy(signal).float(), sample_rate, target).numpy()
