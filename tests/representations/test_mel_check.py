"""Foreign mels are refused with the name of what they probably are; own ones never."""

import math
import re

import numpy as np
import pytest
import torch

from wavediff.commands.vocode import MEL_SCALES
from wavediff.errors import UserError
from wavediff.representations.mel import mel_front_end
from wavediff.representations.mel_scales import SCALES, frame_rms

FRONT_ENDS = {name: mel_front_end(name) for name in ("bigvgan", "hifigan", "lmnt", "tacotron")}


@pytest.fixture(scope="module")
def mels(speech):
    return {name: mel(speech.float())[0] for name, mel in FRONT_ENDS.items()}


def refusal(name, array, source="song.npy"):
    with pytest.raises(UserError) as caught:
        FRONT_ENDS[name].check(array, source)
    message = str(caught.value)
    assert message.startswith(source)
    assert "\n" not in message
    assert re.search(r"[.:;] ", message[:-1]) is None or message.endswith(".")
    return message


@pytest.mark.parametrize("name", sorted(FRONT_ENDS))
def test_own_mels_pass_whatever_the_sound(name, speech):
    mel = FRONT_ENDS[name]
    torch.manual_seed(0)
    noise = torch.randn(1, 1, 22_050)
    time = torch.arange(22_050) / 22_050
    voice = speech.float()
    sounds = {
        "speech": voice,
        "soft": 0.01 * voice,
        "very soft": 0.001 * voice,
        "hoarse": 0.7 * voice + 0.05 * noise,
        "silence": torch.zeros(1, 1, 22_050),
        "soft noise": 1e-4 * noise,
        "noise": 0.3 * noise,
        "sine": 0.9 * torch.sin(2 * math.pi * 440 * time)[None, None],
        "one frame": voice[..., 3000:3256],
        "mostly silence": torch.nn.functional.pad(voice, (0, 300_000)),
        "too loud": 1.5 * voice,
    }
    for kind, audio in sounds.items():
        values = mel(audio)[0]
        given = mel.check(values.numpy(), kind)
        assert torch.equal(given, values), kind
    # what a network predicts overshoots a little
    mel.check(values + 0.05)
    mel.check(values.half())
    mel.check(values.double().numpy())
    mel.check(torch.stack([values, values]))


def test_lmnt_to_tacotron(mels):
    message = refusal("tacotron", mels["lmnt"])
    assert "looks like a mel of lmnt" in message
    assert "wavediff mel --front-end tacotron" in message


@pytest.mark.parametrize("name", ["tacotron", "hifigan"])
def test_tacotron_to_lmnt(mels, name):
    message = refusal("lmnt", mels[name].numpy())
    assert "looks like a mel of hifigan or tacotron" in message
    assert "wavediff mel --front-end lmnt" in message


def test_a_hundred_bands_to_eighty(mels):
    message = refusal("tacotron", mels["bigvgan"])
    assert "100 bands" in message
    assert "has 80" in message
    assert "bigvgan" in message


def test_eighty_bands_to_a_hundred(mels):
    assert "looks like a mel of hifigan or tacotron" in refusal("bigvgan", mels["tacotron"])
    assert "looks like a mel of lmnt" in refusal("bigvgan", mels["lmnt"])


def test_bands_of_no_named_front_end(speech):
    mel = mel_front_end("tacotron", n_mels=128)(speech)[0]
    assert "128 bands" in refusal("tacotron", mel)


@pytest.mark.parametrize("name", sorted(FRONT_ENDS))
def test_transposed(mels, name):
    assert "transpose it" in refusal(name, mels[name].T.numpy())
    assert "transpose it" in refusal(name, mels[name].T[None])


@pytest.mark.parametrize("name", sorted(FRONT_ENDS))
def test_nan_and_infinity(mels, name):
    for bad in (math.nan, math.inf, -math.inf):
        spoilt = mels[name].clone()
        spoilt[3, 5] = bad
        assert "1 NaN or infinite" in refusal(name, spoilt)


