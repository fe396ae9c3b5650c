import pytest
import torch

from wavediff.diffusion.noise import ItemNoise
from wavediff.errors import UserError
from wavediff.tasks.build import build_task
from wavediff.tasks.generator import Generator

WIENER = {"groups": 2, "frames": 3}


@pytest.fixture
def make_generator(make_config, read_group):
    def make(space="pqmf", labels=0, wiener=None, **task) -> Generator:
        config = make_config(space)
        del config["mel"]
        target = read_group("task", "generator")
        config["task"] = (
            target | {"sample_rate": 4000, "crop_seconds": 0.1, "wiener": wiener} | task
        )
        config["network"] |= {"labels": labels}
        if wiener:
            config["network"] |= {"local_channels": wiener["groups"], "upsample": 1}
        torch.manual_seed(0)
        generator = build_task(config)
        torch.nn.init.normal_(generator.network.output_projection.weight, std=0.3)
        return generator.eval()

    return make


@pytest.mark.parametrize("wiener", [None, WIENER])
def test_the_loss_is_per_item_and_has_gradients(make_generator, wiener):
    generator = make_generator(wiener=wiener)
    audio = 0.1 * torch.randn(3, 1, generator.crop_length)
    losses = generator.loss({"audio": audio}, ItemNoise(0, [4, 5, 6]))
    assert all(value.shape == (3,) for value in losses.values())
    losses["loss"].mean().backward()
    assert all(p.grad.isfinite().all() for p in generator.network.parameters())
    alone = generator.loss({"audio": audio[1:2]}, ItemNoise(0, [5]))
    assert torch.allclose(alone["loss"], losses["loss"][1:2], rtol=1e-4)


@pytest.mark.parametrize("space", ["waveform", "pqmf", "stft"])
def test_a_sound_depends_on_its_number_and_the_seed_alone(make_generator, space):
    generator = make_generator(space)
    sounds = generator.generate(3, seconds=0.2, seed=5)
    assert sounds.shape == (3, 1, 800)
    assert sounds.isfinite().all()
    assert torch.allclose(
        generator.generate(1, seconds=0.2, seed=5, first=2), sounds[2:], atol=1e-5
    )
    assert not torch.allclose(sounds[0], sounds[1])
    assert not torch.allclose(generator.generate(1, seconds=0.2, seed=6), sounds[:1])


def test_a_hidden_class_is_drawn_from_the_items_own_noise(make_generator, monkeypatch):
    generator = make_generator(labels=3, label_dropout=0.5)
    seen = []
    forward = generator.denoiser.forward
    monkeypatch.setattr(
        generator.denoiser, "forward", lambda x, t, c: seen.append(c.label) or forward(x, t, c)
    )
    batch = {"audio": torch.randn(40, 1, generator.crop_length), "label": torch.ones(40).long()}
    for global_seed in (0, 1):
        torch.manual_seed(global_seed)
        generator.loss(batch, ItemNoise(0, range(40)))
    assert torch.equal(seen[0], seen[1])
    assert set(seen[0].tolist()) == {-1, 1}
    assert 10 < (seen[0] == -1).sum() < 30
    assert (batch["label"] == 1).all()


def test_classes_and_guidance(make_generator):
    generator = make_generator(labels=3, label_dropout=0.1)
    generator.extra = {"label_names": ["hat", "kick", "snare"]}
    kick = generator.generate(1, label="kick")
    assert torch.equal(kick, generator.generate(1, label=1))
    assert not torch.allclose(kick, generator.generate(1, label="snare"))
    assert not torch.allclose(kick, generator.generate(1))
    assert not torch.allclose(kick, generator.generate(1, label="kick", guidance=2.0))


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ({}, {"n": 0}, "1 or more"),
        ({}, {"seconds": 0.0}, "positive"),
        ({}, {"label": 1}, "no label"),
        ({}, {"guidance": 2.0}, "needs a class"),
        ({}, {"sampler": "nope"}, "ddim"),
        ({"labels": 2}, {}, "0 to 1"),
        ({"labels": 2}, {"label": 2}, "0 to 1"),
        ({"labels": 2}, {"label": 1, "guidance": 2.0}, "label_dropout"),
    ],
)
def test_what_cannot_be_is_one_sentence(make_generator, model, options, message):
    with pytest.raises(UserError, match=message):
        make_generator(**model).generate(**{"n": 1} | options)


@pytest.mark.parametrize("labels", [0, 2])
def test_validation_is_a_sample_as_long_as_the_reference(make_generator, labels):
    generator = make_generator(labels=labels)
    batch = {"audio": torch.zeros(1, 1, 777)} | ({"label": torch.tensor([1])} if labels else {})
    assert generator.validate(batch, 3).shape == (1, 1, 777)


def test_numbers_that_cannot_be_are_refused(make_generator):
    for task in ({"label_dropout": 1.5}, {"scale": 0.0}, {"sample_rate": 0}):
        with pytest.raises(UserError, match="Generator"):
            make_generator(**task)
