import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wavediff.networks.hifigan_discriminator import HiFiGANDiscriminator, Period, Scale

TINY = {"period_widths": [2, 4], "scale_widths": [2, 2, 4, 4, 8, 8, 8]}


def size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_published_sizes():
    """41.1 M and 29.6 M parameters, by the layers of the published code (V1)."""
    with torch.device("meta"):
        discriminator = HiFiGANDiscriminator()
    convolutions = [(1, 32), (32, 128), (128, 512), (512, 1024), (1024, 1024)]
    # weights, biases and the norms of the weights
    period = sum(5 * a * b + 2 * b for a, b in convolutions) + 3 * 1024 + 2
    assert size(discriminator.periods) == 5 * period == 41_105_770
    assert size(discriminator.scales) == pytest.approx(29.6e6, rel=1e-3)
    # the part at the full rate has no parameters of norms
    first, second, third = map(size, discriminator.scales)
    assert second == third == first + sum([128, 128, 256, 512, 1024, 1024, 1024, 1])


def test_the_shapes_of_the_published_layers():
    with torch.device("meta"):
        discriminator = HiFiGANDiscriminator()
        outputs = discriminator(torch.zeros(2, 1, 8192))
    shapes = [[tuple(layer.shape[1:]) for layer in part] for part in outputs]
    assert len(shapes) == 8
    # 8192 samples in rows of 3, with a stride of 3
    rows = [(32, 911), (128, 304), (512, 102), (1024, 34), (1024, 34), (1, 34)]
    assert shapes[1] == [(*row, 3) for row in rows]
    assert shapes[5] == [
        (128, 8192), (128, 4096), (256, 2048), (512, 512), (1024, 128), (1024, 128), (1024, 128),
        (1, 128),
    ]  # fmt: skip
    assert [part[0][-1] for part in shapes[5:]] == [8192, 4097, 2049]


def test_a_period_sees_each_phase_by_itself():
    torch.manual_seed(0)
    part = Period(3, [4, 4])
    audio = torch.randn(1, 1, 90)
    changed = audio.clone()
    changed[..., 1::3] += 1
    for one, other in zip(part(audio), part(changed), strict=True):
        same = (one == other).flatten(0, 2).all(0)
        assert same.tolist() == [True, False, True]
    # rows of a length that the period does not divide are completed by mirroring
    short = audio[..., :88]
    mirrored = F.pad(short, (0, 2), "reflect")
    for one, other in zip(part(short), part(mirrored), strict=True):
        torch.testing.assert_close(one, other)


def test_the_first_scale_bounds_the_gain_of_its_layers():
    torch.manual_seed(0)
    part = Scale(TINY["scale_widths"], spectral=True)
    for _ in range(50):  # of the power iteration
        part(torch.randn(1, 1, 256))
    part.eval()
    for layer in [*part.layers, part.score]:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(
            1, abs=0.05
        )


def test_items_are_judged_by_themselves():
    torch.manual_seed(0)
    discriminator = HiFiGANDiscriminator(**TINY).eval()
    audio = torch.randn(3, 1, 300)
    for part, single in zip(discriminator(audio), discriminator(audio[1:2]), strict=True):
        for layer, own in zip(part, single, strict=True):
            torch.testing.assert_close(layer[1:2], own)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"periods": [0]}, "must be 1 or more"),
        ({"period_widths": [8.5]}, "must be 1 or more"),
        ({"scales": -1}, "0 or more"),
        ({"periods": [], "scales": 0}, "at least one period or scale"),
        ({"scale_widths": [8]}, "a scale 7"),
        ({"period_widths": []}, "one layer or more"),
    ],
)
def test_impossible_sizes_are_refused(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        HiFiGANDiscriminator(**wrong)
