import math

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from wavediff.diffusion.noise import ItemNoise
from wavediff.errors import UserError
from wavediff.files import conf_folder
from wavediff.tasks.build import build_task
from wavediff.tasks.enhancer import Enhancer, thresholded_error_db

RATE = 4000
SCHEDULES = ("bridge", "ouve", "anchored_flow")


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def make_enhancer(make_config, read_group):
    def make(space="stft", schedule="bridge", masked=False, **task) -> Enhancer:
        config = make_config(space)
        config["task"] = read_group("task", "enhancer") | {"crop_seconds": 0.2} | task
        config["schedule"] = read_group("schedule", schedule)
        config["prediction"] = "x0"
        config["sampler"] = read_group("sampler", "one_step")
        if masked:
            inner = config["network"] | {"_partial_": True}
            target = "wavediff.networks.masked.Masked"
            config["network"] = {"_target_": target, "network": inner}
        torch.manual_seed(0)
        enhancer = build_task(config)
        inner = enhancer.network.network if masked else enhancer.network
        torch.nn.init.normal_(inner.output_projection.weight, std=0.3)
        return enhancer.eval()

    return make


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("space", ["waveform", "pqmf", "stft"])
@pytest.mark.parametrize("length", [1, 7, 900])
def test_the_result_is_as_long_as_the_recording(make_enhancer, space, schedule, length):
    noisy = randn(2, 1, length)
    clean = make_enhancer(space, schedule).enhance(noisy)
    assert clean.shape == noisy.shape
    assert clean.isfinite().all()


@pytest.mark.parametrize("masked", [True, False])
def test_the_loss_is_per_item_and_has_gradients(make_enhancer, masked):
    names = ("magnitude", "l1", "mr_stft", "snr", "pesq")
    enhancer = make_enhancer(masked=masked, **{f"{name}_weight": 0.1 for name in names})
    audio = randn(3, 1, enhancer.crop_length)
    batch = {"audio": audio, "noisy": audio + randn(*audio.shape, seed=1)}
    losses = enhancer.loss(batch, ItemNoise(0, [4, 5, 6]))
    names = {"denoising", "log_snr", "loss", "magnitude", "l1", "mr_stft", "error_db", "pesq"}
    assert {name: value.shape for name, value in losses.items()} == dict.fromkeys(names, (3,))
    losses["loss"].mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in enhancer.network.parameters())
    alone = enhancer.loss({k: v[1:2] for k, v in batch.items()}, ItemNoise(0, [5]))
    torch.testing.assert_close(alone["loss"][0], losses["loss"][1])


@pytest.mark.parametrize("value", ["abc", None, -3, math.nan, math.inf, [1, 2], True])
def test_a_weight_is_a_number_from_0_up(make_enhancer, value):
    with pytest.raises(UserError, match=r"pesq_weight=.*(of 0 or more|is not a number)"):
        make_enhancer(pesq_weight=value)


def test_the_error_in_db_has_a_floor_and_takes_a_silent_target():
    noisy = randn(2, 1, 400)
    error = torch.full_like(noisy, 0.1) * noisy
    torch.testing.assert_close(
        thresholded_error_db(error, torch.zeros_like(noisy), noisy),
        torch.full((2,), 10 * math.log10(0.01 + 0.001)),
    )
    torch.testing.assert_close(thresholded_error_db(noisy, noisy, noisy), torch.full((2,), -30.0))
    silent = torch.zeros_like(noisy)
    assert thresholded_error_db(silent, silent, silent).isfinite().all()


def test_a_crop_without_speech_does_not_outweigh_the_others(make_enhancer):
    enhancer = make_enhancer(masked=True, mr_stft_weight=1.0)
    noisy = randn(2, 1, enhancer.crop_length)
    audio = torch.stack([torch.zeros_like(noisy[0]), 0.7 * randn(1, noisy.shape[-1], seed=1)])
    batch = {"audio": audio, "noisy": noisy}
    silent, spoken = enhancer.loss(batch, ItemNoise(0, [0, 1]))["mr_stft"]
    assert spoken < silent < 20 * spoken


def test_the_loss_knows_the_clean_from_the_noisy(make_enhancer):
    enhancer = make_enhancer()
    audio = randn(1, 1, enhancer.crop_length)
    noisy = audio + randn(*audio.shape, seed=1)
    right = enhancer.loss({"audio": audio, "noisy": noisy}, ItemNoise(0, [0]))["loss"]
    swapped = enhancer.loss({"audio": noisy, "noisy": audio}, ItemNoise(0, [0]))["loss"]
    assert not torch.isclose(right, swapped)


@pytest.mark.parametrize("gain", [1e-4, 8.0])
def test_loud_and_quiet_recordings_are_treated_alike(make_enhancer, gain):
    enhancer, noisy = make_enhancer(masked=True), randn(1, 1, 3000)
    expected = gain * enhancer.enhance(noisy)
    torch.testing.assert_close(
        enhancer.enhance(gain * noisy), expected, rtol=1e-3, atol=1e-5 * gain
    )


def test_silence_stays_silence(make_enhancer):
    assert not make_enhancer().enhance(torch.zeros(1, 1, 900)).any()