@pytest.mark.parametrize("name", sorted(FRONT_ENDS))
@pytest.mark.parametrize("gain", [1.0, 0.1])
def test_linear_magnitudes(name, gain, speech):
    mel = FRONT_ENDS[name]
    linear = mel.band_magnitude(mel(gain * speech.float()))[0]
    message = refusal(name, linear)
    assert "without a logarithm" in message
    if name != "lmnt":
        assert "take ln(max(mel, 1e-05))" in message


@pytest.mark.parametrize("name", ["bigvgan", "hifigan", "tacotron"])
def test_decadic_logarithms(mels, name, speech):
    torch.manual_seed(0)
    noisy = FRONT_ENDS[name](0.5 * speech.float() + 0.02 * torch.randn(1, 1, 22_050))[0]
    for mel in (mels[name], noisy):
        message = refusal(name, mel / math.log(10))
        assert "log10" in message
        assert "multiply it by ln 10 = 2.302585" in message
        FRONT_ENDS[name].check(mel / math.log(10) * 2.302585)


def test_natural_logarithms_to_a_decadic_model(mels):
    decadic = mel_front_end("tacotron", log="log10")
    with pytest.raises(UserError, match="divide it by ln 10"):
        decadic.check(mels["tacotron"])
    decadic.check(mels["tacotron"] / math.log(10))


def test_decadic_logarithms_to_lmnt(mels):
    assert "log10" in refusal("lmnt", mels["tacotron"] / math.log(10))


def test_decibels(mels):
    decibels = mels["tacotron"] * 20 / math.log(10)
    message = refusal("tacotron", decibels)
    assert "decibels" in message
    assert "multiply it by ln(10) / 20 = 0.115129" in message
    assert "decibels" in refusal("lmnt", decibels)


def test_another_floor_or_level(mels, speech):
    lower = mel_front_end("tacotron", floor=1e-10)(torch.zeros(1, 1, 22_050) + 1e-8)[0]
    lower[:, ::2] = mels["tacotron"][:, ::2][:, : lower[:, ::2].shape[1]]
    assert "another floor, scale or level" in refusal("tacotron", lower)
    integers = FRONT_ENDS["tacotron"](32768 * speech.float())[0]
    assert "another floor, scale or level" in refusal("tacotron", integers)


@pytest.mark.parametrize("shape", [(80,), (2, 3, 80, 5), (80, 0), ()])
def test_shapes_that_are_no_mel(shape):
    assert str(list(shape)) in refusal("tacotron", np.zeros(shape, dtype=np.float32))


def test_arrays_that_are_no_numbers():
    for array in (np.array([["a"]]), np.zeros((80, 3), complex), np.zeros((80, 3), object)):
        assert "numbers" in refusal("tacotron", array)
    assert "numbers" in refusal("tacotron", torch.zeros(80, 3, dtype=torch.complex64))


def test_the_advice_repeats_what_differs_from_the_named_front_end(mels):
    mel = mel_front_end("tacotron", n_mels=100, f_max=None)
    with pytest.raises(UserError, match=r"--front-end tacotron --set n_mels=100 f_max=11025"):
        mel.check(mels["tacotron"], "song.npy")


def test_a_nearly_silent_mel_that_is_clipped_to_zero_is_no_linear_one():
    mel = torch.zeros(80, 100)
    mel[:, :10] = 0.03
    mel[30:40, :10] = 0.15
    FRONT_ENDS["lmnt"].check(mel)


def noisy_speech(speech, gain):
    noise = torch.randn(1, 1, 22_050, generator=torch.Generator().manual_seed(0))
    return gain * (0.5 * speech.float() + 0.003 * noise)


