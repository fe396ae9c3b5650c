import torch
from closed_forms import NOTHING, Gaussian

from wavediff.diffusion import reverse, times
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.guidance import Projected
from wavediff.diffusion.schedule import VP


def test_what_is_known_arrives_exactly_and_the_rest_as_without():
    exact = Gaussian(VP(), torch.tensor([0.3, -1.0, 2.0]), torch.tensor([0.5, 1.0, 0.01]))
    exact.prepare = lambda cond: cond

    def project(x0_hat, cond):
        assert cond is NOTHING
        known = x0_hat.clone()
        known[..., 1] = 0.7
        return known

    torch.manual_seed(0)
    x = torch.randn(4, 1, 3, dtype=torch.float64)
    grid = times.uniform(VP(), 10)
    sample = reverse.ddim(Projected(exact, project), x, grid, NOTHING)
    plain = reverse.ddim(exact, x, grid, NOTHING)
    assert (sample[..., 1] == 0.7).all()
    assert torch.equal(sample[..., 0], plain[..., 0])
    assert torch.equal(sample[..., 2], plain[..., 2])


def test_prepares_as_the_denoiser_does():
    exact = Gaussian(VP(), torch.zeros(3), torch.ones(3))
    exact.prepare = lambda cond: Condition(prepared="seen")
    assert Projected(exact, lambda x, cond: x).prepare(NOTHING).prepared == "seen"
