import pytest
import torch
from torch.nn import functional as F

from wavediff.representations.level import CausalLevel, RunningLevel, normalised

HOP = 5
LEVEL = RunningLevel(sample_rate=1000, hop_length=HOP, past=0.04, ahead=0.015)


def noise(length: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 1, length, generator=generator, dtype=torch.float64)


def test_the_window_is_given_in_seconds():
    assert (LEVEL.past, LEVEL.ahead) == (8, 3)
    default = RunningLevel(sample_rate=16_000, hop_length=128)
    assert (default.past, default.ahead) == (250, 31)


def test_each_frame_has_the_root_mean_square_of_its_window():
    audio = noise(40 * HOP)
    audio[..., 15 * HOP : 22 * HOP] = 0
    level = LEVEL(audio)
    frames = audio.reshape(40, HOP)
    for f in range(40):
        window = frames[max(0, f - 8) : f + 4]
        sound = window[window.abs().amax(1) > 0]
        # in the middle of a frame nothing is interpolated
        torch.testing.assert_close(level[0, 0, f * HOP + 2], sound.square().mean().sqrt())
    between = level[0, 0, 2:-2].unfold(0, HOP + 1, HOP)
    line = torch.linspace(0, 1, HOP + 1, dtype=torch.float64)
    torch.testing.assert_close(between, torch.lerp(between[:, :1], between[:, -1:], line))


def test_a_constant_has_its_own_level_also_at_the_ends_and_beside_silence():
    audio = F.pad(torch.full((1, 1, 30 * HOP), 0.25), (20 * HOP, 20 * HOP))
    level = LEVEL(audio)
    heard = slice((20 - 3) * HOP + HOP // 2, (50 + 8) * HOP - HOP // 2)
    torch.testing.assert_close(level[..., heard], torch.full_like(level[..., heard], 0.25))
    beyond = torch.cat([level[..., : 16 * HOP], level[..., 59 * HOP :]], dim=-1)
    assert (beyond == 0).all()


@pytest.mark.parametrize("factor", [1e-6, 0.3, 2.0, 1e4])
def test_scaled_with_the_recording(factor):
    audio = noise(33 * HOP + 2).float()
    torch.testing.assert_close(LEVEL(factor * audio), factor * LEVEL(audio), rtol=1e-5, atol=0)
    torch.testing.assert_close(
        normalised(factor * audio, LEVEL(factor * audio)),
        normalised(audio, LEVEL(audio)),
        rtol=1e-5,
        atol=1e-6,
    )
    # by powers of two to the last bit
    assert torch.equal(LEVEL(0.5 * audio), 0.5 * LEVEL(audio))


def test_silence_stays_silence():
    audio = torch.zeros(2, 1, 50)
    assert (LEVEL(audio) == 0).all()
    assert (normalised(audio, LEVEL(audio)) == 0).all()
    faint = torch.full((1, 1, 50), 1e-30)  # whose square is no float32
    assert normalised(faint, LEVEL(faint)).isfinite().all()


@pytest.mark.parametrize("length", [1, 4, 5, 6, 23])
def test_any_length(length):
    audio = noise(length).float()
    level = LEVEL(audio)
    assert level.shape == audio.shape
    assert (level > 0).all()
    assert normalised(audio, level).isfinite().all()


def test_items_do_not_see_each_other():
    audio = torch.cat([noise(63), 100 * noise(63, seed=1)])
    torch.testing.assert_close(LEVEL(audio)[:1], LEVEL(audio[:1]))


def test_the_reach_is_the_window_and_one_frame():
    """Half a frame for the frame's own length and one for the interpolation, on either side."""
    audio = torch.ones(1, 1, 40 * HOP, dtype=torch.float64)
    before = LEVEL(audio)
    for at in range(20 * HOP, 21 * HOP):
        changed = audio.clone()
        changed[..., at] = 9
        touched = (LEVEL(changed) != before).flatten().nonzero().flatten()
        assert touched.max() - at <= (LEVEL.past + 1.5) * HOP
        assert at - touched.min() <= (LEVEL.ahead + 1.5) * HOP


def test_a_piece_with_enough_context_is_the_whole():
    audio = noise(60 * HOP)
    whole = LEVEL(audio)
    left, right, past, ahead = 11 * HOP, 51 * HOP, 10 * HOP, 5 * HOP
    piece = LEVEL(audio[..., left:right])
    inside = whole[..., left + past : right - ahead]
    torch.testing.assert_close(piece[..., past:-ahead], inside, rtol=1e-12, atol=0)


def test_a_causal_level_is_that_of_the_blocks_up_to_a_samples_own():
    level = CausalLevel(sample_rate=1000, hop_length=HOP, past=0.04)
    audio = noise(30 * HOP + 2)
    audio[..., 12 * HOP : 15 * HOP] = 0
    found = level(audio)[0, 0]
    blocks = F.pad(audio, (0, 3)).reshape(31, HOP)
    ends = []
    for k in range(31):
        window = blocks[max(0, k - 8) : k + 1]
        sound = window[window.abs().amax(1) > 0]
        ends.append(sound.square().mean().sqrt())
    torch.testing.assert_close(found[HOP - 1 :: HOP], torch.stack(ends[:30]))
    torch.testing.assert_close(found[7 * HOP], ends[6] + (ends[7] - ends[6]) / HOP)
    changed = audio.clone()
    changed[..., 20 * HOP :] = 7
    assert torch.equal(level(changed)[..., : 20 * HOP], level(audio)[..., : 20 * HOP])


def test_a_causal_level_is_constant_in_the_block_where_sound_begins():
    level = CausalLevel(sample_rate=1000, hop_length=HOP, past=0.04)
    audio = F.pad(noise(10 * HOP), (4 * HOP + 2, 0))
    found = level(audio)[0, 0]
    assert not found[: 4 * HOP].any()
    onset = found[4 * HOP : 5 * HOP]
    assert onset[0] > 0
    assert (onset == onset[0]).all()
