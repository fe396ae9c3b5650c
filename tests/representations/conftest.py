import math

import pytest
import torch
from torch import Tensor


def make_speech(length: int, sample_rate: int = 22_050, seed: int = 0) -> Tensor:
    """Syllables of a gliding voice with formants, and hiss between them: [1, 1, length], peak 0.95.

    float64, so that tests can ask for bounds beyond float32.
    """
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(length, dtype=torch.float64) / sample_rate
    f0 = 120 + 30 * torch.sin(2 * math.pi * 1.3 * time)
    phase = 2 * math.pi * torch.cumsum(f0, 0) / sample_rate
    voice = torch.zeros(length, dtype=torch.float64)
    for k in range(1, 60):
        frequency = k * 120.0
        formants = sum(
            gain / (1 + ((frequency - centre) / 150) ** 2)
            for centre, gain in ((500, 1.0), (1500, 0.5), (2500, 0.3), (3700, 0.1))
        )
        voice += formants * torch.sin(k * phase + k * k)
    syllable = torch.sin(2 * math.pi * 2 * time).clamp_min(0)
    hiss = torch.randn(length, generator=generator, dtype=torch.float64)
    hiss = hiss * (0.05 * torch.sin(2 * math.pi * 2 * time + math.pi).clamp_min(0) + 1e-4)
    speech = syllable * voice + hiss
    return (0.95 * speech / speech.abs().max().clamp_min(1e-9))[None, None]


@pytest.fixture(scope="session")
def speech() -> Tensor:
    return make_speech(22_050)
