"""Every ODE sampler has its order on data whose probability flow is known exactly."""

import pytest
from orders import ODE, PATHS, PROBLEMS, errors, slope


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ODE)
def test_order_on_a_gaussian(name, path):
    steps, order = [32, 128], ODE[name][1]
    missed = errors(name, path, "gaussian", steps)
    assert slope(steps, missed) == pytest.approx(order, abs=0.15)
    assert missed[-1] < {1: 2e-2, 2: 2e-4, 3: 5e-6}[order]


@pytest.mark.parametrize("name", ODE)
def test_order_on_a_mixture(name):
    steps, order = [64, 256], ODE[name][1]
    missed = errors(name, "ve", "mixture", steps)
    assert slope(steps, missed) == pytest.approx(order, abs=0.15)
    assert missed[-1] < {1: 5e-2, 2: 1e-3, 3: 5e-5}[order]


@pytest.mark.slow
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ODE)
def test_order_from_64_to_1024_steps(name, path, problem):
    steps, order = [64, 128, 256, 512, 1024], ODE[name][1]
    missed = errors(name, path, problem, steps)
    assert slope(steps, missed) == pytest.approx(order, abs=0.15)
    assert missed[-1] < {1: 1e-2, 2: 5e-5, 3: 5e-7}[order]
