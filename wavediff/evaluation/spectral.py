"""Differentiable spectral distances between waveforms, used as metrics and as losses.

All take audio as ``[B, 1, T]`` or ``[B, T]`` and return one value per item, ``[B]``. A and A_hat
are the magnitudes of the STFTs of the reference and the estimate (periodic Hann window of the FFT's
length, frame m centred on sample m * hop_length, zeros beyond both ends, so that T >= 1 suffices):

- ``mr_stft``: the multi-resolution STFT loss of Yamamoto et al. 2020 (Parallel WaveGAN, equations
  4-6): per resolution, the spectral convergence ||A - A_hat||_F / ||A||_F plus the mean absolute
  difference of ln A and ln A_hat; then the mean over the resolutions. Magnitudes are floored at
  sqrt(1e-7), as in the authors' code.
- ``log_mel_error``: the mean absolute difference of ln(max(M, 1e-5)) and ln(max(M_hat, 1e-5)),
  where M is the mel filter bank (Slaney's scale and normalisation, as librosa's) times A.

The floors keep values and gradients finite for silence and for equal signals. All is computed in
float32 (float64 for float64 audio), even under autocast.
"""

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from wavediff.representations.mel_filters import mel_filters

# (n_fft, hop_length) in samples
RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512))

POWER_FLOOR = 1e-7  # about the quantisation noise of 16-bit audio
MEL_FLOOR = 1e-5


def mr_stft(
    estimate: Tensor,
    reference: Tensor,
    resolutions: Sequence[tuple[int, int]] = RESOLUTIONS,
    min_rms: float = 0.0,
) -> Tensor:
    """Multi-resolution STFT distance (see the module); 0 for equal audio, lower is better.

    Args:
        estimate: ``[B, 1, T]`` or ``[B, T]``.
        reference: like ``estimate``.
        resolutions: pairs (n_fft, hop_length) in samples.
        min_rms: for references that may be silent: the spectral convergence is relative to at
            least the ||A||_F of white noise of this RMS.

    Returns:
        ``[B]``.

    Raises:
        ValueError: if the shapes do not match.
    """
    estimate, reference = paired(estimate, reference)
    total = estimate.new_zeros(estimate.shape[0])
    with torch.autocast(estimate.device.type, enabled=False):
        for n_fft, hop_length in resolutions:
            a_hat = stft_power(estimate, n_fft, hop_length).clamp_min(POWER_FLOOR).sqrt()
            a = stft_power(reference, n_fft, hop_length).clamp_min(POWER_FLOOR).sqrt()
            norm = functools.partial(torch.linalg.vector_norm, dim=(1, 2))
            # a periodic Hann window's energy is 3/8 n_fft
            min_norm = min_rms * math.sqrt(3 / 8 * n_fft * a[0].numel())
            convergence = norm(a - a_hat) / norm(a).clamp_min(min_norm)
            log_magnitude = (a.log() - a_hat.log()).abs().mean(dim=(1, 2))
            total = total + convergence + log_magnitude
    return total / len(resolutions)


def log_mel_error(
    estimate: Tensor,
    reference: Tensor,
    sample_rate: int,
    n_mels: int = 80,
    n_fft: int | None = None,
    hop_length: int | None = None,
    f_min: float = 0.0,
    f_max: float | None = None,
) -> Tensor:
    """Mean absolute error of natural-log mel magnitudes (see the module); lower is better.

    Args:
        estimate: ``[B, 1, T]`` or ``[B, T]``.
        reference: like ``estimate``.
        sample_rate: in Hz.
        n_mels: the number of mel bands.
        n_fft: in samples; by default the power of two nearest to 46 ms (1024 at 16, 22.05 and
            24 kHz, 2048 at 44.1 and 48 kHz).
        hop_length: in samples; by default a quarter of ``n_fft``.
        f_min: lower edge of the lowest band in Hz.
        f_max: upper edge of the highest band in Hz; by default half the sample rate.

    Returns:
        ``[B]``.

    Raises:
        ValueError: if the shapes do not match.
    """
    estimate, reference = paired(estimate, reference)
    bands = functools.partial(
        log_mel,
        sample_rate=sample_rate,
        n_mels=n_mels,
        n_fft=n_fft,
        hop_length=hop_length,
        f_min=f_min,
        f_max=f_max,
    )
    return (bands(estimate) - bands(reference)).abs().mean(dim=(1, 2))


