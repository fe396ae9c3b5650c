import math

import pytest
import torch

from wavediff.representations.mel import mel_front_end
from wavediff.representations.whitened import WhitenedSTFT, envelope_matrix

FRONT_ENDS = ["bigvgan", "hifigan", "lmnt", "tacotron"]


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_gaussian_sound_of_any_colour_and_level_gets_unit_variance(name):
    torch.manual_seed(0)
    mel = mel_front_end(name)
    transform = WhitenedSTFT(mel=mel)
    white = torch.randn(1, 1, 256 * 300)
    red = torch.cumsum(white, -1)
    red = (red - red.roll(200, -1))[..., 200:]
    for audio in (0.2 * white, 0.002 * white, 0.003 * red):
        z = transform.encode(audio, mel(audio))[..., 4:-4]
        real, imaginary = z[:, :513], z[:, 513:]
        top = int(min(mel.f_max, 8000) / mel.sample_rate * 1024)
        for low in range(8, top - 40, 40):
            assert real[:, low : low + 40].std() == pytest.approx(1, abs=0.2)
            assert imaginary[:, low : low + 40].std() == pytest.approx(1, abs=0.2)


def test_speech_like_sound_is_levelled(speech):
    """Loud and soft frames differ by 60 dB in the STFT and by little in z."""
    mel = mel_front_end("tacotron")
    transform = WhitenedSTFT(mel=mel)
    audio = speech.float()
    z = transform.encode(audio, mel(audio))
    plain = transform.stft(audio).abs()
    loudness = plain.square().mean(1).sqrt()[0]
    level = z.square().mean(1).sqrt()[0]
    assert loudness.max() / loudness.min() > 30
    assert level.max() < 2.5
    assert level.min() > 0.4
    assert 0.7 < z.std() < 1.3


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_the_envelope_of_a_flat_spectrum_is_flat(name):
    """Bands made of magnitude 1 in every bin give the envelope 1 in every bin."""
    mel = mel_front_end(name)
    norm = mel.window_norm if mel.normalized else 1
    bands = mel.filters.sum(dim=1) / norm
    assert envelope_matrix(mel, mel.n_fft) @ bands == pytest.approx(1, abs=1e-12)


def test_another_frame_length_than_the_mels():
    """Noise grows with the root of the window's length: so does the envelope."""
    mel = mel_front_end("tacotron")
    ratio = envelope_matrix(mel, 2048)[::2] / envelope_matrix(mel, 1024).clamp_min(1e-30)
    seen = envelope_matrix(mel, 1024) > 1e-6
    assert ratio[seen] == pytest.approx(math.sqrt(2), rel=1e-6)


def test_bands_too_narrow_for_a_bin_are_passed_over():
    with pytest.warns(UserWarning, match="47 of 400 mel bands"):
        mel = mel_front_end("tacotron", n_mels=400)
    assert (mel.filters.sum(dim=1) == 0).any()
    assert envelope_matrix(mel, 1024).isfinite().all()


def test_the_last_partial_frame_of_a_mel_that_is_not_centred(speech):
    mel = mel_front_end("hifigan")
    transform = WhitenedSTFT(mel=mel)
    audio = speech[..., :5000].float()  # 19.5 hops: 20 latent frames, 19 of the mel
    frames = mel(audio)
    assert frames.shape[-1] == 19
    back = transform.decode(transform.encode(audio, frames), 5000, frames)
    assert (back - audio).abs().max() < 2e-6


def test_silence_outside_the_bands_is_not_blown_up():
    mel = mel_front_end("tacotron")
    time = torch.arange(22_050) / 22_050
    audio = 1e-4 * torch.sin(2 * math.pi * 10_000 * time)[None, None]
    z = WhitenedSTFT(mel=mel, floor=1e-2).encode(audio, mel(audio))
    assert z.abs().max() < 10


def test_scale_and_beyond():
    mel = mel_front_end("tacotron")
    torch.manual_seed(0)
    audio = 0.1 * torch.randn(1, 1, 4096)
    values = mel(audio)
    z = WhitenedSTFT(mel=mel, beyond=1.0).encode(audio, values)
    twice = WhitenedSTFT(mel=mel, beyond=1.0, scale=2.0).encode(audio, values)
    assert twice / z == pytest.approx(2)
    half = WhitenedSTFT(mel=mel, beyond=2.0).encode(audio, values)
    edge = math.floor(8000 / 22_050 * 1024) + 1
    assert half[:, edge:513] / z[:, edge:513] == pytest.approx(0.5)
    assert half[:, :edge] / z[:, :edge] == pytest.approx(1)


def test_without_its_mel_it_is_refused(speech):
    mel = mel_front_end("tacotron")
    with pytest.raises(ValueError, match="mel"):
        WhitenedSTFT()
    with pytest.raises(ValueError, match="hop"):
        WhitenedSTFT(hop_length=128, mel=mel)
    transform = WhitenedSTFT(mel=mel)
    audio = speech[..., :5000].float()
    z = transform.encode(audio, mel(audio))
    with pytest.raises(ValueError, match="needs the mel"):
        transform.encode(audio)
    with pytest.raises(ValueError, match="needs the mel"):
        transform.decode(z, 5000)
    with pytest.raises(ValueError, match="at least 20"):
        transform.decode(z, 5000, mel(audio)[..., :10])
    with pytest.raises(ValueError, match="80"):
        transform.decode(z, 5000, torch.zeros(1, 100, 20))
