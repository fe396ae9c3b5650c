import math

import pytest
import torch

from wavediff.errors import UserError
from wavediff.evaluation.frechet import embedding, frechet, frechet_distance, log_mel_statistics


def covariance(d: int, rank: int, seed: int) -> torch.Tensor:
    a = torch.randn(d, rank, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return a @ a.T


def test_with_covariances_that_commute_it_is_the_distance_of_means_and_deviations():
    q = torch.linalg.qr(covariance(5, 5, 0))[0]
    a, b = torch.rand(2, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.1
    mean = torch.arange(5.0)
    found = frechet_distance(mean, q @ a.diag() @ q.T, mean + 0.5, q @ b.diag() @ q.T)
    expected = 5 * 0.25 + (a.sqrt() - b.sqrt()).square().sum().item()
    assert found == pytest.approx(expected, rel=1e-12)


def test_in_two_dimensions_it_is_the_formula_with_determinants():
    """tr (S1 S2)^(1/2) = sqrt(tr(S1 S2) + 2 sqrt(det S1 det S2)) for 2 x 2 matrices."""
    s1, s2 = covariance(2, 2, 2), covariance(2, 2, 3)
    root = math.sqrt((s1 @ s2).trace() + 2 * math.sqrt(s1.det() * s2.det()))
    zero = torch.zeros(2)
    found = frechet_distance(zero, s1, zero, s2)
    assert found == pytest.approx(float(s1.trace() + s2.trace() - 2 * root), rel=1e-12)


def test_it_is_what_the_optimal_map_moves():
    """E|x - A x|^2 with A = S1^(-1/2) (S1^(1/2) S2 S1^(1/2))^(1/2) S1^(-1/2)."""
    s1, a = covariance(4, 4, 4), covariance(4, 4, 5)
    s2 = a @ s1 @ a  # a, symmetric and positive, is then the optimal map
    i = torch.eye(4, dtype=torch.float64)
    zero = torch.zeros(4)
    found = frechet_distance(zero, s1, zero, s2)
    assert found == pytest.approx(float(((i - a) @ s1 @ (i - a).T).trace()), rel=1e-10)


def test_singular_covariances_lose_no_digits():
    s = covariance(6, 2, 6)
    zero = torch.zeros(6)
    assert frechet_distance(zero, s, zero, s) < 1e-12 * s.trace()
    assert frechet_distance(zero, 4 * s, zero, s) == pytest.approx(s.trace().item(), rel=1e-10)
    assert frechet_distance(zero, s, zero, 0 * s) == pytest.approx(s.trace().item(), rel=1e-12)


def test_sets_are_compared_by_their_moments_whatever_their_order():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    assert frechet(x, x.flip(0)) < 1e-12
    assert frechet(x, x + 2) == pytest.approx(12, rel=1e-9)
    assert frechet(x[:, :1], 3 * x[:, :1] - 2 * x[:, :1].mean()) == pytest.approx(
        4 * x[:, 0].var().item(), rel=1e-9
    )


@pytest.mark.parametrize(
    "bad", [torch.zeros(1, 3), torch.zeros(4, 2), torch.full((4, 3), math.nan)]
)
def test_sets_that_cannot_be_compared_are_refused(bad):
    with pytest.raises(ValueError, match=r"sets|finite"):
        frechet(torch.zeros(4, 3), bad)


def test_features_hear_loudness_tone_and_movement():
    time = torch.arange(8000) / 8000
    tone = 0.5 * torch.sin(2 * math.pi * 440 * time)
    swelling = tone * time
    features = log_mel_statistics(torch.stack([tone, 0.1 * tone, swelling]), 8000, n_mels=10)
    assert features.shape == (3, 30)
    mean, std, step = features.split(10, dim=1)
    loudest = mean[0].argmax()
    # log magnitude falls by log(10)
    assert mean[0, loudest] - mean[1, loudest] == pytest.approx(math.log(10), rel=1e-3)
    assert std[2, loudest] > 2 * std[0, loudest]
    assert step[2, loudest] > 0
    assert log_mel_statistics(torch.zeros(2, 100), 8000).isfinite().all()


pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")


class Energy(torch.nn.Module):
    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.sample_rate = sample_rate

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        length = torch.full((audio.shape[0],), float(audio.shape[1]))
        return torch.stack([audio.square().mean(1), length], dim=1)


def test_a_users_embedding_model_gets_audio_at_its_own_rate(tmp_path):
    path = tmp_path / "energy.pt"
    torch.jit.save(torch.jit.script(Energy(4000)), path)
    found = embedding(path)(torch.ones(3, 800), 8000)
    assert found[:, 1].tolist() == [400] * 3


def test_an_invalid_model_or_embedding_is_refused(tmp_path):
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(UserError, match=r"torch\.jit\.save"):
        embedding(tmp_path / "text.pt")
    torch.jit.save(torch.jit.script(torch.nn.Identity()), tmp_path / "same.pt")
    with pytest.raises(UserError, match=r"maps \[2, 4, 5\] to \[2, 4, 5\]. Give one"):
        embedding(tmp_path / "same.pt")(torch.zeros(2, 4, 5), 8000)
    torch.jit.save(torch.jit.script(torch.nn.Linear(3, 2)), tmp_path / "linear.pt")
    with pytest.raises(UserError, match="does not accept audio"):
        embedding(tmp_path / "linear.pt")(torch.zeros(2, 5), 8000)
