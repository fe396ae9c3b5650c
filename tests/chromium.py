"""A browser for tests of pages; tests are skipped where there is none."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
needed = pytest.mark.skipif(PROGRAM is None, reason="there is no chromium")
# What goes to the loudspeaker also goes to an analyser, whose loudest frequency is asked for.
TAP = """
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (target, ...rest) {
  if (target instanceof AudioDestinationNode) {
    const { context } = this;
    window.analyser ??= new AnalyserNode(context, { fftSize: 8192, smoothingTimeConstant: 0 });
    connect.call(this, window.analyser);
  }
  return connect.call(this, target, ...rest);
};
window.heard = () => {
  if (!window.analyser) return 0;
  const bins = new Float32Array(window.analyser.frequencyBinCount);
  window.analyser.getFloatFrequencyData(bins);
  const top = Math.max(...bins);
  const width = window.analyser.context.sampleRate / window.analyser.fftSize;
  return top < -80 ? 0 : bins.indexOf(top) * width;
};
"""


@contextmanager
def chromium() -> Iterator:
    """A running browser of playwright, which plays sound without a click."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        words = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        browser = started.chromium.launch(executable_path=PROGRAM, args=words)
        yield browser
        browser.close()


def wait_for_tone(page, hertz: float) -> None:
    """Wait until a page, which has ``TAP``, plays a frequency; 0 is silence (below -80 dB)."""
    page.wait_for_function("hertz => Math.abs(window.heard() - hertz) < 20", arg=hertz)
