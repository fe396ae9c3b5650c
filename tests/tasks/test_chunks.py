"""Long signals in pieces: the result of one piece."""

import pytest
import torch

from wavediff.diffusion.denoiser import Denoiser
from wavediff.tasks import piece_vocoder as module
from wavediff.tasks.chunks import pieces
from wavediff.tasks.sampler import sampler_by_name
from wavediff.tasks.vocoder_stream import VocoderStream

SAMPLERS = ["ddim", "ancestral", "heun", "dpmpp_2m"]
SPACES = ["waveform", "pqmf", "stft", "whitened"]


@pytest.mark.parametrize("length", [1, 4, 7, 40, 41, 100])
@pytest.mark.parametrize(("size", "halo", "align"), [(10, 3, 1), (10, 3, 4), (1, 0, 1), (3, 20, 2)])
def test_pieces_cover_every_frame_once_with_their_context(length, size, halo, align):
    cut = list(pieces(length, size, halo, align))
    assert [frame for p in cut for frame in range(p.start, p.stop)] == list(range(length))
    for p in cut:
        assert p.left == 0 or (p.left <= p.start - halo and p.left % align == 0)
        assert p.right == length or p.right >= p.stop + halo
        assert 0 <= p.left <= p.start < p.stop <= p.right <= length


def synthesised(vocoder, mel, sampler=None, chunk_seconds=None, **options):
    """The pieces of a mel, where a network call has up to ``chunk_seconds``."""
    vocoder.chunk_seconds = chunk_seconds
    sampler = vocoder.sampler if sampler is None else sampler
    stream = VocoderStream(vocoder, sampler=sampler, checked=True, **options)
    parts = [*map(stream.push, mel.split(7, dim=-1)), stream.finish()]
    return [part for part in parts if part.numel()]


def whole(vocoder, mel, sampler=None, **options):
    (part,) = synthesised(vocoder, mel, sampler, float("inf"), **options)
    return part


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("space", SPACES)
def test_chunks_of_the_network_do_not_show(make_vocoder, make_mel, space, name):
    vocoder = make_vocoder(space)
    mel = make_mel(frames=61)
    sampler = sampler_by_name(name).with_steps(3)
    expected = whole(vocoder, mel, sampler)
    parts = synthesised(vocoder, mel, sampler, 0.05)
    assert len(parts) == 1  # the state is small: only the network is called in chunks
    torch.testing.assert_close(parts[0], expected, atol=1e-5, rtol=0)
    assert expected.shape == (1, 61 * 16)
    assert expected.std() > 1e-4


def test_the_upsampler_sees_across_the_cuts(make_vocoder, make_mel):
    """Beyond the network's own context, which here is one mel frame to the sample."""
    vocoder = make_vocoder("waveform", network={"layers": 5, "dilation_cycle": 4})
    assert vocoder.network.receptive_field == vocoder.upsample == 16
    mel = make_mel(frames=61)
    expected = whole(vocoder, mel)
    parts = synthesised(vocoder, mel, chunk_seconds=0.001)
    torch.testing.assert_close(torch.cat(parts, dim=-1), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("space", SPACES)
def test_pieces_of_the_state_do_not_show(monkeypatch, make_vocoder, make_mel, space, name):
    vocoder = make_vocoder(space)
    mel = make_mel(frames=150)
    sampler = sampler_by_name(name).with_steps(2)
    expected = whole(vocoder, mel, sampler, seed=5)
    monkeypatch.setattr(module, "STATE_NUMBERS", 1)
    monkeypatch.setattr(module, "HALOS", 1)
    parts = synthesised(vocoder, mel, sampler, 0.02, seed=5)
    assert len(parts) > 1
    torch.testing.assert_close(torch.cat(parts, dim=-1), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("space", ["waveform", "whitened"])
def test_what_is_prepared_is_kept_only_where_it_fits(monkeypatch, make_vocoder, make_mel, space):
    """The network's features for the condition: computed once, or at each step, to one result."""
    vocoder = make_vocoder(space)
    prepared = []
    original = Denoiser.prepare

    def counting(denoiser, cond):
        prepared.append(cond.local.shape[-1])
        return original(denoiser, cond)

    monkeypatch.setattr(Denoiser, "prepare", counting)
    sampler = sampler_by_name("ddim").with_steps(4)
    expected = torch.cat(synthesised(vocoder, make_mel(), sampler), dim=-1)
    assert prepared == [1, 40]  # one frame to see how much it is
    prepared.clear()
    monkeypatch.setattr(module, "PREPARED_NUMBERS", 100)
    found = torch.cat(synthesised(vocoder, make_mel(), sampler), dim=-1)
    assert prepared == [1]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_the_mel_projection_sees_no_seam_either(monkeypatch, make_vocoder, make_mel):
    vocoder = make_vocoder("whitened", task={"mel_iterations": 2})
    mel = make_mel(frames=200)
    expected = whole(vocoder, mel, vocoder.with_sampler("one_step"))
    monkeypatch.setattr(module, "STATE_NUMBERS", 1)
    monkeypatch.setattr(module, "HALOS", 1)
    parts = synthesised(vocoder, mel, vocoder.with_sampler("one_step"), 0.02)
    assert len(parts) > 1
    torch.testing.assert_close(torch.cat(parts, dim=-1), expected, atol=1e-5, rtol=0)
    monkeypatch.undo()
    plain = make_vocoder("whitened")
    assert (whole(plain, mel, plain.with_sampler("one_step")) - expected).abs().max() > 1e-3


@pytest.mark.parametrize("chunk_seconds", [0.02, float("inf")])
def test_progress_is_told_in_seconds_up_to_all(make_vocoder, make_mel, chunk_seconds):
    told = []
    vocoder, mel = make_vocoder("waveform"), make_mel()
    synthesised(vocoder, mel, chunk_seconds=chunk_seconds, progress=told.append)
    seconds = mel.shape[-1] * 16 / 4000
    assert told == sorted(told)
    assert 0 < told[0] < 0.5 * seconds
    assert told[-1] == pytest.approx(seconds)
