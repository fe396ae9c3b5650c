"""The pre-trained forecaster: its scale, its network, its paths."""

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.noise import ItemNoise
from wavediff.networks.patch_transformer import PatchTransformer
from wavediff.series import features
from wavediff.series.period import Periods
from wavediff.series.settings import GROUPS, recipe_config
from wavediff.series.synthetic import FAMILIES
from wavediff.series.synthetic_windows import SyntheticWindows
from wavediff.series.zero_shot import ZeroShotForecaster, scores
from wavediff.series.zero_shot_paths import paths
from wavediff.tasks.build import build_task

SMALL = ["network.width=32", "network.encoder_blocks=1", "network.decoder_blocks=2"]


@pytest.fixture(scope="module")
def model() -> ZeroShotForecaster:
    """Untrained, but for an output that is not zero."""
    config = recipe_config("forecaster", SMALL)
    torch.manual_seed(0)
    task = build_task({group: config[group] for group in GROUPS})
    torch.nn.init.normal_(task.network.out.weight, std=0.05)
    return task.eval()


@pytest.fixture(scope="module")
def plain() -> ZeroShotForecaster:
    """Untrained: its forecast is the reference's."""
    config = recipe_config("forecaster", SMALL)
    return build_task({group: config[group] for group in GROUPS}).eval()


def batch(length: int = 64, horizon: int = 16, count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(count, length + horizon)).cumsum(1) + 50
    return torch.from_numpy(x), torch.tensor([[12, 1]] * count)


def test_the_scale_is_undone():
    x, periods = batch()
    _, scale = features.describe(x[:, :64], periods, 16, 8)
    z = scale.apply(x[:, 64:])
    torch.testing.assert_close(scale.invert(z[:, None])[:, 0], x[:, 64:], rtol=1e-5, atol=1e-4)
    assert z.abs().max() < features.CLIP


@pytest.mark.parametrize(("factor", "shift"), [(1e-9, 0.0), (1e12, 0.0), (1.0, 1e9)])
def test_units_are_free(factor, shift, plain):
    x, periods = batch()
    x = x[:, :64] - 80  # of both signs, so that there are no logarithms
    one = plain.forecast(x, periods, 16, 20)
    other = plain.forecast(factor * x + shift, periods, 16, 20)
    wanted = factor * one + shift
    spread = wanted.std(0).mean()
    torch.testing.assert_close(other / spread, wanted / spread, rtol=1e-4, atol=0.02)


def test_without_training_the_forecast_is_the_references(plain):
    x, periods = batch()
    _, scale = features.describe(x[:, :64], periods, 16, 8)
    drawn = plain.forecast(x[:, :64], periods, 16, 2000)
    z = torch.stack([scale.apply(path) for path in drawn])
    assert z.mean().abs() < 0.05
    assert z.std() == pytest.approx(0.9, abs=0.06)  # data_std of the recipe


def test_paths_are_a_function_of_seed_and_series_alone(model):
    x, periods = batch()
    past = x[:, :64]
    together = model.forecast(past, periods, 16, 8)
    alone = model.forecast(past[2:3], periods[2:3], 16, 8, rows=[2])
    torch.testing.assert_close(together[:, 2:3], alone, rtol=5e-3, atol=0.05)
    assert (model.forecast(past, periods, 16, 8, seed=1) != together).all()
    torch.testing.assert_close(model.forecast(past, periods, 16, 8), together)


def test_a_longer_horizon_continues_from_the_paths(model):
    x, periods = batch()
    long = model.forecast(x[:2, :64], periods[:2], 150, 5)
    assert long.shape == (5, 2, 150)
    first = model.forecast(x[:2, :64], periods[:2], 64, 5)
    torch.testing.assert_close(long[:, :, :64], first)
    steps = (long[..., 64] - long[..., 63]).abs().mean()
    spread = long[..., 63].std(0).mean()
    assert steps < 3 * spread  # a path goes on where it is


