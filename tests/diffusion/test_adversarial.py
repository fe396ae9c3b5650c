import pytest
import torch
from torch import Tensor, nn

from wavediff.diffusion.adversarial import (
    Adversarial,
    discriminator_loss,
    feature_matching,
    generator_loss,
    gradient_penalty,
    summed_feature_matching,
)


def scores(*parts: list[float]) -> list[list[Tensor]]:
    """Parts with a layer of features and these scores per item."""
    return [[torch.ones(len(part), 2, 3), torch.tensor(part)[:, None, None]] for part in parts]


def test_losses_of_known_scores():
    """(D - 1)^2 for the generator, (D(x) - 1)^2 + D(x_hat)^2 for the discriminator."""
    fake, real = scores([0.0, 1.0], [3.0, 0.5]), scores([1.0, 0.0], [1.0, 2.0])
    torch.testing.assert_close(generator_loss(fake), torch.tensor([2.5, 0.125]))
    torch.testing.assert_close(discriminator_loss(real, fake), torch.tensor([4.5, 1.625]))
    # fooled everywhere, and right everywhere
    assert generator_loss(scores([1.0])) == 0
    assert discriminator_loss(scores([1.0]), scores([0.0])) == 0
    # where nothing can be told, one half is best
    assert discriminator_loss(scores([0.5]), scores([0.5])) == 0.5


def test_a_score_s_mean_is_taken_after_the_square():
    fake = [[torch.tensor([[0.0, 2.0]])]]
    assert generator_loss(fake) == 1


def test_the_best_discriminator_is_p_over_p_plus_q():
    """Its gradient is zero there, and the loss sum p q / (p + q) (Mao et al. 2017)."""
    p, q = torch.tensor([0.5, 0.3, 0.2, 0.0]), torch.tensor([0.1, 0.3, 0.2, 0.4])
    table = (p / (p + q)).requires_grad_()
    # 10 draws of each, in the proportions of p and q
    true, made = (torch.repeat_interleave((10 * w).round().long()) for w in (p, q))
    loss = discriminator_loss([[table[true][:, None]]], [[table[made][:, None]]]).mean()
    assert loss.item() == pytest.approx((p * q / (p + q)).sum().item(), rel=1e-6)
    loss.backward()
    torch.testing.assert_close(table.grad, torch.zeros(4), atol=1e-7, rtol=0)


def test_features_match_relative_to_the_true_ones():
    generator = torch.Generator().manual_seed(0)
    layers = [torch.randn(3, 2, 5, generator=generator) for _ in range(4)]
    zero = torch.zeros(3, 1)
    real = [[layers[0], layers[1], zero], [layers[2], layers[3], zero]]
    fake = [[1.1 * layers[0], layers[1], zero + 7], [0.7 * layers[2], -layers[3], zero]]
    # 10 %, nothing, 30 % and twice; the scores have no part in it
    expected = torch.full((3,), (0.1 + 0.0 + 0.3 + 2.0) / 4)
    torch.testing.assert_close(feature_matching(real, fake), expected)
    # an item by itself, whatever the levels of the others
    loud = [[layer * torch.tensor([1.0, 100.0, 1e4])[:, None, None] for layer in layers[:1]]]
    moved = [[layer + 0.5 for layer in loud[0]]]
    end = [torch.zeros(3, 1)]
    together = feature_matching([loud[0] + end], [moved[0] + end])
    for i in range(3):
        a, b = ([[*(layer[i : i + 1] for layer in part), end[0][:1]] for part in x]
                for x in (loud, moved))  # fmt: skip
        torch.testing.assert_close(feature_matching(a, b)[0], together[i])


def test_silent_features_leave_the_loss_finite():
    silent = [[torch.zeros(2, 3), torch.zeros(2, 1)]]
    assert feature_matching(silent, silent).tolist() == [0, 0]


