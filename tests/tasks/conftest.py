from __future__ import annotations

import pytest
from toys import read_group, tiny_config, tiny_mel, tiny_vocoder


@pytest.fixture(name="read_group")
def _read_group():
    return read_group


@pytest.fixture
def make_config():
    return tiny_config


@pytest.fixture
def make_vocoder():
    return tiny_vocoder


@pytest.fixture
def make_mel():
    return tiny_mel