def foreign(name, speech, gain):
    """A mel of the front-end tacotron on another scale."""
    audio = noisy_speech(speech, gain)
    natural = FRONT_ENDS["tacotron"](audio)[0]
    decibels = natural * 20 / math.log(10)
    share = (decibels - 20 + 100) / 100
    energies = mel_front_end("tacotron", power=2.0, floor=1e-10)(audio)[0]
    return {
        "sym4": (8 * share - 4).clamp(-4, 4),
        "pos4": (4 * share).clamp(0, 4),
        "sym1": (2 * share - 1).clamp(-1, 1),
        "pos1": share.clamp(0, 1),
        "log10": natural / math.log(10),
        "db": decibels,
        "linear": natural.exp(),
        "power": energies.exp(),
        "power-ln": energies,
        "power-db": energies * 10 / math.log(10),
    }[name]


FOREIGN = ["sym4", "pos4", "sym1", "pos1", "log10", "db", "linear", "power", "power-ln", "power-db"]


@pytest.mark.parametrize("gain", [1.0, 0.1])
@pytest.mark.parametrize("name", FOREIGN)
def test_another_scale_is_refused_and_named_and_converted(name, gain, speech):
    mel = foreign(name, speech, gain)
    assert f"--mel-scale {name} if it is" in refusal("tacotron", mel)
    converted = FRONT_ENDS["tacotron"].check(mel, "song.npy", scale=name)
    natural = FRONT_ENDS["tacotron"](noisy_speech(speech, gain))[0]
    audible = natural > -7
    error = (converted - natural).abs()[audible].mean()
    assert error < (0.2 if name.startswith("power") else 0.01)


def in_a_room(audio):
    """With 0.3 s of reverberation, which makes bands differ as those of recordings do."""
    length = 6600
    response = torch.randn(length, generator=torch.Generator().manual_seed(1))
    response *= torch.exp(-6.9 * torch.arange(length) / length)
    response[0] = 3
    padded = torch.nn.functional.pad(audio, (length - 1, 0))
    reverberant = torch.nn.functional.conv1d(padded, response.flip(0)[None, None])
    return 0.5 * reverberant / reverberant.abs().max()


@pytest.mark.parametrize("gain", [1.0, 0.3, 0.1, 0.03])
@pytest.mark.parametrize("name", ["bigvgan", "hifigan", "tacotron"])
def test_energies_with_the_floor_of_magnitudes(name, gain, speech):
    """Their range is that of a mel of magnitudes; only their contrasts tell."""
    audio = gain * in_a_room(noisy_speech(speech, 1.0))
    FRONT_ENDS[name].check(FRONT_ENDS[name](audio)[0])
    energies = mel_front_end(name, power=2.0, floor=1e-5)(audio)[0]
    message = refusal(name, energies)
    assert "--mel-scale power-ln if it is" in message
    if gain < 1:  # else the loudest are beyond full scale
        assert "twice as much as magnitudes" in message
        assert "--mel-scale ln takes it as it is" in message
        assert torch.equal(FRONT_ENDS[name].check(energies, scale="ln"), energies)


@pytest.mark.parametrize("by_band", [False, True])
def test_a_normalised_mel_is_refused_and_told_what_it_lacks(by_band, speech):
    natural = FRONT_ENDS["tacotron"](noisy_speech(speech, 1.0))[0]
    over = {"dim": 1, "keepdim": True} if by_band else {}
    mel = (natural - natural.mean(**over)) / natural.std(**over)
    assert "mean 0 and variance 1" in refusal("tacotron", mel)


def test_an_unknown_scale_lists_the_known_ones(mels):
    with pytest.raises(UserError, match="no mel scale 'sym2': use one of sym4, pos4"):
        FRONT_ENDS["tacotron"].check(mels["tacotron"], scale="sym2")


def test_the_rms_of_frames_is_that_of_the_audio():
    noise = 0.3 * torch.randn(1, 22_050, generator=torch.Generator().manual_seed(0))
    for name, share in (("tacotron", 8000 / 11_025), ("lmnt", 1.0), ("bigvgan", 1.0)):
        mel = FRONT_ENDS[name](noise)[0]
        rms = float(frame_rms(mel, FRONT_ENDS[name]).mean())
        assert rms == pytest.approx(0.3 * share**0.5, rel=0.15), name


def test_the_command_knows_the_scales():
    assert tuple(SCALES) == MEL_SCALES
