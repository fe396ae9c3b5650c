"""The model of series: what it is told, what it gives back, exact where the denoiser is."""

import numpy as np
import pandas
import pytest
import torch
from fitted import fit
from torch import nn

from wavediff.diffusion.exact import Correlated
from wavediff.diffusion.noise import ItemNoise
from wavediff.diffusion.posterior import PosteriorGuidance
from wavediff.diffusion.schedule import VP
from wavediff.errors import UserError
from wavediff.series import imputation, rolling, scaling
from wavediff.series.condition import Window, network_sizes
from wavediff.series.model import SeriesModel
from wavediff.series.series_set import Series, SeriesSet
from wavediff.series.settings import recipe_config
from wavediff.series.windows import Windows
from wavediff.tasks.build import build_task


def tiny(variables: int = 2, kind: str = "standard", lags=(5,), features: int = 0) -> SeriesModel:
    """Random weights, 12 steps of context and 4 of horizon."""
    config = recipe_config("series")
    sizes = {"variables": variables, "features": features, "lags": list(lags)}
    sizes |= {"context": 12, "horizon": 4, "scaling": kind}
    groups = {key: config[key] for key in SeriesModel.groups}
    groups["task"] = groups["task"] | sizes
    groups["network"] = groups["network"] | network_sizes(groups["network"], **sizes)
    groups["network"] |= {"width": 8, "layers": 2, "dilation_cycle": 2}
    torch.manual_seed(0)
    model = build_task(groups)
    for parameter in model.parameters():  # where training begins with zeros too
        nn.init.normal_(parameter, std=0.2)
    return model.eval()