class Toy(nn.Module):
    """A discriminator of one linear part, with one layer of features."""

    def __init__(self, weight: float = 0.3, bias: float = 0.1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.bias = nn.Parameter(torch.tensor(bias))

    def forward(self, audio: Tensor, label: Tensor | None = None) -> list[list[Tensor]]:
        return [[2 * audio, self.weight * audio + self.bias]]


def test_each_loss_has_a_gradient_for_its_own_player_alone():
    toy = Toy()
    objective = Adversarial(toy, weight=3.0, feature_weight=0.0)
    x, x_hat = torch.full((2, 1, 4), 1.0), torch.full((2, 1, 4), 0.5, requires_grad=True)
    losses = objective(x_hat, x)
    losses["discriminator"].mean().backward(retain_graph=True)
    assert x_hat.grad is None
    # 2 (D(x) - 1) x + 2 D(x_hat) x_hat, with D(x) = 0.4 and D(x_hat) = 0.25
    assert toy.weight.grad.item() == pytest.approx(2 * -0.6 * 1 + 2 * 0.25 * 0.5)
    assert toy.bias.grad.item() == pytest.approx(2 * -0.6 + 2 * 0.25)
    before = toy.weight.grad.clone()
    losses["generator"].mean().backward()
    assert torch.equal(toy.weight.grad, before)
    # 3 * 2 (D(x_hat) - 1) w over 8 numbers
    torch.testing.assert_close(x_hat.grad, torch.full((2, 1, 4), 3 * 2 * -0.75 * 0.3 / 8))
    assert all(p.requires_grad for p in toy.parameters())


def test_who_is_believed_or_judged_alike_has_nothing_to_learn():
    x = torch.full((1, 1, 4), 0.5)
    for toy in (Toy(weight=0.0, bias=0.2), Toy(weight=2.0, bias=0.0)):  # deaf; D(x_hat) = 1
        x_hat = x.clone().requires_grad_()
        Adversarial(toy, feature_weight=0.0)(x_hat, x)["generator"].backward()
        assert torch.equal(x_hat.grad, torch.zeros_like(x))


def test_the_weighted_sum_and_the_discriminator_alone():
    toy = Toy()
    x, x_hat = torch.ones(2, 1, 4), torch.full((2, 1, 4), 0.5)
    losses = Adversarial(toy, weight=0.5, feature_weight=4.0)(x_hat, x)
    torch.testing.assert_close(losses["feature_matching"], torch.full((2,), 0.5))
    torch.testing.assert_close(losses["adversarial"], torch.full((2,), 0.75**2))
    torch.testing.assert_close(losses["generator"], torch.full((2,), 0.5 * 0.75**2 + 4 * 0.5))
    alone = Adversarial(toy)(x_hat, x, train_generator=False)
    assert set(alone) == {"discriminator"}
    torch.testing.assert_close(alone["discriminator"], losses["discriminator"])


def test_the_wasserstein_loss_is_the_difference_of_the_scores():
    toy = Toy()
    x, x_hat = torch.full((2, 1, 4), 1.0), torch.full((2, 1, 4), 0.5, requires_grad=True)
    losses = Adversarial(toy, weight=3.0, feature_weight=0.0, loss="wasserstein")(x_hat, x)
    # D(x) = 0.4 and D(x_hat) = 0.25
    torch.testing.assert_close(losses["discriminator"], torch.full((2,), -0.15))
    torch.testing.assert_close(losses["adversarial"], torch.full((2,), -0.25))
    losses["discriminator"].mean().backward(retain_graph=True)
    assert toy.weight.grad.item() == pytest.approx(0.5 - 1)
    assert x_hat.grad is None
    losses["generator"].mean().backward()
    torch.testing.assert_close(x_hat.grad, torch.full((2, 1, 4), -3 * 0.3 / 8))


def test_the_penalty_of_a_linear_critic_is_that_of_its_slope():
    """D(z) = mean(w z) over n samples has a gradient of norm |w| / sqrt(n) everywhere."""
    toy = Toy(weight=6.0)
    x, x_hat = torch.randn(3, 1, 4), torch.randn(3, 1, 4)
    for u in (torch.zeros(3), torch.rand(3)):
        found = gradient_penalty(toy, x, x_hat, u)
        torch.testing.assert_close(found, torch.full((3,), (6 / 2 - 1) ** 2))
    losses = Adversarial(toy, loss="wasserstein", penalty=10.0, feature_weight=0.0)(x_hat, x)
    torch.testing.assert_close(losses["penalty"], torch.full((3,), 4.0))
    found = Adversarial(toy, loss="wasserstein", feature_weight=0.0)(x_hat, x)["discriminator"]
    torch.testing.assert_close(losses["discriminator"], found + 40)
    gradient_penalty(toy, x, x_hat, u).mean().backward()
    assert toy.weight.grad.item() == pytest.approx(2 * (6 / 2 - 1) / 2)


def test_the_penalty_is_taken_between_both():
    class Square(nn.Module):
        def forward(self, audio: Tensor, label: Tensor | None = None) -> list[list[Tensor]]:
            return [[audio, audio.square().sum(-1, keepdim=True)]]

    x, x_hat, u = torch.full((3, 1, 1), 2.0), torch.zeros(3, 1, 1), torch.tensor([0, 0.25, 1])
    # the gradient is 2 z at z = 2 u
    expected = (4 * u - 1).square()
    torch.testing.assert_close(gradient_penalty(Square(), x, x_hat, u), expected)


def test_summed_features_are_those_of_hifigan_s_equation():
    """Sum over parts and layers of the mean absolute difference, the score's included."""
    real = [[torch.zeros(2, 1, 4), torch.zeros(2, 3)], [torch.ones(2, 2), torch.zeros(2, 1)]]
    fake = [[torch.full((2, 1, 4), 0.5), torch.full((2, 3), -2.0)], [torch.ones(2, 2),
            torch.tensor([[3.0], [0.0]])]]  # fmt: skip
    expected = torch.tensor([0.5 + 2 + 0 + 3, 0.5 + 2 + 0 + 0])
    torch.testing.assert_close(summed_feature_matching(real, fake), expected)


class Twice(nn.Module):
    """Two equal parts: what is summed is twice what is averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.toy = Toy()

    def forward(self, audio: Tensor, label: Tensor | None = None) -> list[list[Tensor]]:
        return 2 * self.toy(audio)


class Offset(nn.Module):
    """A mel that is the signal itself, with another scale."""

    def forward(self, audio: Tensor) -> Tensor:
        return 10 * audio[:, 0]


def test_hifigan_s_losses_of_known_scores_and_spectra():
    """L_G = sum (D(x_hat) - 1)^2 + 2 L_FM + 45 L_mel; L_D = sum (D(x) - 1)^2 + D(x_hat)^2."""
    x, x_hat = torch.full((2, 1, 4), 1.0), torch.full((2, 1, 4), 0.5, requires_grad=True)
    objective = Adversarial(Twice(), summed=True, mel=Offset(), mel_weight=45.0)
    losses = objective(x_hat, x)
    # D(x) = 0.4 and D(x_hat) = 0.25; the features differ by 1, the scores by 0.15
    expected = {"discriminator": 2 * (0.6**2 + 0.25**2), "adversarial": 2 * 0.75**2}
    expected |= {"feature_matching": 2 * 1.15, "mel": 5.0}
    expected["generator"] = 2 * 0.75**2 + 2 * 2 * 1.15 + 45 * 5.0
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], torch.full((2,), value), msg=name)
    losses["generator"].mean().backward()
    assert objective.discriminator.toy.weight.grad is None
    # per sample, of 8: the score 2 * 2 (D - 1) w, features 2 * 2 * -(2 + w), mel 45 * -10
    slope = (2 * 2 * -0.75 * 0.3 - 2 * 2 * 2.3 - 450) / 8
    torch.testing.assert_close(x_hat.grad, torch.full((2, 1, 4), slope))
    assert set(objective(x_hat, x, train_generator=False)) == {"discriminator"}


def test_sums_and_mels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="is for least squares"):
        Adversarial(Toy(), summed=True, loss="wasserstein")
    with pytest.raises(ValueError, match="needs a mel: choose one"):
        Adversarial(Toy(), mel_weight=45.0)


@pytest.mark.parametrize("name", ["weight", "feature_weight", "delay", "penalty", "mel_weight"])
def test_negative_numbers_are_refused(name):
    with pytest.raises(ValueError, match="must not be negative"):
        Adversarial(Toy(), **{name: -1})


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="least_squares or wasserstein, not 'hinge'"):
        Adversarial(Toy(), loss="hinge")
