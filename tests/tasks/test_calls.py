"""Models called from Python with what they cannot take: one sentence each."""

import numpy as np
import pytest
import torch

from wavediff import Enhancer, Vocoder
from wavediff.errors import UserError


@pytest.fixture(scope="module")
def vocoder() -> Vocoder:
    return Vocoder.from_pretrained()


@pytest.fixture(scope="module")
def enhancer() -> Enhancer:
    return Enhancer.from_pretrained()


MEL = np.full((80, 4), -6, np.float32)
SOUND = 0.1 * np.random.default_rng(0).normal(size=800).astype(np.float32)


@pytest.mark.parametrize(
    ("mel", "options", "words"),
    [
        ([MEL, MEL], {}, "the mel is a list: a mel is an array or a tensor"),
        ("x.npy", {}, "the mel is a str"),
        (None, {}, "the mel is a NoneType"),
        ({"mel": MEL}, {}, "the mel is a dict"),
        (np.array([None]), {}, "holds object values"),
        (MEL, {"steps": "a"}, "a whole number up to 100000, not 'a'"),
        (MEL, {"steps": 10**9}, "not 1000000000"),
        (MEL, {"steps": 1.5}, "not 1.5"),
        (MEL, {"seed": None}, "seed=None is no seed"),
        (MEL, {"seed": 0.5}, "seed=0.5 is no seed"),
        (MEL, {"sampler": 3}, "there is no sampler '3'"),
        (MEL, {"sampler": "x" * 9999}, "there is no sampler"),
    ],
)
def test_vocoder(vocoder, mel, options, words):
    with pytest.raises(UserError) as caught:
        vocoder(mel, **options)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_type(kind):
    with pytest.raises(UserError, match=r"weights are b?float\d+: call \.float\(\)"):
        Vocoder.from_pretrained().to(kind)(MEL)
    with pytest.raises(UserError, match=r"weights are b?float\d+: call \.float\(\)"):
        Enhancer.from_pretrained().to(kind)(SOUND, 16_000)


def test_numbers_of_numpy_are_numbers(vocoder, enhancer):
    one = vocoder(MEL, seed=np.int64(3), steps=np.int32(1))
    assert np.array_equal(one, vocoder(MEL, seed=3, steps=1))
    assert enhancer(SOUND, np.float64(16_000)).shape == SOUND.shape


@pytest.mark.parametrize(
    ("sound", "rate", "words"),
    [
        (SOUND, None, "sample_rate=None is no sample rate"),
        (SOUND, "16k", "sample_rate='16k' is no sample rate"),
        (SOUND, True, "sample_rate=True is no sample rate"),
        (SOUND, 10**12, "out of range"),
        ("a.wav", 16_000, "audio must be an array or a tensor, not a str"),
        ([0.1], 16_000, "not a list"),
        (SOUND.astype(int), 16_000, "has no known full scale"),
    ],
)
def test_enhancer(enhancer, sound, rate, words):
    with pytest.raises(UserError) as caught:
        enhancer(sound, rate)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"dry": "a"}, {"channels": "a"}, {"chunk_seconds": "a"}, {"channels": None}]
)
def test_streams(enhancer, options):
    with pytest.raises(UserError, match="is not a number"):
        enhancer.stream(16_000, **options)


@pytest.mark.parametrize("name", [None, 3, b"x", "", "\0", "x" * 9999, "~nobody-of-that-name/x"])
def test_models_that_are_none(name):
    with pytest.raises(UserError) as caught:
        Vocoder.from_pretrained(name)
    assert len(str(caught.value)) < 400


ODD = [
    (lambda *shape: torch.zeros(*(1 for _ in shape)).expand(*shape[:-1], 10**9), "repeats"),
    (lambda *shape: np.broadcast_to(np.float32(0), (*shape[:-1], 10**9)), "repeats"),
    (lambda *shape: torch.zeros(*shape, device="meta"), "without values"),
    (lambda *shape: torch.zeros(*shape).to_sparse(), "sparse"),
]


@pytest.mark.parametrize(("make", "words"), ODD)
def test_tensors_whose_values_are_not_there(vocoder, enhancer, make, words):
    with pytest.raises(UserError, match=f"the mel is .*{words}.*: give a dense"):
        vocoder(make(80, 4))
    for shape in ((800,), (1, 800)):
        with pytest.raises(UserError, match=f"the audio is .*{words}.*: give a dense"):
            enhancer(make(*shape), 16_000)
    with pytest.raises(UserError, match=f"the audio is .*{words}.*: give a dense"):
        enhancer.stream(16_000).push(make(1, 800))


def test_a_mel_that_is_repeated_in_a_batch_is_taken(vocoder):
    one = torch.from_numpy(MEL)
    both = vocoder(one.expand(2, -1, -1))
    assert torch.equal(both[0], both[1])


@pytest.mark.parametrize("path", [None, 5, ""])
def test_a_model_is_saved_to_a_path(vocoder, path):
    with pytest.raises(UserError, match="path"):
        vocoder.save_pretrained(path)
