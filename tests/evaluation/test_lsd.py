import math

import pytest
import torch

from wavediff.evaluation.metrics import METRICS
from wavediff.evaluation.spectral import POWER_FLOOR, lsd


def test_a_gain_is_as_far_as_its_decibels_in_every_frame():
    x = 0.3 * torch.randn(2, 1, 8000, generator=torch.Generator().manual_seed(0))
    frames = lsd(x / 2, x)
    assert frames.shape == (2, 32)
    assert (frames - 20 * math.log10(2)).abs().max() < 1e-3
    assert METRICS["lsd"](x[0, 0] / 2, x[0, 0], 16000) == pytest.approx(6.0206, abs=1e-3)


def test_equal_sounds_have_none_and_silence_is_as_far_as_the_floor():
    x = torch.zeros(1, 1, 8000)
    x[..., 4096] = 0.5  # every bin of frame 16 has the same power
    assert (lsd(x, x) == 0).all()
    frames = lsd(torch.zeros_like(x), x)[0]
    assert float(frames[16]) == pytest.approx(10 * math.log10(0.25 / POWER_FLOOR), abs=1e-2)
    assert float(frames[0]) == 0
