import pytest
import torch

from wavediff.diffusion import times
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.ddim import DDIM
from wavediff.diffusion.exact import Gaussian, Mixture
from wavediff.diffusion.guidance import ClassifierFree, ProjectionGuidance
from wavediff.diffusion.schedule import VP, RectifiedFlow


def test_what_is_known_arrives_exactly_and_the_rest_as_without():
    exact = Gaussian(VP(), torch.tensor([0.3, -1.0, 2.0]), torch.tensor([0.5, 1.0, 0.01]))
    exact.prepare = lambda cond: cond

    def project(x0_hat, cond):
        assert cond == Condition()
        known = x0_hat.clone()
        known[..., 1] = 0.7
        return known

    torch.manual_seed(0)
    x = torch.randn(4, 1, 3, dtype=torch.float64)
    grid = times.uniform(10)(VP())
    sample = DDIM(grid)(ProjectionGuidance(exact, project), x, started=True)
    plain = DDIM(grid)(exact, x, started=True)
    assert (sample[..., 1] == 0.7).all()
    assert torch.equal(sample[..., 0], plain[..., 0])
    assert torch.equal(sample[..., 2], plain[..., 2])


def test_prepares_as_the_denoiser_does():
    exact = Gaussian(VP(), torch.zeros(3), torch.ones(3))
    exact.prepare = lambda cond: Condition(prepared="seen")
    assert ProjectionGuidance(exact, lambda x, cond: x).prepare(Condition()).prepared == "seen"


class Classes:
    """A Gaussian for each class, and their mixture without one."""

    def __init__(self, schedule):
        self.schedule = schedule
        self.w, self.m, self.s = torch.tensor([[0.3, 0.7], [-1.0, 1.5], [0.4, 0.6]]).double()
        self.all = Mixture(schedule, self.w, self.m, self.s)
        self.calls = 0

    def one(self, label):
        which = slice(label, label + 1)
        return Mixture(self.schedule, torch.ones(1), self.m[which], self.s[which])

    def prepare(self, cond):
        return Condition(label=cond.label, prepared=cond.label.clone())

    def __call__(self, x, t, cond):
        self.calls += 1
        assert cond.prepared is None or torch.equal(cond.prepared, cond.label)
        items = zip(x, cond.label.tolist(), strict=True)
        return torch.stack([(self.all if k < 0 else self.one(k))(item, t) for item, k in items])


@pytest.mark.parametrize("prepared", [True, False])
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("schedule", [VP(), RectifiedFlow()])
def test_a_guided_score_is_exact_for_a_gaussian_per_class(schedule, scale, prepared):
    # the score of p(x) (p(x | class) / p(x))^scale
    classes = Classes(schedule)
    guided = ClassifierFree(classes, scale)
    x = torch.linspace(-3, 3, 14, dtype=torch.float64).reshape(2, 1, 7).requires_grad_()
    cond = Condition(label=torch.tensor([1, 0]))
    for t in (0.1, 0.6):
        none = classes.all.log_density(x, t)
        label = torch.stack([classes.one(k).log_density(x[i], t) for i, k in enumerate((1, 0))])
        log_density = (none + scale * (label - none)).sum()
        (expected,) = torch.autograd.grad(log_density, x)
        classes.calls = 0
        x0_hat = guided(x, t, guided.prepare(cond) if prepared else cond)
        assert classes.calls == (1 if scale in (0.0, 1.0) else 2)
        score = (schedule.alpha(t) * x0_hat - x) / schedule.sigma(t) ** 2
        torch.testing.assert_close(score, expected, rtol=1e-9, atol=1e-9)


def test_guidance_without_a_label_is_refused():
    guided = ClassifierFree(Classes(VP()), 2.0)
    with pytest.raises(ValueError, match="labels"):
        guided(torch.zeros(1, 1, 1), 0.5, Condition())
