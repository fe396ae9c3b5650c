import math

import numpy as np
import pytest
import torch

from wavediff.representations.stft import STFT, power_law


def test_frames_are_those_of_numpys_fft(speech):
    """Frame m is the FFT of the Hann-windowed samples centred on m * hop_length."""
    transform = STFT(n_fft=64, hop_length=16)
    audio = speech[..., 3000:3200]
    z = transform.encode(audio)[0].numpy()
    padded = np.pad(audio.numpy().ravel(), 64)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(64) / 64)
    for m in range(13):
        centre = 64 + 16 * m
        frame = np.fft.rfft(window * padded[centre - 32 : centre + 32])
        expected = np.concatenate([frame.real, frame.imag[1:-1]])
        np.testing.assert_allclose(z[:, m], expected, atol=1e-12)


def test_compression_raises_magnitudes_and_keeps_phases():
    torch.manual_seed(0)
    plain = STFT(n_fft=64, hop_length=16)
    pressed = STFT(n_fft=64, hop_length=16, compression=0.5, scale=3.0)
    audio = torch.randn(1, 1, 400, dtype=torch.float64)
    x = plain.stft(audio)
    z = pressed.encode(audio)
    real, imaginary = z[:, :33], z[:, 33:]
    expected = 3 * torch.polar(x.abs().sqrt(), x.angle())
    assert (real - expected.real).abs().max() < 1e-10
    assert (imaginary - expected.imag[:, 1:-1]).abs().max() < 1e-10


@pytest.mark.parametrize("exponent", [0.3, 0.5, 1.0])
def test_compression_is_invertible_down_to_zero(exponent):
    magnitude = torch.cat([torch.zeros(1), torch.logspace(-12, 3, 100)]).double()
    x = torch.stack([magnitude * math.cos(1), magnitude * math.sin(1)], dim=-1)
    x.requires_grad_()
    z = power_law(x, exponent, 1e-4)
    back = power_law(z, 1 / exponent, 1e-4**exponent)
    assert (back - x).abs().max() < 1e-10
    sizes = z.detach().norm(dim=-1)
    assert (sizes.diff() > 0).all()  # strictly growing, also across the linear part's end
    z.sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize(("n_fft", "hop"), [(64, 21), (256, 50), (512, 128), (1024, 300)])
def test_other_sizes_are_exact(speech, n_fft, hop):
    transform = STFT(n_fft, hop, compression=0.7)
    for length in (1, hop, hop + 1, 3001):
        audio = speech[..., 2000 : 2000 + length].float()
        back = transform.decode(transform.encode(audio), length)
        assert (back - audio).abs().max() < 2e-6


@pytest.mark.parametrize(("n_fft", "hop"), [(64, 21), (256, 64), (256, 50)])
def test_the_inverse_is_that_of_least_squares(n_fft, hop):
    """Of all signals, the one whose frames are nearest to those given (Griffin and Lim, 1984)."""
    torch.manual_seed(0)
    transform = STFT(n_fft, hop)
    length = 7 * hop + 3
    shape = (2, n_fft // 2 + 1, transform.frames(length))
    spectrum = torch.randn(shape, dtype=torch.complex128)  # no signal has these frames
    audio = transform.istft(spectrum, length).requires_grad_()
    error = torch.fft.irfft(transform.stft(audio) - spectrum, dim=1)
    error.square().sum().backward()
    assert audio.grad.abs().max() < 1e-10
    worse = transform.istft(spectrum, length) + 0.1
    assert torch.fft.irfft(transform.stft(worse) - spectrum, dim=1).norm() > error.norm()


def test_noise_of_unit_variance_in_a_frame_has_the_windows_energy():
    torch.manual_seed(0)
    transform = STFT(n_fft=256, hop_length=64)
    z = transform.encode(torch.randn(1, 1, 64 * 2000))[..., 4:-4]
    expected = math.sqrt(256 * 3 / 8 / 2)  # each of real and imaginary part
    assert z[:, 5:120].std() == pytest.approx(expected, rel=0.02)


def test_parameters_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="even"):
        STFT(n_fft=1023)
    with pytest.raises(ValueError, match="hop_length"):
        STFT(n_fft=1024, hop_length=512)
    with pytest.raises(ValueError, match="compression"):
        STFT(compression=0.0)
