"""A mel in blocks: the audio of the whole mel, within the stated latency, each frame once."""

import numpy as np
import pytest
import torch
from torch import nn

from wavediff.errors import UserError
from wavediff.representations.mel_projection import MelProjection
from wavediff.tasks.build import build_task
from wavediff.tasks.vocoder import Vocoder

UNET = {"_target_": "wavediff.networks.unet.UNet", "widths": [8, 8, 8], "strides": [2, 2]}
UNET |= {"blocks": 1, "heads": 2, "window": 2}
HOP = 16


@pytest.fixture
def unet_vocoder(make_config, read_group):
    """The bundled vocoder's kind of model, of toy size."""

    def make(**task):
        config = make_config(task=task) | {"network": UNET, "prediction": "x0"}
        config["sampler"] = read_group("sampler", "one_step")
        torch.manual_seed(0)
        vocoder = build_task(config).eval()
        for name, parameter in vocoder.network.named_parameters():
            if name.startswith("output_projection") or name.endswith("attention.bias"):
                nn.init.normal_(parameter, std=0.3)
        return vocoder

    return make


def streamed(vocoder, mel, size=5, **options):
    """(audio, stream) of a mel in blocks of ``size`` frames."""
    stream = vocoder.stream(**options)
    parts = [*map(stream.push, mel.split(size, dim=-1)), stream.finish()]
    return torch.cat(parts, dim=-1), stream


SAMPLERS = [("one_step", None), ("ddim", 2), ("ancestral", 3), ("heun", 2), ("dpmpp_2m", 3)]


@pytest.mark.parametrize(("name", "steps"), SAMPLERS)
@pytest.mark.parametrize("space", ["waveform", "pqmf", "stft", "whitened"])
def test_a_stream_gives_what_the_whole_gives(make_vocoder, make_mel, space, name, steps):
    vocoder, mel = make_vocoder(space), make_mel(frames=150, batch=2)
    options = {"sampler": name, "steps": steps, "seed": 3}
    expected = vocoder(mel, **options)
    audio, stream = streamed(vocoder, mel, chunk_seconds=0.03, **options)
    assert stream.latency < 150 * HOP / 4000  # some of it came before the end
    assert audio.shape == expected.shape
    torch.testing.assert_close(audio, expected, atol=1e-5, rtol=0)
    assert expected.std() > 1e-4


