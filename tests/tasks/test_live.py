"""Enhancement while a signal arrives, with a tiny causal model."""

import numpy as np
import pytest
import soxr
import torch
from toys import tiny_config, tiny_live_config, with_random_weights

from wavediff.diffusion.noise import ItemNoise
from wavediff.errors import UserError
from wavediff.tasks.build import build_task
from wavediff.tasks.enhancer import Enhancer
from wavediff.tasks.live import LiveStream

RATE, HOP = 4000, 16


@pytest.fixture
def enhancer() -> Enhancer:
    return with_random_weights(tiny_live_config())


def noise(length: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    return 0.02 * np.random.default_rng(seed).standard_normal((channels, length))


def streamed(stream: LiveStream, audio: np.ndarray, *sizes: int) -> np.ndarray:
    parts, start, k = [], 0, 0
    while start < audio.shape[1]:
        size = sizes[k % len(sizes)]
        parts.append(stream.push(audio[:, start : start + size]))
        start, k = start + size, k + 1
    return np.concatenate([*parts, stream.finish()], axis=1)


@pytest.mark.parametrize("sizes", [(HOP,), (1,), (7, 40), (1000,)], ids=str)
@pytest.mark.parametrize("steps", [1, 2])
def test_the_result_does_not_depend_on_the_blocks(enhancer, sizes, steps):
    audio = noise(519, channels=2)
    whole = enhancer(audio, RATE, steps=steps, seed=3)
    assert whole.shape == audio.shape
    out = streamed(enhancer.stream(RATE, 2, steps=steps, seed=3), audio, *sizes)
    np.testing.assert_allclose(out, whole, atol=1e-6)


def test_at_the_models_rate_it_is_the_whole_form(enhancer):
    """After what takes out an offset, whose impulse response is p^n - p^(n - 1)."""
    audio = noise(600)
    audio[:, 0] = 0
    pole = np.exp(-2 * np.pi * 4.0 / RATE)
    response = pole ** np.arange(600)
    response[1:] -= pole ** np.arange(599)
    passed = np.convolve(audio[0], response)[:600]
    whole = enhancer.enhance(torch.from_numpy(passed)[None, None].float())[0]
    np.testing.assert_allclose(enhancer(audio, RATE), whole.numpy(), atol=1e-5)


def test_output_comes_with_the_block_after_and_never_depends_on_a_later_one(enhancer):
    audio = noise(20 * HOP)
    stream = enhancer.stream(RATE)
    assert stream.latency == 2 * HOP / RATE
    lengths = [stream.push(audio[:, k * HOP : (k + 1) * HOP]).shape[1] for k in range(20)]
    assert lengths == [0] + [HOP] * 19
    changed = audio.copy()
    changed[:, 10 * HOP :] = noise(10 * HOP, seed=1)
    out, other = enhancer(audio, RATE), enhancer(changed, RATE)
    assert (out[:, : 9 * HOP] == other[:, : 9 * HOP]).all()
    assert (out[:, 9 * HOP : 10 * HOP] != other[:, 9 * HOP : 10 * HOP]).any()


@pytest.mark.parametrize("rate", [RATE, 2 * RATE, 11025])
def test_an_impulse_through_the_dry_path_comes_out_where_it_went_in(enhancer, rate):
    """Pushes of one sample: the latency is what passes until it is there, to the sample."""
    stream = enhancer.stream(rate, dry=1.0)
    audio = np.zeros((1, 20 * stream.hop))
    at = 5 * stream.hop
    audio[:, at] = 0.5
    out, when = np.zeros((1, 0)), None
    for k in range(audio.shape[1]):
        out = np.concatenate([out, stream.push(audio[:, k : k + 1])], axis=1)
        if when is None and out.shape[1] > at:
            when = k
    assert when is not None
    assert (when + 1 - at) / rate == pytest.approx(stream.latency)
    assert np.abs(out).argmax() == at
    assert out[0, at] == pytest.approx(0.5, abs=1e-6)


def test_other_rates_see_the_same_spectra(enhancer):
    """A signal within the model's band: at twice its rate the result is that at its own."""
    n = np.arange(2 * RATE)
    tones = [np.sin(2 * np.pi * f / RATE * n + f) * (n % 900 < 600) for f in (230, 700, 1100)]
    audio = 0.1 * np.sum(tones, axis=0)[None]
    double = soxr.resample(audio.T, RATE, 2 * RATE, "VHQ").T
    audio = soxr.resample(double.T, 2 * RATE, RATE, "VHQ").T
    out = enhancer(double, 2 * RATE)
    reference = enhancer(audio, RATE)
    down = soxr.resample(out.T, 2 * RATE, RATE, "VHQ").T
    error = np.square(down - reference).sum() / np.square(reference).sum()
    assert error < 0.02


def test_an_offset_is_taken_out_from_the_first_sample_on(enhancer):
    audio = noise(800)
    audio[:, 0] = 0
    np.testing.assert_allclose(enhancer(audio + 0.7, RATE), enhancer(audio, RATE), atol=1e-6)


def test_silence_stays_silent_and_begins_without_a_click(enhancer):
    audio = np.concatenate([np.zeros((1, 200)), noise(600), np.zeros((1, 600))], axis=1)
    out = enhancer(audio, RATE)
    assert not out[:, : 200 - 2 * HOP].any()
    assert not out[:, 800 + 64 + HOP :].any()
    assert np.abs(out).max() <= 1
    for gain in (1e-3, 3.0):
        np.testing.assert_allclose(
            enhancer(gain * audio, RATE), gain * out, atol=2e-3 * gain * np.abs(out).max()
        )


def test_the_share_of_the_input_changes_while_it_runs_without_a_step(enhancer):
    audio = 0.1 * np.sin(2 * np.pi * 300 / RATE * np.arange(2000))[None]
    stream = enhancer.stream(RATE)
    first = stream.push(audio[:, :992])
    stream.dry = 1.0
    out = np.concatenate([first, stream.push(audio[:, 992:]), stream.finish()], axis=1)
    np.testing.assert_allclose(out[:, 992 + HOP :], audio[:, 992 + HOP :], atol=2e-3)
    wet = enhancer(audio, RATE)
    np.testing.assert_allclose(out[:, : 992 - HOP], wet[:, : 992 - HOP], atol=1e-6)
    steepest = max(np.abs(np.diff(x)).max() for x in (wet, audio))
    assert np.abs(np.diff(out)).max() < 1.2 * steepest


@pytest.mark.parametrize("rate", [RATE, 2 * RATE, 11025])
def test_a_share_of_one_is_the_input_itself(enhancer, rate):
    audio = noise(3 * RATE, channels=2) + 0.2  # with an offset
    np.testing.assert_allclose(enhancer(audio, rate, dry=1.0), audio, atol=1e-12)
    half = enhancer(audio, rate, dry=0.5)
    np.testing.assert_allclose(half, (enhancer(audio, rate) + audio) / 2, atol=1e-6)


@pytest.mark.parametrize("share", [-1, 2, float("nan"), "a", None])
def test_a_share_that_is_none_is_refused_while_it_runs(enhancer, share):
    stream = enhancer.stream(RATE)
    with pytest.raises(UserError, match="dry="):
        stream.dry = share
    assert stream.dry == 0


def test_memory_does_not_grow(enhancer):
    stream = enhancer.stream(RATE)

    def held() -> int:
        arrays = [v for v in vars(stream).values() if isinstance(v, np.ndarray)]
        states = [t for s in stream._step._streams for t in s.state]
        return sum(a.size for a in arrays) + sum(t.untyped_storage().nbytes() for t in states)

    sizes = set()
    for k in range(60):
        stream.push(noise(HOP, seed=k))
        if k > 10:
            sizes.add(held())
    assert len(sizes) == 1


def test_a_step_of_training(enhancer):
    batch = {"audio": torch.randn(2, 1, enhancer.crop_length), "noisy": None}
    batch["noisy"] = batch["audio"] + 0.3 * torch.randn(2, 1, enhancer.crop_length)
    losses = enhancer.loss(batch, ItemNoise(0, [0, 1]))
    losses["loss"].mean().backward()
    assert all(
        p.grad is not None and p.grad.isfinite().all() for p in enhancer.network.parameters()
    )


def test_what_cannot_be_is_refused(enhancer):
    for options, word in (
        ({"sample_rate": 0}, "sample rate"),
        ({"sample_rate": RATE, "channels": 0}, "channels"),
        ({"sample_rate": RATE, "channels": 1.5}, "no parts of one"),
        ({"sample_rate": RATE, "dry": 2.0}, "dry"),
    ):
        with pytest.raises(UserError, match=word):
            enhancer.stream(**options)
    stream = enhancer.stream(RATE)
    with pytest.raises(UserError, match=r"block must be \[1, time\]"):
        stream.push(noise(10, channels=2))
    with pytest.raises(UserError, match="NaN"):
        stream.push(np.full((1, 10), np.nan))
    with pytest.raises(UserError, match="not a list"):
        stream.push([[0.0] * 10])
    stream.finish()
    with pytest.raises(UserError, match="finished"):
        stream.push(noise(10))
    with pytest.raises(UserError, match="other frames than a mel"):
        build_task(tiny_live_config() | {"mel": tiny_config("stft")["mel"]})
