import math

import librosa
import numpy as np
import pytest
import torch
import torchaudio

from wavediff.errors import UserError
from wavediff.representations import mel as module
from wavediff.representations.mel import MelFrontEnd, front_ends, mel_front_end, reflect

FRONT_ENDS = ["bigvgan", "hifigan", "lmnt", "tacotron"]


def slaney_bands(audio, rate, n_mels, f_max, center):
    """Band magnitudes by librosa, from its own STFT and filter bank."""
    samples = audio.numpy().ravel()
    if not center:
        samples = np.pad(samples, (1024 - 256) // 2, mode="reflect")
    spectrum = librosa.stft(
        samples, n_fft=1024, hop_length=256, center=center, pad_mode="reflect", dtype=np.complex128
    )
    magnitude = np.abs(spectrum) if center else np.sqrt(np.abs(spectrum) ** 2 + 1e-9)
    bank = librosa.filters.mel(sr=rate, n_fft=1024, n_mels=n_mels, fmin=0, fmax=f_max)
    return bank @ magnitude


def test_tacotron_is_librosas(speech):
    ours = mel_front_end("tacotron")(speech)[0].numpy()
    theirs = librosa.feature.melspectrogram(
        y=speech.numpy().ravel(),
        sr=22_050,
        n_fft=1024,
        hop_length=256,
        n_mels=80,
        fmin=0,
        fmax=8000,
        power=1,
        pad_mode="reflect",
    )
    np.testing.assert_allclose(ours, np.log(np.maximum(theirs, 1e-5)), atol=1e-5)


def test_lmnt_is_torchaudios(speech):
    """diffwave/preprocess.py: MelSpectrogram with these arguments, then decibels to [0, 1]."""
    audio = speech.float()
    transform = torchaudio.transforms.MelSpectrogram(
        sample_rate=22_050,
        n_fft=1024,
        win_length=1024,
        hop_length=256,
        n_mels=80,
        f_min=20.0,
        f_max=11_025.0,
        power=1.0,
        normalized=True,
    )
    decibels = 20 * torch.log10(torch.clamp(transform(audio[:, 0]), min=1e-5)) - 20
    expected = torch.clamp((decibels + 100) / 100, 0.0, 1.0)
    ours = mel_front_end("lmnt")(audio)
    # torchaudio computes its filter bank in float32, which shows where a filter begins
    assert (ours - expected).abs().max() < 3e-4
    assert (ours - expected).abs().mean() < 2e-6
    assert ours.min() < 0.2  # the made-up speech uses the range
    assert ours.max() > 0.8


def test_hifigan_and_bigvgan_are_librosas_without_centring(speech):
    """meldataset.py of both: reflect 384 samples, sqrt(|X|^2 + 1e-9), ln max(m, 1e-5)."""
    for name, rate, n_mels, f_max in (
        ("hifigan", 22_050, 80, 8000),
        ("bigvgan", 24_000, 100, 12_000),
    ):
        ours = mel_front_end(name)(speech)[0].numpy()
        theirs = slaney_bands(speech, rate, n_mels, f_max, center=False)
        np.testing.assert_allclose(ours, np.log(np.maximum(theirs, 1e-5)), atol=1e-4)


def test_hifigan_is_not_tacotron(speech):
    tacotron, hifigan = (mel_front_end(name)(speech) for name in ("tacotron", "hifigan"))
    assert (tacotron[..., : hifigan.shape[-1]] - hifigan).abs().mean() > 0.02


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_frames_and_single_precision(name, speech):
    mel = mel_front_end(name)
    for length in (256, 1000, 1024, 5000, 5120):
        audio = speech[..., 3000 : 3000 + length]
        values = mel(audio)
        assert values.shape == (1, mel.n_mels, mel.frames(length))
        expected = length // 256 + 1 if mel.center else length // 256
        assert mel.frames(length) == expected
        single = mel(audio.float())
        assert single.dtype == torch.float32
        assert (single - values).abs().max() < 2e-3
        assert torch.equal(mel(audio.squeeze(1)), values)


@pytest.mark.parametrize("length", [1, 2, 100, 512, 513])
def test_audio_shorter_than_the_padding_bounces(length):
    audio = torch.arange(length, dtype=torch.float64)[None]
    expected = np.pad(audio.numpy(), ((0, 0), (512, 512)), mode="reflect")
    np.testing.assert_array_equal(reflect(audio, 512).numpy(), expected)
    assert mel_front_end("tacotron")(audio).isfinite().all()


def test_a_long_recording_in_pieces_is_the_same(speech, monkeypatch):
    for name in ("tacotron", "hifigan"):
        mel = mel_front_end(name)
        whole = mel(speech)
        monkeypatch.setattr(module, "FRAMES_AT_ONCE", 7)
        assert (mel(speech) - whole).abs().max() < 1e-12
        monkeypatch.undo()


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_band_magnitude_undoes_the_logarithm(name, speech):
    mel = mel_front_end(name)
    values = mel(speech)
    bands = mel.band_magnitude(values)
    inside = (values > mel.silence + 1e-6) & (values < mel.largest - 1e-6)
    assert inside.float().mean() > 0.5
    assert (mel.to_log(bands) - values)[inside].abs().max() < 1e-12
    direct = (
        mel.filters
        @ torch.stft(
            speech[:, 0],
            1024,
            256,
            window=torch.hann_window(1024, dtype=torch.float64),
            return_complex=True,
        ).abs()
        / (mel.window_norm if mel.normalized else 1)
    )
    if mel.center:
        assert (bands / direct - 1)[inside].abs().max() < 1e-9


@pytest.mark.parametrize("log", ["ln", "log10", "unit_db"])
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_power_and_logarithm(log, power, speech):
    mel = mel_front_end("tacotron", power=power, log=log, floor=1e-12)
    audio = speech[..., 3000:8000]
    bands = mel.filters @ torch.stft(
        audio[:, 0],
        1024,
        256,
        window=torch.hann_window(1024, dtype=torch.float64),
        return_complex=True,
    ).abs().pow(power)
    values = mel(audio)
    expected = {
        "ln": bands.log(),
        "log10": bands.log10(),
        "unit_db": ((20 * bands.log10() + 80) / 100).clamp(0, 1),
    }[log]
    assert (values - expected).abs().max() < 1e-9
    if log != "unit_db":
        assert mel.band_magnitude(values) ** power / bands == pytest.approx(1)


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_silence_is_the_lowest_and_full_scale_below_the_largest(name):
    mel = mel_front_end(name)
    assert mel.silence == pytest.approx(0.0 if name == "lmnt" else math.log(1e-5))
    torch.manual_seed(0)
    time = torch.arange(8192)
    loud = [
        torch.sign(torch.sin(2 * math.pi * 60 / 24_000 * time)),
        torch.sin(2 * math.pi * 0.01 * time),
        2 * torch.rand(8192) - 1,
        torch.ones(8192),
        torch.sign(torch.randn(8192)),
    ]
    for audio in loud:
        values = mel(audio[None])
        assert values.max() <= mel.largest
        assert values.min() >= mel.silence - 1e-5


def test_gradients_of_silence_are_finite():
    for name in FRONT_ENDS:
        audio = torch.zeros(1, 1, 2048, requires_grad=True)
        mel_front_end(name)(audio).sum().backward()
        assert audio.grad.isfinite().all()


def test_other_parameters_and_the_same_again():
    mel = mel_front_end("tacotron", n_mels=100, hop_length=300, n_fft=2048, win_length=1200)
    values = mel(torch.randn(2, 1, 6000))
    assert values.shape == (2, 100, 21)
    again = MelFrontEnd(**mel.settings())
    assert again.settings() == mel.settings()
    assert mel.settings() == front_ends()["tacotron"] | {
        "n_mels": 100,
        "hop_length": 300,
        "n_fft": 2048,
        "win_length": 1200,
    }


def test_every_named_front_end_says_all_its_parameters():
    assert sorted(front_ends()) == FRONT_ENDS
    for name, parameters in front_ends().items():
        assert parameters == mel_front_end(name).settings()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"n_mel": 100}, "'n_mel'"),
        ({"n_mels": 0}, "0"),
        ({"n_mels": "many"}, "many"),
        ({"f_max": 20_000.0}, "11025"),
        ({"f_min": "low"}, "tacotron"),
        ({"win_length": 4096}, "n_fft"),
        ({"mel_scale": "bark"}, "slaney"),
        ({"norm": "area"}, "slaney"),
        ({"log": "log2"}, "unit_db"),
        ({"floor": 0.0}, "floor"),
    ],
)
def test_parameters_that_cannot_be_are_refused(overrides, words):
    with pytest.raises(UserError, match=words):
        mel_front_end("tacotron", **overrides)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"'waveglow'.*bigvgan, hifigan, lmnt, tacotron"):
        mel_front_end("waveglow")


def test_one_recording_as_it_is_read(speech):
    mel = mel_front_end("tacotron")
    batch = mel(speech)
    assert torch.equal(mel(speech[0, 0]), batch[0])
    array = mel(speech[0, 0].numpy())
    assert isinstance(array, np.ndarray)
    np.testing.assert_array_equal(array, batch[0].numpy())


def test_shapes_that_are_no_audio_are_refused():
    mel = mel_front_end("tacotron")
    for shape in [(0,), (1, 2, 100), (1, 0), (1, 1, 1, 5)]:
        with pytest.raises(ValueError, match="audio"):
            mel(torch.zeros(shape))
    with pytest.raises(ValueError, match="audio"):
        mel_front_end("hifigan")(torch.zeros(1, 100))
