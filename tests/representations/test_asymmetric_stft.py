import numpy as np
import pytest
import torch

from wavediff.representations.asymmetric_stft import AsymmetricSTFT

HOP, N_FFT = 16, 64


@pytest.fixture
def transform():
    return AsymmetricSTFT(N_FFT, HOP)


def test_frames_are_those_of_numpys_fft_and_end_with_their_block(transform, speech):
    audio = speech[..., 3000 : 3000 + 10 * HOP]
    x = transform.stft(audio)[0].numpy()
    rise, fall = N_FFT - HOP, HOP
    window = np.concatenate(
        [
            np.sin(np.pi / 2 * (np.arange(rise) + 0.5) / rise),
            np.cos(np.pi / 2 * (np.arange(fall) + 0.5) / fall),
        ]
    )
    padded = np.pad(audio.numpy().ravel(), (N_FFT - HOP, HOP))
    for m in range(11):
        frame = padded[m * HOP : m * HOP + N_FFT]  # up to sample (m + 1) HOP of the audio
        np.testing.assert_allclose(x[:, m], np.fft.rfft(window * frame), atol=1e-12)


def test_both_windows_together_are_a_hann_window(transform):
    product = transform.window[-2 * HOP :] * transform.synthesis_window
    n = torch.arange(2 * HOP, dtype=torch.float64)
    hann = torch.sin(torch.pi * (n + 0.5) / (2 * HOP)).square()
    torch.testing.assert_close(product, hann)


@pytest.mark.parametrize("at", [0, 1, HOP - 1, HOP, 5 * HOP + 3])
def test_what_is_decoded_needs_no_sample_after_two_hops(transform, at):
    """A sample comes out with its block and the next one, never later."""
    torch.manual_seed(0)
    audio = torch.randn(1, 1, 12 * HOP, dtype=torch.float64)
    needed = (at // HOP + 2) * HOP
    changed = audio.clone()
    changed[..., needed:] = torch.randn(1, 1, 12 * HOP - needed, dtype=torch.float64)
    out, other = (transform.decode(2 * transform.encode(a), 12 * HOP) for a in (audio, changed))
    assert torch.equal(out[..., : at + 1], other[..., : at + 1])
    changed[..., needed - 1] += 1.0
    again = transform.decode(2 * transform.encode(changed), 12 * HOP)
    assert not torch.equal(out, again)
    assert needed - at <= transform.latency
