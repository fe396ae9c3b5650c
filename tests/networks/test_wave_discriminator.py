import pytest
import torch

from wavediff.networks.wave_discriminator import WaveDiscriminator, phase_shuffled


def test_layers_are_per_item_with_the_score_last():
    torch.manual_seed(0)
    discriminator = WaveDiscriminator(width=2, layers=3).eval()
    audio = torch.randn(3, 1, 640)
    (outputs,) = discriminator(audio)
    shapes = [tuple(layer.shape) for layer in outputs]
    assert shapes == [(3, 2, 160), (3, 4, 40), (3, 8, 10), (3, 1, 10)]
    (alone,) = discriminator(audio[1:2])
    for layer, own in zip(outputs, alone, strict=True):
        torch.testing.assert_close(layer[1:2], own)


def test_a_class_adds_the_product_of_its_embedding_with_the_features():
    torch.manual_seed(0)
    discriminator = WaveDiscriminator(width=2, layers=2, labels=3).eval()
    audio, label = torch.randn(2, 1, 64), torch.tensor([2, 0])
    ((*_, features, score),) = discriminator(audio, label)
    ((*_, other),) = discriminator(audio, label.flip(0))
    vectors = discriminator.embedding.weight
    difference = vectors[label] - vectors[label.flip(0)]
    torch.testing.assert_close(
        score - other, (difference[:, :, None] * features).sum(1, keepdim=True)
    )
    with pytest.raises(ValueError, match="needs classes"):
        discriminator(audio)


def test_phase_shuffle_moves_whole_items_and_mirrors_their_ends():
    torch.manual_seed(0)
    x = torch.arange(12.0).expand(200, 2, 12)
    found = phase_shuffled(x, 2)
    assert torch.equal(found[:, 0], found[:, 1])
    rows = {tuple(row) for row in found[:, 0, :].tolist()}
    inner = [float(i) for i in range(12)]
    assert rows == {
        (2.0, 1.0, *inner[:-2]), (1.0, *inner[:-1]), tuple(inner), (*inner[1:], 10.0),
        (*inner[2:], 10.0, 9.0),
    }  # fmt: skip
    assert torch.equal(phase_shuffled(x[..., :1], 2), x[..., :1])  # nowhere to go


def test_shuffling_is_for_training_alone():
    torch.manual_seed(0)
    discriminator = WaveDiscriminator(width=2, layers=2, shuffle=2)
    audio = torch.randn(2, 1, 256)

    def scores() -> torch.Tensor:
        return discriminator(audio)[0][-1]

    assert not torch.equal(scores(), scores())
    discriminator.eval()
    assert torch.equal(scores(), scores())


@pytest.mark.parametrize("wrong", [{"width": 0}, {"layers": 0}, {"shuffle": -1}, {"labels": -1}])
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="must be 1 or more"):
        WaveDiscriminator(**wrong)
