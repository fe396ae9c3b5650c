"""The upper edge of a mel: a tone there is taken out, noise and speech keep their level."""

import math

import pytest
import torch

from wavediff import Vocoder
from wavediff.representations.mel import mel_front_end
from wavediff.representations.mel_edge import EDGE, even_edge
from wavediff.representations.stft import STFT

RATE = 22_050


@pytest.fixture(scope="module")
def mel():
    return mel_front_end("tacotron")


@pytest.fixture(scope="module")
def stft():
    return STFT(1024, 256)


def spectrum(stft: STFT, audio: torch.Tensor) -> torch.Tensor:
    """Mean energy of the bins, ``[513]``."""
    return stft.stft(audio)[0].abs().square().mean(1)


@pytest.fixture(scope="module")
def noise():
    return torch.randn(1, 1, 3 * RATE, generator=torch.Generator().manual_seed(0))


def test_noise_keeps_its_level_and_all_other_bins_their_values(mel, stft, noise):
    z = stft.encode(noise)
    evened = even_edge(z, mel, stft)
    changed = (evened != z).any(-1)[0]
    at = {i for i in range(513) if abs(i - 8000 / RATE * 1024) <= EDGE}
    assert at == {370, 371, 372, 373}
    assert set(changed.nonzero()[:, 0].tolist()) == at | {512 + i for i in at}
    before, after = (spectrum(stft, stft.decode(x, noise.shape[-1])) for x in (z, evened))
    assert (after / before).log10().abs().max() < 0.1


@pytest.mark.parametrize("level", [0.1, 0.3, 1])
def test_a_tone_at_the_edge_has_the_level_of_its_surroundings(mel, stft, noise, level):
    time = torch.arange(noise.shape[-1]) / RATE
    tone = noise + level * torch.sin(2 * math.pi * 8000 * time)
    evened = stft.decode(even_edge(stft.encode(tone), mel, stft), noise.shape[-1])
    energy = spectrum(stft, evened)
    around = torch.cat([energy[360:366], energy[378:384]]).mean()
    assert 0.2 < energy[370:374].mean() / around < 1.5


def test_a_mel_of_the_whole_band_has_no_edge(stft, noise):
    z = stft.encode(noise)
    assert even_edge(z, mel_front_end("tacotron", f_max=11_025.0), stft) is z


def test_the_bundled_vocoder_has_no_line_in_pauses():
    """Its training recordings hold a tone at 8 kHz, the upper edge of its mel."""
    vocoder = Vocoder.from_pretrained()
    quiet = 1e-4 * torch.randn(1, 1, 2 * RATE, generator=torch.Generator().manual_seed(1))
    audio = vocoder(vocoder.mel(quiet)[0])
    energy = spectrum(STFT(1024, 256), audio[None, None])
    around = torch.cat([energy[360:367], energy[377:384]]).mean()
    assert energy[370:374].max() < 3 * around
