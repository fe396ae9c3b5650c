import pytest
import torch

from wavediff.representations.mel import mel_front_end
from wavediff.representations.mel_projection import MelProjection


def voice(seconds: float = 1.0, sample_rate: int = 22050) -> torch.Tensor:
    """A buzz with a gliding pitch, and some breath."""
    torch.manual_seed(0)
    t = torch.arange(int(seconds * sample_rate)) / sample_rate
    phase = 2 * torch.pi * (120 * t + 20 * t**2)
    buzz = sum(torch.sin(k * phase) / k for k in range(1, 40))
    return (0.2 * buzz + 0.02 * torch.randn(len(t)))[None, None]


@pytest.mark.parametrize("name", ["tacotron", "lmnt", "hifigan", "bigvgan"])
def test_a_signal_that_has_the_mel_stays_as_it_is(name):
    front_end = mel_front_end(name)
    audio = voice(1.0, front_end.sample_rate)
    moved = MelProjection(front_end, iterations=8)(audio, front_end(audio))
    inner = slice(2 * front_end.n_fft, -2 * front_end.n_fft)
    assert (moved - audio)[..., inner].abs().max() < 2e-4


@pytest.mark.parametrize("name", ["tacotron", "lmnt", "hifigan"])
def test_noise_comes_to_have_the_mel(name):
    front_end = mel_front_end(name)
    mel = front_end(voice())
    torch.manual_seed(1)
    start = 0.05 * torch.randn(1, 1, 22050)
    moved = MelProjection(front_end, iterations=32)(start, mel)

    def distance(audio: torch.Tensor) -> float:
        return float((front_end(audio) - mel)[..., 4:-4].abs().mean())

    assert distance(moved) < 0.15 * distance(start)


def test_no_iterations_leave_everything_alone():
    front_end = mel_front_end("tacotron")
    audio = voice(0.2)
    assert torch.equal(MelProjection(front_end, 0)(audio, front_end(audio)), audio)


def test_audio_shorter_than_a_window_is_left_alone():
    front_end = mel_front_end("tacotron")
    audio = voice(0.03)
    moved = MelProjection(front_end, 4)(audio, front_end(audio))
    torch.testing.assert_close(moved, audio, rtol=0, atol=1e-6)


def test_what_lies_farther_than_its_reach_has_no_influence():
    front_end = mel_front_end("tacotron")
    projection = MelProjection(front_end, iterations=3)
    mel = front_end(voice())
    torch.manual_seed(1)
    start = 0.05 * torch.randn(1, 1, 22050)
    other = start.clone()
    other[..., :2560] += 0.1
    same = 2560 + projection.reach * front_end.hop_length
    a, b = projection(start, mel), projection(other, mel)
    assert torch.equal(a[..., same:], b[..., same:])
    assert not torch.equal(a[..., :2560], b[..., :2560])


@pytest.mark.parametrize("name", ["tacotron", "lmnt", "hifigan"])
def test_its_bins_are_all_that_any_band_sees(name):
    front_end = mel_front_end(name)
    projection = MelProjection(front_end, iterations=1)
    assert (front_end.filters[:, projection.bins :] == 0).all()
    assert (front_end.filters[:, projection.bins - 1] > 0).any()


def test_a_window_shorter_than_the_fft_is_refused():
    with pytest.raises(ValueError, match="win_length"):
        MelProjection(mel_front_end("tacotron", win_length=800))
