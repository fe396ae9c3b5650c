import torch

from wavediff.diffusion.noise import ItemNoise, PositionNoise


def test_an_items_noise_does_not_depend_on_its_batch():
    whole = ItemNoise(3, range(10, 16))
    parts = [ItemNoise(3, range(10, 12)), ItemNoise(3, range(12, 16))]
    assert torch.equal(whole.normal(2, 7), torch.cat([part.normal(2, 7) for part in parts]))
    assert torch.equal(whole.uniform(), torch.cat([part.uniform() for part in parts]))
    assert not torch.equal(whole.normal(2, 7), ItemNoise(4, range(10, 16)).normal(2, 7))
    assert not torch.equal(whole.normal(2, 7), whole.normal(2, 7, stream=5))


def test_noise_depends_on_the_absolute_position_only():
    whole = PositionNoise(7)(torch.empty(2, 3, 70_000), 4)
    piece = PositionNoise(7, offset=21_000)(torch.empty(2, 3, 30_000), 4)
    assert torch.equal(piece, whole[..., 21_000:51_000])
    assert not torch.equal(whole, PositionNoise(7)(torch.empty(2, 3, 70_000), 5))
    assert not torch.equal(whole, PositionNoise(8)(torch.empty(2, 3, 70_000), 4))


def test_noise_is_standard_normal_across_blocks():
    noise = PositionNoise(0)(torch.empty(1, 1, 400_000), -1)
    assert abs(float(noise.mean())) < 0.01
    assert abs(float(noise.std()) - 1) < 0.01
    neighbours = noise[..., 1:] * noise[..., :-1]
    assert abs(float(neighbours.mean())) < 0.01
