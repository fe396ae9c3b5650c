"""Metrics of synthetic series against real ones, without pairs.

Both sets are windows ``[N, V, L]`` of equal length without missing values. The discriminative and
the predictive score train a small GRU on the data (TimeGAN, Yoon et al. 2019); the Frechet distance
compares fixed features. All three depend on the sizes of the scorer and on N: compare only values
computed by this code for the same N. The score of one half of the real windows against the other is
the floor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from wavediff.evaluation.frechet import frechet

N_FEATURES = 32
TEST_SHARE = 0.2


@dataclass(frozen=True)
class Score:
    """Mean and standard deviation over repeats, each of which trains a network."""

    mean: float
    std: float


def discriminative_score(
    real: ArrayLike,
    synthetic: ArrayLike,
    *,
    seed: int = 0,
    repeats: int = 5,
    steps: int = 1000,
    hidden: int = 16,
) -> Score:
    """|accuracy - 1/2| of a GRU trained to classify real and synthetic windows, on held-out ones.

    0 for indistinguishable sets, 1/2 for a perfect classifier. Each repeat draws other training
    windows (80 % of each set, equally many of both) and another initial network. Guessing scores
    about 0.4 / sqrt(n) for n test windows, not 0.

    Args:
        real: ``[N, V, L]``; of the larger set a random part is used.
        synthetic: like ``real``.
        seed: of the first repeat.
        repeats: to average over.
        steps: of Adam at 1e-3, batches of 64 windows of each set.
        hidden: width of the GRU.

    Raises:
        ValueError: for sets that do not fit, or with fewer than 10 windows.
    """
    real, synthetic = _pair(real, synthetic)
    n = min(len(real), len(synthetic))
    n_test = max(round(TEST_SHARE * n), 1)
    found = []
    for repeat in range(repeats):
        generator = torch.Generator().manual_seed(seed + repeat)
        sets = [x[torch.randperm(len(x), generator=generator)[:n]] for x in (real, synthetic)]
        tests, trains = [x[:n_test] for x in sets], [x[n_test:] for x in sets]

        def loss(
            network: _GRU, trains: list[Tensor] = trains, generator: torch.Generator = generator
        ) -> Tensor:
            logits = [network(_batch(x, generator))[:, -1, 0] for x in trains]
            return nn.functional.softplus(-logits[0]).mean() + (
                nn.functional.softplus(logits[1]).mean()
            )

        network = _train(real.shape[1], hidden, 1, loss, steps, seed + repeat)
        with torch.no_grad():
            right = [network(x)[:, -1, 0] for x in tests]
        accuracy = (right[0] > 0).double().mean() / 2 + (right[1] <= 0).double().mean() / 2
        found.append(abs(accuracy.item() - 0.5))
    return _score(found)


def predictive_score(
    real: ArrayLike,
    synthetic: ArrayLike,
    *,
    seed: int = 0,
    repeats: int = 5,
    steps: int = 1000,
    hidden: int = 16,
) -> Score:
    """One-step error on real windows of a GRU trained on synthetic ones.

    The mean absolute error of all variables, as in TimeGAN's paper (its code predicts the last
    variable from the others), with each variable's range in the real set scaled to [0, 1]. Compare
    it with the score of real windows that are not in ``real``.

    Args:
        real: ``[N, V, L >= 2]``.
        synthetic: like ``real``.
        seed: of the first repeat.
        repeats: to average over.
        steps: of Adam at 1e-3, batches of 64 windows.
        hidden: width of the GRU.

    Raises:
        ValueError: for sets that do not fit, or with fewer than 10 windows.
    """
    real, synthetic = _pair(real, synthetic)
    if real.shape[2] < 2:
        raise ValueError("windows to predict in have at least 2 steps")
    low, high = real.amin((0, 2))[:, None], real.amax((0, 2))[:, None]
    # the ranges in the unit of the networks, the standard deviation
    spread = torch.where(high > low, high - low, 1)
    found = []
    for repeat in range(repeats):
        generator = torch.Generator().manual_seed(seed + repeat)

        def loss(network: _GRU, generator: torch.Generator = generator) -> Tensor:
            x = _batch(synthetic, generator)
            return (network(x[..., :-1]) - x[..., 1:].mT).abs().mean()

        network = _train(real.shape[1], hidden, real.shape[1], loss, steps, seed + repeat)
        with torch.no_grad():
            error = (network(real[..., :-1]).mT - real[..., 1:]).abs() / spread
        found.append(error.double().mean().item())
    return _score(found)


def series_frechet(
    real: ArrayLike,
    synthetic: ArrayLike,
    features: Callable[[Tensor], Tensor] | None = None,
) -> float:
    """The squared Frechet distance of the sets' features, 0 for equal sets.

    Windows are scaled by each variable's mean and standard deviation in the real set.

    Args:
        real: ``[N, V, L]``, N well above the number of features.
        synthetic: like ``real``.
        features: ``[N, V, L]`` to ``[N, d]``; ``random_features`` where None.
    """
    real, synthetic = _pair(real, synthetic)
    features = features or random_features
    return frechet(features(real), features(synthetic))


def random_features(x: Tensor, n: int = N_FEATURES, seed: int = 0) -> Tensor:
    """Responses of random dilated filters, ``[N, V, L]`` to ``[N, n]`` (after ROCKET, Dempster et
    al. 2020).

    Filters have up to 9 taps over all variables with Gaussian weights, dilations up to the length
    of the window and random thresholds. A feature is the mean over time of relu(response -
    threshold).

    Args:
        x: ``[N, V, L]``.
        n: number of features.
        seed: of the filters, which are the same for all data of V variables.
    """
    _, n_variables, length = x.shape
    generator = torch.Generator().manual_seed(seed)
    taps = min(9, length)
    octaves = int(math.log2((length - 1) / (taps - 1))) + 1 if taps > 1 else 1
    found = []
    for i in range(n):
        weight = torch.randn(1, n_variables, taps, generator=generator)
        threshold = torch.randn(1, generator=generator)
        weight = weight / weight.square().sum().sqrt()
        dilation = 2 ** (i % octaves)
        response = nn.functional.conv1d(x.float(), weight, dilation=dilation)
        found.append((response - threshold).relu().mean((1, 2)))
    return torch.stack(found, dim=1)


def complete_windows(items: Sequence[np.ndarray], length: int, n: int) -> np.ndarray:
    """Windows ``[N, V, length]`` without missing values, evenly spread over the items.

    Args:
        items: ``[V, T]`` each, NaN where missing.
        length: of a window.
        n: number of windows at most.
    """
    places = []
    for item, values in enumerate(items):
        missing = np.concatenate([[0], np.cumsum(np.isnan(values).any(axis=0))])
        starts = np.flatnonzero(missing[length:] == missing[:-length])
        places += [(item, start) for start in starts.tolist()]
    chosen = np.linspace(0, len(places) - 1, min(n, len(places))).round().astype(int)
    found = [items[item][:, at : at + length] for item, at in (places[i] for i in chosen)]
    return np.stack(found) if found else np.empty((0, 0, length))


class _GRU(nn.Module):
    """``[N, V, L]`` to ``[N, L, outputs]``, causal."""

    def __init__(self, n_variables: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.gru = nn.GRU(n_variables, hidden, batch_first=True)
        self.out = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.gru(x.mT)[0])


def _train(
    n_variables: int,
    hidden: int,
    outputs: int,
    loss: Callable[[_GRU], Tensor],
    steps: int,
    seed: int,
) -> _GRU:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _GRU(n_variables, hidden, outputs)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(network).backward()
        optimizer.step()
    return network


def _batch(x: Tensor, generator: torch.Generator, size: int = 64) -> Tensor:
    return x[torch.randint(len(x), (min(size, len(x)),), generator=generator)]


def _pair(real: ArrayLike, synthetic: ArrayLike) -> tuple[Tensor, Tensor]:
    """Both as float32, standardised by each variable's mean and standard deviation in ``real``."""
    sets = [torch.from_numpy(np.array(x, np.float64)) for x in (real, synthetic)]
    shapes = [list(x.shape) for x in sets]
    if any(x.ndim != 3 or len(x) < 10 or x.shape[1:] != sets[0].shape[1:] for x in sets):
        raise ValueError(
            f"the sets must be [N >= 10, V, L] with the same V and L, not {shapes[0]} and "
            f"{shapes[1]}"
        )
    if not all(x.isfinite().all() for x in sets):
        raise ValueError("a window has a value that is missing or not finite")
    mean, std = sets[0].mean((0, 2))[:, None], sets[0].std((0, 2))[:, None]
    std = torch.where(std > 1e-12 * mean.abs(), std, 1)
    a, b = (((x - mean) / std).float() for x in sets)
    return a, b


def _score(found: list[float]) -> Score:
    return Score(float(np.mean(found)), float(np.std(found)))