def window(batch: int = 3, variables: int = 2) -> tuple[Window, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    values = 100 + 7 * torch.randn(batch, variables, 16, generator=generator)
    present = torch.rand(values.shape, generator=generator) < 0.9
    known = present & (torch.rand(values.shape, generator=generator) < 0.6)
    lags = torch.zeros_like(values)
    lags[..., 5:] = values[..., :-5]
    there = torch.zeros_like(present)
    there[..., 5:] = present[..., :-5]
    return Window(values, present, torch.zeros(batch, 0, 16), lags, there), known


@pytest.mark.parametrize("kind", scaling.KINDS)
def test_known_cells_come_back_and_hidden_ones_do_not_leak(kind):
    model = tiny(kind=kind)
    given, known = window()
    samples = model.sample_windows(given, known, 3)
    assert torch.equal(samples[:, known], given.values[known].double().expand(3, -1))
    changed = given.values.clone()
    changed[~known] = 1e6 * torch.randn(int((~known).sum()))
    lags = given.lags.clone()
    lags[..., 5:] = changed[..., :-5]
    other = model.sample_windows(given._replace(values=changed, lags=lags), known, 3)
    assert torch.equal(other, samples)
    changed[known] += 1
    assert not torch.equal(model.sample_windows(given._replace(values=changed), known, 3), samples)


def test_a_model_of_gaps_is_scored_where_its_masks_hide_cells():
    model = tiny()
    model.context, model.horizon, model.masks = 16, 0, {"random": 1.0}
    values = np.random.default_rng(0).normal(100, 7, (2, 64))
    values[0, 5] = np.nan
    series = SeriesSet([Series("a", 0, values)], ["x", "y"])
    held_out = Windows(series, 16, 0, places=[(0, 16), (0, 40)], lags=[5])
    scores = model.score(held_out, 2)
    assert 0 < scores["mae"] < 1000
    model.masks = {"forecast": 1.0}  # hides nothing here: nothing to score
    assert np.isnan(model.score(held_out, 2)["mae"])


def test_a_window_does_not_depend_on_its_batch_and_units_do_not_matter():
    model = tiny()
    given, known = window()
    samples = model.sample_windows(given, known, 2, seed=3)
    alone = given.map(lambda part: part[1:2])
    one = model.sample_windows(alone, known[1:2], 2, seed=3, first=1)
    torch.testing.assert_close(one, samples[:, 1:2], rtol=1e-4, atol=1e-3)
    scaled = given._replace(values=1000 * given.values - 5, lags=1000 * given.lags - 5)
    found = model.sample_windows(scaled, known, 2, seed=3)
    torch.testing.assert_close(found, 1000 * samples - 5, rtol=1e-3, atol=5)


def test_where_nothing_is_known_the_scale_is_the_one_given_and_the_past_is_hidden():
    model = tiny()
    given, known = window()
    nothing = torch.zeros_like(known)
    wide = scaling.Affine(torch.full((3, 2, 1), 50.0), torch.full((3, 2, 1), 2.0))
    wide = scaling.Affine(wide.loc.double(), wide.scale.double())
    samples = model.sample_windows(given, nothing, 2, wide=wide)
    other = scaling.Affine(wide.loc + 7, wide.scale * 3)
    found = model.sample_windows(given, nothing, 2, wide=other)
    torch.testing.assert_close((found - 57) / 6, (samples - 50) / 2, rtol=1e-5, atol=1e-5)
    lags = torch.randn(given.lags.shape)
    assert torch.equal(
        model.sample_windows(given._replace(lags=lags), nothing, 2, wide=wide), samples
    )


def test_the_loss_is_on_hidden_cells_that_there_are():
    model = tiny().train()
    given, _ = window(8)
    batch = {
        "values": given.values,
        "present": given.present.float(),
        "local": given.local,
        "lags": given.lags,
        "lags_present": given.lags_present.float(),
    }
    noise = ItemNoise(0, range(8))
    losses = model.loss(batch, noise)["loss"]
    assert losses.shape == (8,)
    assert losses.isfinite().all()
    batch["values"] = torch.where(given.present, given.values, torch.nan)
    assert torch.equal(model.loss(batch, noise)["loss"], losses)


def a_set(length: int = 40) -> SeriesSet:
    generator = np.random.default_rng(0)
    values = 10 + generator.normal(size=(2, length)).cumsum(1)
    return SeriesSet([Series("a", 0, values), Series("b", 0, values[:, :9] + 3)], ["x", "y"])


@pytest.mark.parametrize("multivariate", [True, False])
def test_a_long_horizon_rolls_with_each_paths_own_past(multivariate):
    model = tiny(2 if multivariate else 1)
    series = a_set()
    origins = [(0, 30), (1, 9)]
    options = {"multivariate": multivariate, "seed": 4}
    short = list(rolling.paths(model, series, origins, 4, 5, **options))
    long = list(rolling.paths(model, series, origins, 11, 5, **options))
    for one, other in zip(short, long, strict=True):
        assert other.shape == (5, 2, 11)
        assert np.isfinite(other).all()
        assert np.array_equal(one, other[..., :4])
    # what comes after the origin is not seen
    changed = series.items[0].values.copy()
    changed[:, 30:] = -1e5
    again = SeriesSet([Series("a", 0, changed), series.items[1]], ["x", "y"])
    for one, other in zip(
        long, rolling.paths(model, again, origins, 11, 5, **options), strict=True
    ):
        assert np.array_equal(one, other)


def test_the_past_of_a_path_is_where_values_and_lags_are():
    model = tiny(1)
    steps = torch.arange(16.0)[None, None]
    blank = torch.zeros(1, 1, 16)
    no = blank.bool()
    given = Window(blank, no, torch.zeros(1, 0, 16), blank, no)
    # the path is the six steps before the horizon: positions 6 to 11
    found = rolling.with_past(given, steps[..., 6:12], model)
    at = found.present[0, 0].nonzero().flatten()
    assert at.tolist() == [6, 7, 8, 9, 10, 11]
    assert torch.equal(found.values[0, 0, at], steps[0, 0, at])
    at = found.lags_present[0, 0].nonzero().flatten()
    assert at.tolist() == [11, 12, 13, 14, 15]
    assert torch.equal(found.lags[0, 0, at], steps[0, 0, at] - 5)


def test_gaps_of_all_kinds_are_filled_and_nothing_else_changes():
    model = tiny(2)
    values = a_set(90).items[0].values
    values[0, [3, 20, 21]] = np.nan
    values[1, :25] = np.nan  # longer than a window, at the beginning
    values[0, 40:75] = np.nan  # and inside
    items = [Series("a", 0, values), Series("b", 0, np.stack([values[0, :7], np.full(7, np.nan)]))]
    filled = imputation.impute(model, SeriesSet(items, ["x", "y"]), 4, multivariate=True)
    known = ~np.isnan(values)
    assert np.array_equal(filled[0].median[known], values[known])
    assert np.isfinite(filled[0].median).all()
    assert (filled[0].std[known] == 0).all()
    assert (filled[0].std[~known] > 0).all()
    assert np.isnan(filled[1].median[1]).all()  # nothing is known of it
    assert np.isfinite(filled[1].median[0]).all()


def test_the_exact_denoiser_of_a_gaussian_process_gives_the_exact_conditional():
    """Forecast and gap: E[x_0 | x_t, known cells] of a process with the covariance 0.8^|i - j|."""
    steps = torch.arange(8, dtype=torch.float64)
    covariance = 0.8 ** (steps[:, None] - steps).abs()
    schedule = VP()
    exact = Correlated(schedule, torch.sin(steps), covariance)

    class Exact(nn.Module):
        def __init__(self):
            super().__init__()
            self.schedule = schedule

        def forward(self, x, t, cond):
            return exact(x, t)

        def prepare(self, cond):
            return cond

    known = torch.tensor([0, 1, 3, 4])
    rows = torch.eye(8, dtype=torch.float64)[known]
    y = torch.tensor([0.3, -0.5, 1.0, 0.2], dtype=torch.float64)
    variance = 1e-9
    mean, rest = exact.given(rows, y, variance)
    measured = PosteriorGuidance(
        Exact(), lambda x: x[..., known], y.expand(2, 1, -1), variance, iterations=12
    )
    # the same by conditioning on the known cells first, on the noisy ones then
    given = Correlated(schedule, mean, rest)
    x = torch.randn(2, 1, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for t in (0.2, 0.5, 0.9):
        estimate = measured(x, t, None)
        a, s = float(schedule.alpha(torch.tensor(t))), float(schedule.sigma(torch.tensor(t)))
        gain = a * given.c @ torch.linalg.inv(a**2 * given.c + s**2 * torch.eye(8).double())
        expected = given.mu + (x - a * given.mu) @ gain.mT
        torch.testing.assert_close(estimate, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("multivariate", [False, True])
def test_windows_in_pieces_are_sampled_as_all_at_once(multivariate, monkeypatch):
    generator = np.random.default_rng(0)
    items = [50 + 9 * generator.normal(size=(2, 40)) for _ in range(3)]
    for item in items:
        item[:, 9:12] = np.nan
    series = SeriesSet([Series(str(k), 0, item) for k, item in enumerate(items)], ["a", "b"])
    model = tiny(variables=2 if multivariate else 1)
    told = []

    def sampled():
        options = {"multivariate": multivariate, "progress": told.append}
        ends = [(k, 40) for k in range(3)]
        paths = np.stack(list(rolling.paths(model, series, ends, 6, 3, **options)))
        filled = imputation.impute(model, series, 3, **options)
        return paths, np.stack([part.median for part in filled])

    whole = sampled()
    told.clear()
    monkeypatch.setattr(rolling, "STEPS", 1)
    assert rolling.pieces(model, 3, 2) == [slice(0, 1), slice(1, 2)]
    parts = sampled()
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=0.02)
    assert sum(told) == 3 * (1 if multivariate else 2) + 3 * 2 * 3


def test_gaps_of_a_long_series_take_memory_by_its_length():
    values = 50 + np.sin(np.arange(200_000.0))[None]
    values[:, [9, 100_003, 199_990]] = np.nan
    model = tiny(variables=1, lags=())
    (filled,) = imputation.impute(
        model, SeriesSet([Series("a", 0, values)], ["a"]), 2, multivariate=True
    )
    missing = np.isnan(values)
    assert np.isfinite(filled.median).all()
    assert ((filled.std > 0) == missing).all()
    np.testing.assert_array_equal(filled.median[~missing], values[~missing])


def test_what_is_no_window_or_no_count_is_refused():
    cells = torch.ones(2, 1, 16)
    window = Window(cells, cells.bool(), torch.zeros(2, 0, 16), cells[:, :0], cells[:, :0].bool())
    model = tiny(1, lags=())
    for samples in (0, -1, 2.5, None, "3", True):
        with pytest.raises(UserError, match=r"samples is .*: it must be 1 or more"):
            model.forecast(window, samples)
    with pytest.raises(UserError, match="a Tensor is no Window"):
        model.forecast(cells, 3)
    with pytest.raises(UserError, match="give a Window"):
        model.sample_windows(window, cells[..., :3].bool(), 3)
    for kind in ("none", 3, {}):
        with pytest.raises(UserError):
            model.guide(kind)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("frequency", 3),
        ("frequency", "nothing"),
        ("variables", "y"),
        ("variables", []),
        ("variables", ["y", "y"]),
        ("local", None),
        ("local", [1]),
        ("start", "yesterday or so"),
        ("start", [1]),
        ("steps", -1),
        ("steps", 10**30),
        ("steps", "many"),
        ("scales", [[1, 2]]),
        ("scales", [[[1, 2]], [[1]]]),
        ("scales", [[[1, float("nan")]]]),
        ("scales", [[[1, 2], [3, 4]]]),
        ("scales", "x"),
    ],
)
def test_a_damaged_record_of_the_training_data_is_refused(tmp_path, name, value):
    times = pandas.date_range("2024-01-01", periods=60, freq="D")
    frame = pandas.DataFrame({"time": times, "y": np.arange(60.0)})
    model = fit(frame, 4, steps=1)
    model.save_pretrained(tmp_path / "whole.safetensors")
    SeriesModel.from_pretrained(tmp_path / "whole.safetensors")
    model.extra = {**model.extra, name: value}
    model.save_pretrained(tmp_path / "damaged.safetensors")
    with pytest.raises(UserError, match="the record of the training data"):
        SeriesModel.from_pretrained(tmp_path / "damaged.safetensors")


def test_a_network_that_does_not_fit_the_windows_is_refused(tmp_path):
    times = pandas.date_range("2024-01-01", periods=60, freq="D")
    model = fit(pandas.DataFrame({"time": times, "y": np.arange(60.0)}), 4, steps=1)
    model.config = {**model.config, "task": {**model.config["task"], "lags": [1]}}
    model.save_pretrained(tmp_path / "damaged.safetensors")
    with pytest.raises(UserError, match="does not fit the windows"):
        SeriesModel.from_pretrained(tmp_path / "damaged.safetensors")
