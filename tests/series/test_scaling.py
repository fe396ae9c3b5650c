import pytest
import torch

from wavediff.errors import UserError
from wavediff.series.scaling import KINDS, count, fit


def windows(seed=0, shape=(4, 3, 50), dtype=torch.float64):
    return 7 + 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30, 1e200])
def test_round_trip_is_exact(kind, size):
    x = windows() * size
    scaling = fit(x, torch.ones_like(x), kind)
    assert scaling.loc.shape == scaling.scale.shape == (4, 3, 1)
    back = scaling.invert(scaling.apply(x))
    assert ((back - x).abs() / x.abs().amax(-1, keepdim=True)).max() < 1e-12


def test_each_kind_is_what_it_says():
    x = windows()
    present = torch.ones_like(x)
    torch.testing.assert_close(
        fit(x, present, "mean_abs").apply(x).abs().mean(-1), torch.ones(4, 3).double()
    )
    z = fit(x, present, "standard").apply(x)
    torch.testing.assert_close(z.mean(-1), torch.zeros(4, 3).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(z.std(-1, correction=0), torch.ones(4, 3).double())
    z = fit(x, present, "robust").apply(x)
    low, middle, high = torch.quantile(z, torch.tensor([0.25, 0.5, 0.75]).double(), -1)
    torch.testing.assert_close(middle, torch.zeros(4, 3).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(high - low, torch.full((4, 3), 1.349).double())
    z = fit(x, present, "last").apply(x)
    torch.testing.assert_close(z[..., -1], torch.zeros(4, 3).double())
    torch.testing.assert_close(z.square().mean(-1), torch.ones(4, 3).double())
    present[..., -2:] = 0
    torch.testing.assert_close(fit(x, present, "last").loc, x[..., -3:-2].double())
    present = torch.ones_like(x)
    z = fit(x, present, "joint").apply(x).flatten(-2)
    torch.testing.assert_close(z.mean(-1), torch.zeros(4).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(z.std(-1, correction=0), torch.ones(4).double())
    assert fit(x, present, "none").apply(x).equal(x)
    with pytest.raises(UserError, match="scaling=minmax"):
        fit(x, present, "minmax")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_missing_has_no_influence(kind):
    x = windows()
    present = (torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.6).double()
    spoilt = torch.where(present.bool(), x, torch.nan)
    a, b = fit(x * present, present, kind), fit(spoilt, present, kind)
    assert a.loc.equal(b.loc)
    assert a.scale.equal(b.scale)
    of = (0,) if kind == "joint" else (0, 0)
    there = x[of][present[of].bool()][None]
    alone = fit(there, torch.ones_like(there), kind)
    torch.testing.assert_close(a.scale[0, 0], alone.scale[0])


@pytest.mark.parametrize("kind", KINDS)
def test_degenerate_windows_have_a_finite_scale(kind):
    constant = torch.tensor([0.0, 5.0, -1e30, 0.1, 1e-20])[:, None].expand(5, 20)
    one = torch.zeros(1, 20)
    one[0, 3] = 1
    cases = [(constant, torch.ones(5, 20)), (constant, torch.zeros(5, 20)), (one + 4, one)]
    for x, present in cases:
        scaling = fit(x, present, kind)
        assert (scaling.scale > 0).all()
        assert scaling.scale.isfinite().all()
        assert scaling.loc.isfinite().all()
        assert scaling.apply(x).isfinite().all()
    sizes = fit(constant, torch.ones(5, 20), "standard").scale[:, 0]
    values = constant[:, 0].abs().double()
    torch.testing.assert_close(sizes, torch.where(values > 0, values, 1.0))
    assert (fit(constant, torch.zeros(5, 20), kind).scale == 1).all()


def test_a_window_mostly_of_one_value_still_has_a_spread():
    x = torch.zeros(1, 100).double()
    x[0, :10] = torch.arange(10.0)
    found = fit(x, torch.ones(1, 100), "robust").scale.item()
    assert found == pytest.approx(x.std(correction=0).item())


def test_single_precision_windows_come_back_in_double():
    x = (windows() + 1e6).float()
    scaling = fit(x, torch.ones_like(x), "standard")
    z = scaling.apply(x)
    assert z.dtype == torch.float32
    assert (scaling.invert(z) - x.double()).abs().max() < 1e-5


def test_one_scale_for_all_variables_is_of_all_their_cells():
    x = windows() + torch.tensor([0.0, 10.0, -5.0])[:, None]
    present = torch.ones_like(x)
    present[:, 1, 3:] = 0
    scaling = fit(x, present, "joint")
    assert scaling.loc.std(1).max() == scaling.scale.std(1).max() == 0
    assert count(present, "joint")[..., 0].tolist() == [[103, 103, 103]] * 4
    assert count(present, "standard")[..., 0].tolist() == [[50, 3, 50]] * 4
