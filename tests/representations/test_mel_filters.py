import librosa
import numpy as np
import pytest

from wavediff.representations.mel_filters import mel_filters


@pytest.mark.parametrize("norm", ["slaney", None])
@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize(
    ("rate", "n_fft", "n_mels", "f_min", "f_max"),
    [
        (22050, 1024, 80, 0.0, 8000.0),
        (16000, 512, 80, 0.0, 8000.0),
        (24000, 1024, 100, 20.0, 12000.0),
    ],
)
def test_they_are_librosas(rate, n_fft, n_mels, f_min, f_max, scale, norm):
    expected = librosa.filters.mel(
        sr=rate, n_fft=n_fft, n_mels=n_mels, fmin=f_min, fmax=f_max, htk=scale == "htk", norm=norm,
        dtype=np.float64,
    )  # fmt: skip
    found = mel_filters(rate, n_fft, n_mels, f_min, f_max, scale, norm).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13)