@pytest.mark.parametrize("sampler", [None, "ddim"])
def test_a_piece_with_its_reach_gives_what_the_whole_gives(make_enhancer, sampler):
    enhancer = make_enhancer(masked=True, level_past=0.1, level_ahead=0.05)
    chosen = enhancer.with_sampler(sampler, None if sampler is None else 2)
    noisy, hop = randn(1, 1, 12_000), enhancer.hop_length
    noisy[..., 3000:5000] *= 0.01
    whole = enhancer.enhance(noisy, sampler=chosen, seed=3)
    past, ahead = enhancer.reach(chosen)
    start, stop = 6000 // hop * hop, 6000 // hop * hop + 600
    left = (start - past) // hop * hop
    assert left > 0
    assert stop + ahead < 12_000
    piece = enhancer.enhance(noisy[..., left : stop + ahead], sampler=chosen, seed=3, offset=left)
    torch.testing.assert_close(
        piece[..., start - left : stop - left], whole[..., start:stop], rtol=1e-4, atol=1e-5
    )


def test_the_bridge_begins_at_the_recording_itself(make_enhancer):
    enhancer = make_enhancer()
    seeds = [enhancer.enhance(randn(1, 1, 900), seed=seed) for seed in (0, 1)]
    assert torch.equal(*seeds)
    ouve = make_enhancer(schedule="ouve")
    assert not torch.equal(*(ouve.enhance(randn(1, 1, 900), seed=seed) for seed in (0, 1)))


def test_a_call_takes_arrays_and_tensors_at_any_rate(make_enhancer):
    enhancer = make_enhancer()
    audio = randn(2, 4410)
    out = enhancer(audio, 11_025)
    assert isinstance(out, torch.Tensor)
    assert out.shape == audio.shape
    array = enhancer(audio[0].numpy(), 11_025)
    assert isinstance(array, np.ndarray)
    np.testing.assert_allclose(array, out[0].numpy(), atol=1e-5)
    assert torch.equal(enhancer(audio, 11_025, dry=1.0), audio)


def test_a_stream_gives_the_same_in_blocks(make_enhancer):
    enhancer = make_enhancer(masked=True)
    audio = randn(1, 3 * RATE).numpy()
    stream = enhancer.stream(RATE, chunk_seconds=0.1)
    parts = [stream.push(audio[:, i : i + 333]) for i in range(0, audio.shape[1], 333)]
    streamed = np.concatenate([*parts, stream.finish()], axis=1)
    assert stream.latency < 1
    np.testing.assert_allclose(streamed, enhancer(audio, RATE), atol=1e-5)


@pytest.fixture
def frames_enhancer():
    """The bundled enhancer's kind of model, of toy size."""
    overrides = ["recipe=tiny_enhance", "network.time_kernel=3", "prediction=x0"]
    overrides += ["task.level_past=0.2", "task.level_ahead=0.05"]
    with initialize_config_dir(str(conf_folder()), version_base=None):
        config = OmegaConf.to_container(compose("train", overrides))
    torch.manual_seed(0)
    enhancer = build_task(config).eval()
    for conv in (enhancer.network.up[0], enhancer.network.network.output_projection):
        torch.nn.init.normal_(conv.weight, std=0.05)
    return enhancer


@pytest.mark.parametrize("rate", [16_000, 22_050])
@pytest.mark.parametrize("chunk_seconds", [0.001, 0.1, 0.37])
def test_a_stream_by_frames_gives_what_the_file_gives(frames_enhancer, rate, chunk_seconds):
    audio = randn(2, 2 * rate).numpy()
    audio[0, rate // 2 : rate] = 0  # the channels with sound change
    audio[1, :rate] *= 0.01
    whole = frames_enhancer(audio, rate)
    assert np.abs(whole - audio).max() > 0.01
    stream = frames_enhancer.stream(rate, 2, chunk_seconds=chunk_seconds)
    assert stream.windows is not None
    parts = [stream.push(audio[:, i : i + 777]) for i in range(0, audio.shape[1], 777)]
    streamed = np.concatenate([*parts, stream.finish()], axis=1)
    np.testing.assert_allclose(streamed, whole, atol=2e-6)


@pytest.mark.parametrize("length", [0, 1, 300, 5000])
def test_a_short_stream_by_frames(frames_enhancer, length):
    audio = randn(1, length).numpy()
    stream = frames_enhancer.stream(16_000)
    streamed = np.concatenate([stream.push(audio), stream.finish()], axis=1)
    np.testing.assert_allclose(streamed, frames_enhancer(audio, 16_000), atol=2e-6)


def test_a_stream_computes_each_frame_once(frames_enhancer):
    audio = randn(1, 64_000).numpy()
    frames = []
    network = frames_enhancer.network
    network.register_forward_pre_hook(lambda _, inputs: frames.append(inputs[0].shape[-1]))
    stream = frames_enhancer.stream(16_000, chunk_seconds=0.1)
    for start in range(0, audio.shape[1], 160):
        stream.push(audio[:, start : start + 160])
    stream.finish()
    assert sum(frames) == 64_000 // 256


def test_an_unknown_sampler_is_refused(make_enhancer):
    with pytest.raises(UserError, match="there is no sampler 'eular'; choose one of"):
        make_enhancer()(randn(1, 100), RATE, sampler="eular")


def test_what_is_no_enhancer_is_refused():
    with pytest.raises(UserError, match="is not an enhancer but a vocoder"):
        Enhancer.from_pretrained("vocoder-en-22k")


def test_a_sampler_that_the_path_cannot_have_is_refused_before_it_runs(make_enhancer):
    with pytest.raises(UserError, match="does not fit the model: Langevin"):
        make_enhancer().with_sampler("predictor_corrector")


def test_steps_keep_the_samplers_own_grid(make_enhancer):
    enhancer = make_enhancer(schedule="ouve")
    schedule = enhancer.denoiser.schedule
    grid = enhancer.with_sampler("predictor_corrector", 4).grid(schedule)
    assert len(grid) == 5
    assert grid[-2] == pytest.approx(schedule.t_min)
