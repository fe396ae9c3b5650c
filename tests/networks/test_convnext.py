import pytest
import torch

from wavediff.diffusion.condition import Condition
from wavediff.networks.convnext import ConvNeXt


def make(trained: bool = True, **options) -> ConvNeXt:
    torch.manual_seed(0)
    settings = {"channels": 4, "local_channels": 5, "width": 6, "layers": 3, "kernel_size": 5}
    network = ConvNeXt(**settings | options).double()
    if trained:
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return network


def inputs(batch: int = 2, frames: int = 21, channels: int = 4):
    generator = torch.Generator().manual_seed(1)

    def normal(width: int) -> torch.Tensor:
        return torch.randn(batch, width, frames, generator=generator, dtype=torch.float64)

    return normal(channels), torch.linspace(0, 900, batch).double(), Condition(local=normal(5))


def test_a_block_is_the_formula_of_the_paper():
    """x + scale * narrow(gelu(widen(norm(depthwise(x))))), written out for one frame."""
    block = make().blocks[0]
    h, step = torch.randn(1, 6, 9).double(), torch.randn(1, 256).double()
    out = block(h, step)[0, :, 4]
    depthwise, widen, narrow = block.depthwise, block.widen, block.narrow
    y = (depthwise.weight[:, 0] * h[0, :, 2:7]).sum(1) + depthwise.bias
    y = y / (y.square().mean() + 1e-6).sqrt()
    y = y * block.norm.weight[:, 0] + block.norm.bias[:, 0]
    scale, shift = block.step_projection(step)[0].chunk(2)
    y = widen.weight[..., 0] @ (y * (1 + scale) + shift) + widen.bias
    y = y * 0.5 * (1 + torch.erf(y / 2**0.5))
    y = narrow.weight[..., 0] @ y + narrow.bias
    torch.testing.assert_close(out, h[0, :, 4] + block.scale[:, 0] * y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("local_channels", [0, 5])
def test_the_receptive_field_is_what_it_says(local_channels):
    network = make(local_channels=local_channels)
    x, c_noise, cond = inputs(batch=1)
    x.requires_grad_(), cond.local.requires_grad_()
    network(x, c_noise, cond)[0, :, 10].sum().backward()
    furthest = cond.local if local_channels else x
    touched = furthest.grad[0].abs().sum(0).nonzero().flatten()
    assert (touched - 10).abs().max() == network.receptive_field
    assert len(touched) == 2 * network.receptive_field + 1


def test_a_fresh_network_predicts_nothing():
    x, c_noise, cond = inputs()
    assert not make(trained=False)(x, c_noise, cond).any()


def test_every_item_by_itself_and_every_input_counts():
    network = make(labels=3, anchor_channels=2)
    x, c_noise, cond = inputs()
    anchor = torch.randn(2, 2, 21).double()
    label = torch.tensor([0, 2])

    def predict(x=x, c_noise=c_noise, local=cond.local, label=label, anchor=anchor):
        return network(x, c_noise, Condition(local=local, label=label, anchor=anchor))

    out = predict()
    alone = predict(x[:1], c_noise[:1], cond.local[:1], label[:1], anchor[:1])
    torch.testing.assert_close(out[:1], alone, rtol=1e-12, atol=1e-12)
    for changed in (
        predict(x=x + 1),
        predict(c_noise=c_noise + 50),
        predict(local=cond.local + 1),
        predict(label=torch.tensor([1, -1])),
        predict(anchor=anchor + 1),
    ):
        assert ((changed - out).abs().amax((1, 2)) > 1e-3).all()


def test_every_weight_learns():
    network = make()
    network(*inputs()).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_what_is_prepared_of_an_item_serves_several_samples_of_it():
    network = make(upsample=4)
    _, c_noise, cond = inputs(frames=6)
    x, _, _ = inputs(frames=22)  # two less than the condition reaches
    samples = torch.stack([x, x + 1, 2 * x])
    with torch.no_grad():
        prepared = Condition(prepared=network.prepare(cond))
        together = network(samples.flatten(0, 1), c_noise.repeat(3), prepared)
        apart = [network(sample, c_noise, cond) for sample in samples]
    torch.testing.assert_close(together, torch.cat(apart), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"local_channels": 0, "out_channels": 7}])
@pytest.mark.parametrize("frames", [1, 2, 50])
def test_any_number_of_frames_with_and_without_a_condition(options, frames):
    network = make(**options)
    out = network(*inputs(frames=frames)[:2], inputs(frames=frames)[2])
    assert out.shape == (2, options.get("out_channels", 4), frames)


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="kernel_size odd"):
        make(kernel_size=4)
    with pytest.raises(ValueError, match="1 or more"):
        make(layers=0)
    with pytest.raises(ValueError, match="needs a"):
        make(anchor_channels=2)(*inputs())
