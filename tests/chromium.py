"""A browser for tests of pages; tests are skipped where there is none."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
needed = pytest.mark.skipif(PROGRAM is None, reason="there is no chromium")


@contextmanager
def chromium() -> Iterator:
    """A running browser of playwright, which plays sound without a click."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        words = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        browser = started.chromium.launch(executable_path=PROGRAM, args=words)
        yield browser
        browser.close()