def test_the_network_treats_the_paths_of_a_series_alike():
    torch.manual_seed(0)
    network = PatchTransformer(3, 2, 4, width=16, heads=2, encoder_blocks=1, decoder_blocks=2)
    torch.nn.init.normal_(network.out.weight)
    past, ahead, numbers = torch.randn(2, 3, 32), torch.randn(2, 2, 16), torch.randn(2, 4)
    known = torch.ones(2, 32, dtype=torch.bool)
    memory = network.encoder(past, known, ahead, numbers)
    x, c_noise = torch.randn(6, 1, 16), torch.rand(6) * 1000
    both = network(x, c_noise, Condition(prepared=memory))
    for row in range(6):
        series = slice(row // 3, row // 3 + 1)
        own = network.encoder(past[series], known[series], ahead[series], numbers[series])
        one = network(x[row : row + 1], c_noise[row : row + 1], Condition(prepared=own))
        torch.testing.assert_close(both[row : row + 1], one, rtol=1e-4, atol=1e-5)


def test_what_lies_before_a_series_is_not_seen():
    network = PatchTransformer(3, 2, 4, width=16, heads=2, encoder_blocks=2, decoder_blocks=1)
    past, ahead, numbers = torch.randn(1, 3, 32), torch.randn(1, 2, 8), torch.randn(1, 4)
    known = torch.arange(32)[None] >= 16
    changed = past.clone()
    changed[..., :16] = 9
    one, other = (network.encoder(x, known, ahead, numbers) for x in (past, changed))
    x, c_noise = torch.randn(1, 1, 8), torch.zeros(1)
    torch.nn.init.normal_(network.out.weight)
    torch.testing.assert_close(
        network(x, c_noise, Condition(prepared=one)), network(x, c_noise, Condition(prepared=other))
    )


def test_long_pasts_are_pooled():
    x = torch.randn(1, 3000).double().cumsum(1)
    seen, _ = features.describe(x, torch.tensor([[1, 1]]), 8, 8)
    assert seen.past.shape == (1, features.PAST, features.FINE + features.POOLED)
    assert torch.isfinite(seen.past).all()


def test_the_loss_learns_nothing_from_what_is_missing(model):
    windows = SyntheticWindows(0, {name: weight for name, (_, weight) in FAMILIES.items()})
    items = default_collate([windows[k] for k in range(6)])
    horizon = int(items["horizon"][0])
    noise = ItemNoise(0, items["index"].tolist())
    items["values"][0, -horizon:] = torch.nan
    items["values"][1, -horizon:-4] = torch.nan
    loss = model.loss(items, noise)["loss"]
    assert loss[0] == 0
    assert torch.isfinite(loss).all()
    changed = items | {"values": items["values"].clone()}
    changed["values"][1, -1] += 100
    assert model.loss(changed, noise)["loss"][1] != loss[1]


def test_validation_compares_with_seasonal_naive(plain):
    windows = SyntheticWindows(0, {name: weight for name, (_, weight) in FAMILIES.items()}, 1)
    found = scores(plain, windows, 60)
    assert 0.3 < found["relative_wql"] < 1
    assert 0.5 < found["coverage_80"] <= 1


def test_series_of_any_length_go_together(model):
    pasts = [
        np.arange(5.0),
        np.full(9, np.nan),
        np.zeros(30),
        np.random.default_rng(0).normal(size=700),
    ]
    done = []
    found = paths(model, pasts, Periods(4, 1), 10, 7, progress=done.append)
    assert found.shape == (7, 4, 10)
    assert np.isnan(found[:, 1]).all()
    assert np.isfinite(found[:, [0, 2, 3]]).all()
    assert sum(done) == 3
    alone = paths(model, pasts[:1], Periods(4, 1), 10, 7)
    np.testing.assert_allclose(alone[:, 0], found[:, 0], rtol=0.02, atol=0.02)