@pytest.mark.parametrize("mel_iterations", [0, 3])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("steps", [1, 2])
def test_the_mel_iterations_are_those_of_the_whole(
    make_vocoder, make_mel, mel_iterations, center, steps
):
    task, mel = {"mel_iterations": mel_iterations}, make_mel(frames=150)[0]
    vocoder = make_vocoder(task=task, mel={"center": center})
    expected = vocoder(mel, steps=steps)
    audio, stream = streamed(vocoder, mel, chunk_seconds=0.03, steps=steps)
    assert stream.latency < 150 * HOP / 4000
    torch.testing.assert_close(audio, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("frames", [1, 2, 7, 130, 133])
@pytest.mark.parametrize("chunk_seconds", [0.001, 0.1, 1000.0, None])
def test_a_unet_gives_what_the_whole_gives(unet_vocoder, make_mel, frames, chunk_seconds):
    vocoder, mel = unet_vocoder(mel_iterations=2), make_mel(frames=frames)[0]
    expected = vocoder(mel)
    audio, stream = streamed(vocoder, mel, chunk_seconds=chunk_seconds)
    if chunk_seconds in (0.001, 0.1):
        assert stream.latency < 130 * HOP / 4000
    torch.testing.assert_close(audio, expected, atol=2e-5, rtol=0)


def test_the_size_of_the_blocks_changes_nothing(unet_vocoder, make_mel):
    vocoder, mel = unet_vocoder(mel_iterations=2), make_mel(frames=140)[0]
    expected, _ = streamed(vocoder, mel, 140, chunk_seconds=0.1)
    for size in (1, 5, 80):
        assert torch.equal(streamed(vocoder, mel, size, chunk_seconds=0.1)[0], expected)


@pytest.mark.parametrize("chunk_seconds", [0.016, 0.1])
def test_each_frame_is_computed_once_in_each_call(
    monkeypatch, unet_vocoder, make_mel, chunk_seconds
):
    vocoder, mel = unet_vocoder(mel_iterations=2), make_mel(frames=400)[0]
    network, projection = [], []
    vocoder.network.register_forward_pre_hook(lambda _, inputs: network.append(inputs[0].shape[-1]))
    gain = MelProjection.gain

    def counting(self, seen, target):
        projection.append(seen.shape[-1])
        return gain(self, seen, target)

    monkeypatch.setattr(MelProjection, "gain", counting)
    streamed(vocoder, mel, chunk_seconds=chunk_seconds, sampler="ddim", steps=2)
    assert sum(network) == 2 * 400
    assert len(network) > 2 * 10
    assert sum(projection) == 2 * 2 * (400 - 3)  # without the ends


@pytest.mark.parametrize("by_frames", [True, False])
def test_audio_comes_within_the_latency(unet_vocoder, make_vocoder, make_mel, by_frames):
    vocoder = unet_vocoder(mel_iterations=1) if by_frames else make_vocoder("waveform")
    mel, delays, done = make_mel(frames=300)[0], [], 0
    stream = vocoder.stream(chunk_seconds=0.1)
    for pushed, frame in enumerate(mel.split(1, dim=-1)):
        complete = stream.push(frame).shape[-1] // HOP
        delays += [pushed - k for k in range(done, done + complete)]
        done += complete
    assert 0.9 * stream.latency < max(delays) * HOP / 4000 <= stream.latency + 1e-9
    assert done + stream.finish().shape[-1] // HOP == 300


def test_what_a_frame_depends_on_is_within_the_latency(unet_vocoder, make_mel):
    vocoder, mel = unet_vocoder(mel_iterations=1), make_mel(frames=200)[0]
    stream = vocoder.stream(chunk_seconds=0.016)  # the least
    ahead = round(stream.latency * 4000 / HOP) - 4
    changed = mel.clone()
    changed[:, 100:] -= 1
    audio, other = vocoder(mel), vocoder(changed)
    before = (100 - ahead) * HOP
    torch.testing.assert_close(audio[:before], other[:before], atol=1e-6, rtol=0)
    assert (audio - other)[: 100 * HOP].abs().max() > 1e-3


def test_progress_is_told_in_seconds(make_vocoder, make_mel):
    for space in ("waveform", "whitened"):
        told = []
        streamed(make_vocoder(space), make_mel(frames=200), progress=told.append, chunk_seconds=0.1)
        assert told == sorted(told)
        assert len(told) > 2
        assert told[-1] == pytest.approx(200 * HOP / 4000)


def test_arrays_give_arrays(make_vocoder, make_mel):
    vocoder, mel = make_vocoder(), make_mel()[0]
    stream = vocoder.stream()
    parts = [
        stream.push(mel.numpy()[:, :20].astype(np.float64)),
        stream.push(mel.numpy()[:, 20:20]),
    ]
    parts += [stream.push(mel.numpy()[:, 20:]), stream.finish()]
    assert all(part.dtype == np.float32 for part in parts)
    np.testing.assert_allclose(np.concatenate(parts), vocoder(mel.numpy()), atol=1e-6)
    assert vocoder.stream().finish().shape == (0,)


def test_a_block_may_be_reused(make_vocoder, make_mel):
    vocoder, mel = make_vocoder(), make_mel()[0]
    stream, block = vocoder.stream(), torch.empty(6, 10)
    for part in mel.split(10, dim=-1):
        stream.push(block.copy_(part))
    torch.testing.assert_close(stream.finish(), vocoder(mel), atol=1e-6, rtol=0)


def test_labels_and_scales(make_vocoder, make_mel):
    vocoder, mel = make_vocoder(network={"labels": 2}), make_mel()[0]
    audio, _ = streamed(vocoder, mel, label=1, chunk_seconds=0.03)
    torch.testing.assert_close(audio, vocoder(mel, label=1), atol=1e-6, rtol=0)
    assert not torch.allclose(audio, vocoder(mel, label=0), atol=1e-4)
    with pytest.raises(UserError, match="needs a label"):
        vocoder.stream()
    vocoder = make_vocoder()
    audio, _ = streamed(vocoder, mel / np.log(10), mel_scale="log10", chunk_seconds=0.03)
    torch.testing.assert_close(audio, vocoder(mel), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ([torch.zeros(7, 4) - 5], "7 bands"),
        ([torch.zeros(4, 6) - 5], "transpose"),
        ([torch.zeros(6)], "shape"),
        ([torch.zeros(0, 6, 4)], "shape"),
        ([np.array([["a"]])], "numbers"),
        (
            [torch.zeros(6, 4) - 5, torch.zeros(1, 6, 4) - 5],
            r"\[1, 6, 4\] cannot follow one of \[6",
        ),
        ([torch.zeros(6, 4) - 5, torch.full((6, 3), float("nan"))], "frame 4 .*NaN .* band 0"),
        ([torch.linspace(-90, 0, 240).reshape(6, 40)], "decibels"),
    ],
)
def test_blocks_that_are_refused(make_vocoder, blocks, words):
    stream = make_vocoder().stream()

    def push() -> None:
        for block in blocks:
            stream.push(block)
        stream.finish()

    with pytest.raises(UserError, match=words):
        push()


def test_calls_that_are_refused(make_vocoder, make_mel):
    vocoder = make_vocoder()
    stream = vocoder.stream()
    stream.finish()
    for again in (stream.finish, lambda: stream.push(make_mel())):
        with pytest.raises(UserError, match="this stream is finished"):
            again()
    for wrong in (0, -1.0, float("nan")):
        with pytest.raises(UserError, match="more than 0 seconds"):
            vocoder.stream(chunk_seconds=wrong)
    with pytest.raises(UserError, match="is not a number"):
        vocoder.stream(chunk_seconds="a")
    with pytest.raises(UserError, match="is no seed"):
        vocoder.stream(seed=None)
    with pytest.raises(UserError, match="there is no sampler"):
        vocoder.stream(sampler="hein")


def test_the_bundled_vocoder_as_a_stream():
    vocoder = Vocoder.from_pretrained()
    vocoder.mel_iterations = 16
    time = torch.arange(8 * vocoder.sample_rate) / vocoder.sample_rate
    tones = sum(torch.sin(2 * np.pi * 170 * k * time) / k for k in range(1, 20))
    tones = 0.1 * tones * (1 + torch.sin(2 * np.pi * 3 * time))
    noise = 0.01 * torch.randn(len(time), generator=torch.Generator().manual_seed(0))
    mel = vocoder.mel(tones + noise)
    audio, stream = streamed(vocoder, mel, 20)
    assert stream.latency < 4
    torch.testing.assert_close(audio, vocoder(mel), atol=1e-4, rtol=0)
