"""The variational autoencoder's network: Gaussians, reach, any length."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from wavediff.networks.autoencoder import Autoencoder, Posterior, Snake

SETTINGS = {"latent_channels": 3, "width": 4, "strides": (2, 3), "dilations": (1, 2)}


def make(**options) -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(**SETTINGS | options).double()


def audio(length: int, batch: int = 2, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 1, length, generator=generator, dtype=torch.float64)


def posterior() -> Posterior:
    generator = torch.Generator().manual_seed(2)
    return Posterior(*torch.randn(2, 2, 3, 5, generator=generator, dtype=torch.float64))


def test_the_kl_and_entropy_are_those_of_gaussians():
    q = posterior()
    normal = Normal(q.mean, (q.log_variance / 2).exp())
    expected = kl_divergence(normal, Normal(torch.zeros_like(q.mean), 1.0))
    torch.testing.assert_close(q.kl(), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(q.entropy(), normal.entropy(), rtol=0, atol=1e-12)
    assert Posterior(torch.zeros(1), torch.zeros(1)).kl() == 0


def test_the_kl_is_the_mean_log_ratio_of_its_own_samples():
    q, n = posterior(), 100_000
    generator = torch.Generator().manual_seed(3)
    z = q.sample(torch.randn(n, *q.mean.shape, generator=generator, dtype=torch.float64))
    log_q = Normal(q.mean, (q.log_variance / 2).exp()).log_prob(z)
    ratio = log_q - Normal(0.0, 1.0).log_prob(z)
    # five standard errors
    assert ((ratio.mean(0) - q.kl()).abs() < 5 * ratio.std(0) / math.sqrt(n)).all()


@pytest.mark.parametrize("strides", [(2, 3), (4,), (1, 2)])
@pytest.mark.parametrize("length", [1, 5, 6, 25])
def test_any_length(strides, length):
    network = make(strides=strides)
    x = audio(length)
    q = network.encode(x)
    assert network.hop_length == math.prod(strides)
    assert network.compression == network.hop_length / 3
    assert q.mean.shape == q.log_variance.shape == (2, 3, -(-length // network.hop_length))
    estimate, mean, log_variance = network(x, torch.zeros_like(q.mean))
    assert estimate.shape == x.shape
    assert torch.equal(mean, q.mean)
    assert torch.equal(log_variance, q.log_variance)
    assert torch.equal(estimate, network.decode(q.mean, length))


@pytest.mark.parametrize("options", [{}, {"strides": (3, 2, 2)}, {"dilations": (1,)}], ids=str)
def test_the_reach_is_what_it_says(options):
    network = make(**options)
    hop, frames = network.hop_length, 60
    at = frames // 2
    x = audio(frames * hop, batch=1).requires_grad_()
    network.encode(x).mean[0, :, at].sum().backward()
    touched = x.grad[0, 0].nonzero().flatten().tolist()
    reach = max(at * hop - min(touched), max(touched) - (at + 1) * hop + 1)
    assert reach == network.encoder_reach

    z = torch.randn(1, 3, frames, dtype=torch.float64, requires_grad=True)
    y, farthest = network.decode(z, frames * hop), 0
    for sample in range(at * hop, (at + 1) * hop):
        z.grad = None
        y[0, 0, sample].backward(retain_graph=True)
        touched = z.grad[0].abs().sum(0).nonzero().flatten().tolist()
        farthest = max(farthest, at - min(touched), max(touched) - at)
    assert farthest == network.decoder_reach


def test_snake_is_the_formula_and_gradients_reach_every_weight():
    snake = Snake(2).double()
    torch.nn.init.constant_(snake.log_a, math.log(3.0))
    x = audio(5, batch=1).expand(1, 2, 5)
    torch.testing.assert_close(snake(x), x + torch.sin(3 * x) ** 2 / 3)
    network = make()
    x = audio(24)
    estimate, *q = network(x, torch.randn(2, 3, 4, dtype=torch.float64))
    (estimate.square().mean() + Posterior(*q).kl().mean()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_bfloat16_is_near_float32():
    network = make().float()
    x, eps = audio(24).float(), torch.zeros(2, 3, 4)
    exact = network(x, eps).audio
    with torch.autocast("cpu", torch.bfloat16):
        y = network(x, eps).audio
    assert ((y.float() - exact).square().mean() / exact.square().mean()).sqrt() < 0.05


def test_what_cannot_be_is_refused():
    network = make()
    for shape in [(1, 10), (1, 2, 10), (1, 1, 0)]:
        with pytest.raises(ValueError, match="audio"):
            network.encode(torch.zeros(shape, dtype=torch.float64))
    for length in (6, 13):
        with pytest.raises(ValueError, match="latent must"):
            network.decode(torch.zeros(1, 3, 2, dtype=torch.float64), length)
    with pytest.raises(ValueError, match="1 or more"):
        make(strides=(2, 0))
