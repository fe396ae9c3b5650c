import math

import librosa
import numpy as np
import pytest
import torch

from wavediff.evaluation.spectral import log_mel, log_mel_error, mr_stft

RATE = 22050


@pytest.fixture
def noise():
    return 0.1 * torch.randn(3, 1, 8000, generator=torch.Generator().manual_seed(0))


def test_mr_stft_of_a_gain_has_a_closed_form(noise):
    # |1 - g| of spectral convergence and |ln g| of log magnitude, at every resolution
    gain = 0.8
    expected = (1 - gain) + abs(math.log(gain))
    torch.testing.assert_close(
        mr_stft(gain * noise.double(), noise.double()),
        torch.full((3,), expected, dtype=torch.float64),
        rtol=2e-4,  # some bins of the noise lie under the floor
        atol=0,
    )


def test_log_mel_error_of_a_gain_is_the_log_of_the_gain(noise):
    error = log_mel_error(noise * 0.5, noise, RATE)
    torch.testing.assert_close(error, torch.full((3,), math.log(2)), rtol=1e-5, atol=0)


@pytest.mark.parametrize("distance", [mr_stft, lambda a, b: log_mel_error(a, b, RATE)])
def test_zero_for_equal_audio_per_item_and_any_layout(distance, noise):
    other = noise.clone()
    other[1] = other[1].flip(-1)
    values = distance(other, noise)
    assert values.shape == (3,)
    assert values[0] == values[2] == 0
    assert values[1] > 0.1
    torch.testing.assert_close(distance(other[:, 0], noise[:, 0]), values)


@pytest.mark.parametrize("distance", [mr_stft, lambda a, b: log_mel_error(a, b, RATE)])
@pytest.mark.parametrize("estimate", ["silent", "equal", "other"])
@pytest.mark.parametrize("reference", ["silent", "noise"])
def test_values_and_gradients_are_finite(distance, estimate, reference, noise):
    b = noise if reference == "noise" else torch.zeros_like(noise)
    a = {"silent": torch.zeros_like(noise), "equal": b.clone(), "other": noise.flip(-1)}[estimate]
    a.requires_grad_()
    value = distance(a, b)
    value.sum().backward()
    assert value.isfinite().all()
    assert a.grad.isfinite().all()


def test_descending_the_gradient_lowers_both(noise):
    for distance in (mr_stft, lambda a, b: log_mel_error(a, b, RATE)):
        estimate = noise.flip(-1).requires_grad_()
        before = distance(estimate, noise).sum()
        before.backward()
        with torch.no_grad():
            step = estimate - 1e-3 * estimate.grad / estimate.grad.abs().max()
            assert distance(step, noise).sum() < before


def test_a_silent_reference_counts_as_noise_of_the_least_rms(noise):
    # noise of 0.1 against silence: 0.1 / min_rms of convergence, and the same log magnitude
    silent = torch.zeros_like(noise)
    once, twice = (mr_stft(noise, silent, min_rms=least) for least in (0.1, 0.2))
    torch.testing.assert_close(once - twice, torch.full((3,), 0.5), rtol=0.03, atol=0)
    louder = mr_stft(noise.flip(-1), noise, min_rms=0.05)
    torch.testing.assert_close(louder, mr_stft(noise.flip(-1), noise))


@pytest.mark.parametrize("length", [1, 100, 511])
def test_short_audio(length, noise):
    assert mr_stft(0.5 * noise[..., :length], noise[..., :length]).isfinite().all()
    assert log_mel_error(0.5 * noise[..., :length], noise[..., :length], RATE).isfinite().all()


def test_autocast_changes_nothing(noise):
    other = noise.flip(-1)
    with torch.autocast("cpu", torch.bfloat16):
        inside = mr_stft(other, noise), log_mel_error(other, noise, RATE)
    outside = mr_stft(other, noise), log_mel_error(other, noise, RATE)
    torch.testing.assert_close(inside, outside, rtol=0, atol=0)
    assert mr_stft(other.bfloat16(), noise.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize(("rate", "n_fft"), [(16000, 1024), (22050, 1024), (48000, 2048)])
def test_log_mel_is_librosas(noise, rate, n_fft):
    audio = noise[0]
    mel = librosa.feature.melspectrogram(
        y=audio[0].double().numpy(),
        sr=rate,
        n_fft=n_fft,
        hop_length=n_fft // 4,
        power=1.0,
        n_mels=80,
        pad_mode="constant",
    )
    ours = log_mel(audio.double(), rate)[0].numpy()
    np.testing.assert_allclose(ours, np.log(np.maximum(mel, 1e-5)), atol=1e-5)


def test_shapes_that_are_no_pair(noise):
    with pytest.raises(ValueError, match="same shape"):
        mr_stft(noise, noise[..., 1:])
    with pytest.raises(ValueError, match=r"\[B, 1, T\]"):
        mr_stft(noise.expand(3, 2, -1), noise.expand(3, 2, -1))
