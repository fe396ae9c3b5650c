"""What is known of a sound: drawn as a function of the item, and told to the network."""

import pytest
import torch

from wavediff.diffusion.noise import ItemNoise
from wavediff.representations.stft import STFT
from wavediff.tasks.generator import Generator
from wavediff.tasks.observation import BANDS, CHANNELS, nothing, observe

FRAMES = STFT(256, 64)
ITEMS = 12


def sounds(length=8000):
    return torch.randn(ITEMS, 1, length, generator=torch.Generator().manual_seed(0)) * 0.1


def of(kind, items=range(ITEMS)):
    return observe(sounds()[list(items)], ItemNoise(0, items), {kind: 1.0})


def test_an_observation_depends_on_the_item_alone():
    shares = {"nothing": 0.2, "gaps": 0.3, "band": 0.3, "clipped": 0.2}
    whole = observe(sounds(), ItemNoise(3, range(ITEMS)), shares)
    part = observe(sounds()[4:6], ItemNoise(3, [4, 5]), shares)
    assert torch.equal(part.audio, whole.audio[4:6])
    assert torch.equal(part.known, whole.known[4:6])
    assert len({tuple(x.flatten()[:500].tolist()) for x in whole.known}) > 2


def test_gaps_are_silent_and_all_else_is_as_it_was():
    seen = of("gaps")
    known = seen.known.bool()
    assert torch.equal(seen.audio[known], sounds()[known])
    assert not seen.audio[~known].any()
    missing = 1 - seen.known.mean(-1)
    assert ((missing >= 0.004) & (missing <= 0.25)).all()
    assert (seen.cutoff == 0.5).all()


def test_a_band_is_a_low_pass():
    seen = of("band")
    power = torch.fft.rfft(seen.audio[..., 300:-300]).abs().square().mean(1)
    before = torch.fft.rfft(sounds()[..., 300:-300]).abs().square().mean(1)
    at = torch.linspace(0, 0.5, power.shape[-1])
    for p, q, cutoff in zip(power, before, seen.cutoff.tolist(), strict=True):
        above, below = at > cutoff + 0.03, at < cutoff - 0.03
        assert p[above].sum() < 1e-3 * q[above].sum()
        assert 0.9 < p[below].sum() / q[below].sum() < 1.1
    assert seen.known.all()
    assert torch.isclose(seen.cutoff, torch.tensor(0.225)).any()


def test_clipped_samples_are_at_the_level_and_not_known():
    seen = of("clipped")
    known = seen.known.bool()
    assert torch.equal(seen.audio[known], sounds()[known])
    bound = seen.audio.abs().amax(-1, keepdim=True).expand_as(seen.audio)
    assert torch.allclose(seen.audio.abs()[~known], bound[~known])
    assert (sounds().abs()[~known] >= bound[~known]).all()


def test_the_network_sees_how_much_is_known():
    cond = of("gaps").condition(FRAMES, 2.0)
    assert cond.anchor.shape == (ITEMS, FRAMES.channels, FRAMES.frames(8000))
    assert cond.local.shape == (ITEMS, CHANNELS, FRAMES.frames(8000))
    assert torch.equal(cond.anchor, 2 * FRAMES.encode(of("gaps").audio))
    assert cond.local[:, 2:].min() == 1
    seen = of("band").condition(FRAMES, 1.0).local
    assert torch.equal(seen[:, 2:].sum(1)[:, 0], (of("band").cutoff * 2 * BANDS).round())
    silent = nothing(2, 8000, torch.device("cpu")).condition(FRAMES, 1.0)
    assert not silent.anchor.any()
    assert not silent.local[:, :, 3:-3].any()


def test_what_is_not_known():
    gaps, band = of("gaps"), of("band")
    unknown = gaps.unknown(FRAMES)
    assert torch.equal(unknown.amin(1), unknown.amax(1))  # all bands of a frame
    share = unknown[:, 0].mean(-1)
    assert (share >= 1 - gaps.known.mean((1, 2))).all()
    unknown = band.unknown(FRAMES)
    assert torch.equal(unknown.amin(2), unknown.amax(2))  # all frames of a band
    assert ((unknown[:, :, 0] > 0) == (FRAMES.centres.float() > band.cutoff[:, None])).all()
    assert nothing(1, 8000, torch.device("cpu")).unknown(FRAMES).min() == 1


@pytest.mark.parametrize("shares", [{"holes": 1.0}, {"gaps": 1.0}])
def test_what_cannot_be_observed(shares):
    class Plain(torch.nn.Module):
        channels, hop_length = 4, 4

    representation = FRAMES if "holes" in shares else Plain()
    with pytest.raises(ValueError, match="observe"):
        Generator(representation, torch.nn.Identity(), *[None] * 4, observe=shares)
