"""What every representation promises, for each file of conf/representation."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from wavediff.representations.mel import conf_folder, mel_front_end

LEARNT = {"latent", "latent_learnt"}  # not invertible
NAMES = sorted(
    path.stem
    for path in (conf_folder() / "representation").glob("*.yaml")
    if path.stem not in LEARNT
)
MEL = mel_front_end("tacotron")


def make(name):
    with initialize_config_dir(str(conf_folder()), version_base=None):
        config = compose("train", ["recipe=tiny", "mel=tacotron", f"representation={name}"])
    return instantiate(config.representation, mel=MEL)


@pytest.fixture(params=NAMES)
def representation(request):
    return make(request.param)


def test_every_representation_has_a_configuration():
    assert {"waveform", "pqmf", "stft", "whitened"} <= set(NAMES)


@pytest.mark.parametrize("length", [1, 2, 3, 255, 256, 257, 511, 1023, 4095, 5000])
def test_decoding_inverts_encoding_at_any_length(representation, speech, length):
    # Two different signals in a batch: neither may leak into the other.
    audio = torch.cat([speech[..., :length], speech[..., 3000 : 3000 + length]])
    for dtype, bound in ((torch.float64, 1e-12), (torch.float32, 2e-6)):
        x = audio.to(dtype)
        mel = MEL(x)
        z = representation.encode(x, mel)
        assert z.dtype == dtype
        assert z.shape == (2, representation.channels, representation.frames(length))
        hops = -(-length // representation.hop_length)
        assert representation.frames(length) == hops + representation.extra
        back = representation.decode(z, length, mel)
        assert back.shape == x.shape
        assert (back - x).abs().max() < bound


def test_silence_and_full_scale_noise_come_back(representation):
    torch.manual_seed(0)
    for x in (torch.zeros(1, 1, 3000), 2 * torch.rand(1, 1, 3000) - 1):
        mel = MEL(x)
        back = representation.decode(representation.encode(x, mel), 3000, mel)
        assert (back - x).abs().max() < 2e-6


def test_half_precision_input_is_computed_in_single(representation, speech):
    x = speech[..., :3000].bfloat16()
    mel = MEL(x)
    z = representation.encode(x, mel)
    back = representation.decode(z, 3000, mel)
    assert (back.float() - x.float()).abs().max() < 2e-6
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = representation.decode(representation.encode(x.float(), mel), 3000, mel)
    assert (cast.float() - x.float()).abs().max() < 2e-6


def test_a_decoded_frame_depends_on_halo_frames_either_side_and_no_more(representation):
    torch.manual_seed(0)
    hop, halo, frames = representation.hop_length, representation.halo, 40
    extra = representation.extra
    first, last = 17, 23
    z = torch.randn(1, representation.channels, frames, dtype=torch.float64)
    mel = torch.randn(1, MEL.n_mels, frames, dtype=torch.float64)
    whole = representation.decode(z, (frames - extra) * hop, mel)[..., first * hop : last * hop]

    near = slice(first - halo, last + halo + extra)
    piece = representation.decode(z[..., near], (last - first + 2 * halo) * hop, mel[..., near])
    assert (piece[..., halo * hop : (halo + last - first) * hop] - whole).abs().max() < 1e-12

    if halo and not extra:
        changed = z.clone()
        changed[..., [first - halo, last + halo - 1]] += 1
        other = representation.decode(changed, frames * hop, mel)
        assert (other[..., first * hop : last * hop] - whole).abs().max() > 1e-6


def test_gradients_are_finite_even_at_silence(representation, speech):
    audio = torch.cat([torch.zeros(1, 1, 2000), speech[..., :2000].float()], dim=-1)
    mel = MEL(audio)
    x = audio.clone().requires_grad_()
    z = representation.encode(x, mel)
    representation.decode(z, audio.shape[-1], mel).square().sum().backward()
    assert x.grad.isfinite().all()
    # encode then decode is the identity, so the gradient of sum x^2 is 2 x
    assert (x.grad - 2 * audio).abs().max() < 1e-4

    z = torch.zeros_like(z, requires_grad=True)
    representation.decode(z, audio.shape[-1], mel).sum().backward()
    assert z.grad.isfinite().all()


def test_there_is_nothing_to_learn_or_to_store(representation):
    assert not list(representation.parameters())
    assert not representation.state_dict()


def test_speech_has_about_unit_scale(representation, speech):
    z = representation.encode(speech.float(), MEL(speech.float()))
    # the waveform keeps DiffWave's scale, which is what its published weights expect
    assert 0.1 < z.std() < 2


def test_shapes_that_cannot_be_are_refused(representation):
    mel = torch.zeros(1, MEL.n_mels, 10)
    for shape in [(1, 100), (1, 2, 100), (1, 1, 0)]:
        with pytest.raises(ValueError, match="audio"):
            representation.encode(torch.zeros(shape), mel)
    hop = representation.hop_length
    z = torch.zeros(1, representation.channels, 4 + representation.extra)
    for length in (3 * hop, 5 * hop):
        with pytest.raises(ValueError, match=r"frames|batch"):
            representation.decode(z, length, mel)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", NAMES)
def test_the_same_on_cuda(name, speech):
    x = speech[..., :5000].float()
    here = make(name)
    mel = MEL(x)
    z = here.encode(x, mel)
    there = make(name).to("cuda")
    on_gpu = there.encode(x.cuda(), mel.cuda())
    assert (on_gpu.cpu() - z).abs().max() < 1e-3 * z.abs().max()
    back = there.decode(on_gpu, 5000, mel.cuda())
    assert (back.cpu() - x).abs().max() < 2e-6
