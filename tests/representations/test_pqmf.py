import math

import pytest
import torch

from wavediff.representations.pqmf import PQMF, dct_iv, prototype


@pytest.mark.parametrize(("bands", "overlap"), [(2, 4), (4, 1), (4, 2), (4, 4), (8, 3), (16, 2)])
def test_the_bank_is_orthogonal(bands, overlap):
    """The matrix of the whole transform of a finite signal has orthonormal rows and columns."""
    bank = PQMF(bands, overlap)
    length = 6 * bands
    unit = torch.eye(length, dtype=torch.float64).unsqueeze(1)
    matrix = bank.encode(unit).reshape(length, length)
    assert (matrix @ matrix.T - torch.eye(length)).abs().max() < 1e-14


def test_filters_are_the_cosine_modulated_prototype():
    """Malvar, 1992: h(n) sqrt(2 / M) cos((2k + 1) pi (n + 1/2) / (2 M)) about each block."""
    bands, overlap = 4, 4
    bank = PQMF(bands, overlap)
    h = prototype(bank.angles)
    assert h.shape == (2 * overlap * bands,)
    assert (h - h.flip(0)).abs().max() < 1e-15
    torch.manual_seed(0)
    audio = torch.randn(400, dtype=torch.float64)
    z = bank.encode(audio[None, None])[0]
    n = torch.arange(len(h), dtype=torch.float64) + bands / 2 - overlap * bands
    for m in (20, 41):
        segment = audio[m * bands + bands // 2 - overlap * bands :][: len(h)]
        for k in range(bands):
            cosine = torch.cos((2 * k + 1) * math.pi / (2 * bands) * (n + 0.5))
            expected = math.sqrt(2 / bands) * (h * cosine * segment).sum()
            assert abs(expected - z[k, m]) < 1e-13


@pytest.mark.parametrize(
    ("bands", "overlap", "decibels"), [(4, 1, -12), (4, 2, -20), (4, 4, -33), (16, 4, -32)]
)
def test_the_prototype_is_a_low_pass_filter(bands, overlap, decibels):
    h = prototype(PQMF(bands, overlap).angles)
    response = torch.fft.rfft(h, 4096).abs()
    response = 20 * torch.log10(response / response[0])
    edge = 4096 // 2 // bands  # pi / M: the far edge of the neighbouring band
    assert response[edge:].max() < decibels
    assert abs(response[edge // 2] + 3) < 0.5  # neighbours cross at half power
    assert response[: edge // 4].min() > -1


def test_a_sine_falls_into_its_band():
    bank = PQMF(bands=8)
    for band in range(8):
        frequency = (band + 0.5) / 16
        sine = torch.sin(2 * math.pi * frequency * torch.arange(4000, dtype=torch.float64))
        energy = bank.encode(sine[None, None])[0, :, 20:-20].square().sum(-1)
        assert energy[band] / energy.sum() > 0.99


def test_the_dct_is_its_own_inverse():
    d = dct_iv(6)
    assert (d @ d - torch.eye(6)).abs().max() < 1e-14


def test_the_design_is_made_outside_of_inference_mode():
    with torch.inference_mode():
        bank = PQMF(bands=6, overlap=2)
        back = bank.decode(bank.encode(torch.ones(1, 1, 10)), 10)
    assert (back - 1).abs().max() < 1e-6


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="even"):
        PQMF(bands=3)
    with pytest.raises(ValueError, match="overlap"):
        PQMF(overlap=0)