def lsd(estimate: Tensor, reference: Tensor, n_fft: int = 1024, hop_length: int = 256) -> Tensor:
    """Log-spectral distance of each frame in dB; lower is better.

    The root mean square over the bins of 10 log10 P - 10 log10 P_hat (Gray and Markel 1976), where
    P is the power of the STFT as for ``mr_stft``, floored at 1e-7. Frame m is centred on sample
    m * hop_length. Publications report the mean over the frames.

    Args:
        estimate: ``[B, 1, T]`` or ``[B, T]``.
        reference: like ``estimate``.
        n_fft: in samples.
        hop_length: in samples.

    Returns:
        ``[B, frames]``.

    Raises:
        ValueError: if the shapes do not match.
    """
    estimate, reference = paired(estimate, reference)
    with torch.autocast(estimate.device.type, enabled=False):
        powers = (
            stft_power(x, n_fft, hop_length).clamp_min(POWER_FLOOR) for x in (estimate, reference)
        )
        p_hat, p = (10 * power.log10() for power in powers)
        return (p - p_hat).square().mean(dim=1).sqrt()


def log_mel(
    audio: Tensor,
    sample_rate: int,
    n_mels: int = 80,
    n_fft: int | None = None,
    hop_length: int | None = None,
    f_min: float = 0.0,
    f_max: float | None = None,
) -> Tensor:
    """Return ln(max(M, 1e-5)) of audio ``[B, T]`` as ``[B, n_mels, frames]``.

    The arguments are those of ``log_mel_error``.
    """
    n_fft = n_fft or 2 ** round(math.log2(sample_rate * 1024 / 22050))
    hop_length = hop_length or n_fft // 4
    with torch.autocast(audio.device.type, enabled=False):
        bank = mel_bank(sample_rate, n_fft, n_mels, f_min, f_max or sample_rate / 2).to(audio)
        # 1e-10, far below MEL_FLOOR, keeps the gradient of the square root finite
        magnitude = stft_power(audio, n_fft, hop_length).clamp_min(1e-10).sqrt()
        return (bank @ magnitude).clamp_min(MEL_FLOOR).log()


@functools.cache
def mel_bank(sample_rate: int, n_fft: int, n_mels: int, f_min: float, f_max: float) -> Tensor:
    """Return librosa's mel filter bank (Slaney), float32 ``[n_mels, n_fft // 2 + 1]``."""
    return mel_filters(sample_rate, n_fft, n_mels, f_min, f_max).float()


def paired(estimate: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Return both signals as ``[B, T]`` in float32, or float64 if either is.

    Raises:
        ValueError: for different shapes, or any but ``[B, 1, T]`` and ``[B, T]``.
    """
    if estimate.shape != reference.shape:
        shapes = f"{tuple(estimate.shape)} and {tuple(reference.shape)}"
        raise ValueError(f"estimate and reference must have the same shape, not {shapes}")
    if estimate.ndim not in (2, 3) or (estimate.ndim == 3 and estimate.shape[1] != 1):
        raise ValueError(f"audio must be [B, 1, T] or [B, T], not {tuple(estimate.shape)}")
    dtype = torch.promote_types(torch.promote_types(estimate.dtype, reference.dtype), torch.float32)
    batch, length = estimate.shape[0], estimate.shape[-1]
    return estimate.reshape(batch, length).to(dtype), reference.reshape(batch, length).to(dtype)


def stft_power(audio: Tensor, n_fft: int, hop_length: int) -> Tensor:
    """Return |STFT|^2 of audio ``[B, T]`` as ``[B, n_fft // 2 + 1, frames]``."""
    window = torch.hann_window(n_fft, dtype=audio.dtype, device=audio.device)
    spectrum = torch.stft(
        audio, n_fft, hop_length, window=window, pad_mode="constant", return_complex=True
    )
    return torch.view_as_real(spectrum).square().sum(dim=-1)
