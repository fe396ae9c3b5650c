"""The page of ``wavediff app`` in a browser, and how it starts and ends."""

import http.client
import os
import re
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import chromium
import numpy as np
import pandas
import pytest
import soundfile

from wavediff.errors import UserError

pytest.importorskip("gradio")
pytestmark = pytest.mark.slow

RATE = 16_000
# what connects to another machine, or looks one up, is told
START = """
import sys
LOCAL = {"127.0.0.1", "localhost", "::1", None}
def hook(event, args):
    if event == "socket.connect" and isinstance(args[1], tuple) and args[1][0] not in LOCAL:
        print("network:", args[1], file=sys.stderr)
    if event == "socket.getaddrinfo" and args[0] not in LOCAL:
        print("network:", args[0], file=sys.stderr)
sys.addaudithook(hook)
from wavediff.cli import main
sys.exit(main(["app", "--port", "0", *sys.argv[1:]]))
"""


class Served:
    """A running ``wavediff app``."""

    def __init__(self, folder: Path, *words: str, environment: dict[str, str]) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.errors = folder / "stderr"
        with open(self.errors, "w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", START, "--device", "cpu", *words],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**environment, "TMPDIR": str(self.temporary)},
                start_new_session=True,
            )
        self.url = self.process.stdout.readline().strip()

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """(exit code, what was told), after a signal."""
        self.process.send_signal(number)
        code = self.process.wait(30)
        return code, self.errors.read_text()


@pytest.fixture(scope="module")
def environment():
    return {k: v for k, v in os.environ.items() if not k.startswith(("GRADIO", "HF_"))}


@pytest.fixture(scope="module")
def served(tmp_path_factory, environment):
    folder = tmp_path_factory.mktemp("app")
    limits = ["--max-size", "1", "--max-duration", "3", "--max-time", "100"]
    running = Served(folder, *limits, environment=environment)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()


@pytest.fixture(scope="module")
def browser():
    with chromium.chromium() as started:
        yield started


@pytest.fixture
def page(browser, served):
    """The page; it asks no other server for anything, and no script fails."""
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    context.add_init_script(chromium.TAP)
    page = context.new_page()
    page.set_default_timeout(120_000)
    errors, asked = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(served.url)
    page.get_by_role("button", name="Clean").wait_for()
    yield page
    assert errors == []
    assert [url for url in asked if not url.startswith((served.url, "data:", "blob:"))] == []
    context.close()


def give(page, path):
    """Upload a file in the tab that is open."""
    tab = page.locator("[role=tabpanel]:visible")
    if tab.get_by_label("Clear").count():
        tab.get_by_label("Clear").first.click()
    tab.locator("input[type=file]").first.set_input_files(path)
    tab.locator("input[type=file]").wait_for(state="detached")  # it is there


def told(page, text):
    page.locator(".outcome:visible", has_text=text).first.wait_for()


def play_in_a_loop(page, section):
    """Play a part that ends only when it is stopped."""
    section.get_by_role("button", name="Play").click()
    page.wait_for_function("window.heard() > 0")
    page.keyboard.press("l")
    page.wait_for_timeout(200)
    page.keyboard.press("l")
    section.get_by_role("button", name="End loop").wait_for()


@pytest.fixture
def noisy(tmp_path):
    t = np.arange(2 * RATE) / RATE
    voice = sum(np.sin(2 * np.pi * 200 * k * t) / k for k in range(1, 9))
    voice *= 0.2 * np.sin(2 * np.pi * 1.5 * t) ** 2
    noise = 0.03 * np.random.default_rng(0).standard_normal(len(t))
    soundfile.write(tmp_path / "noisy & 1.wav", voice + noise, RATE)
    return tmp_path / "noisy & 1.wav"


@chromium.needed
def test_a_recording_is_cleaned_and_compared(page, noisy):
    give(page, noisy)
    page.get_by_role("button", name="Clean", exact=True).click()
    told(page, "Done in")
    section = page.locator(".recording:visible")
    section.locator(".player").wait_for()
    assert section.locator("h2").text_content() == noisy.name
    assert section.locator("img").count() == 2
    assert page.locator(".recording audio:visible").count() == 0
    before, after = section.locator("[data-track]").all()
    section.get_by_role("button", name="Play").click()
    page.wait_for_function("window.heard() > 0")
    slider = section.locator("input[type=range]")
    assert float(slider.input_value()) > 0
    assert before.get_attribute("aria-pressed") == "true"
    at = float(slider.input_value())
    after.click()
    assert after.get_attribute("aria-pressed") == "true"
    page.keyboard.press("1")
    assert before.get_attribute("aria-pressed") == "true"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Space")
    chromium.wait_for_tone(page, 0)
    assert float(slider.input_value()) < at + 2
    # keys of other controls are their own
    strength = page.get_by_role("slider").first
    strength.focus()
    position = slider.input_value()
    page.keyboard.press("ArrowLeft")
    assert strength.input_value() == "59"
    assert slider.input_value() == position
    # a new result has a player of its own, and the old one is silent
    play_in_a_loop(page, section)
    page.get_by_role("button", name="Clean", exact=True).click()
    told(page, "Working")
    chromium.wait_for_tone(page, 0)
    told(page, "Done in")
    play_in_a_loop(page, section)
    page.get_by_role("tab", name="Vocode").click()
    chromium.wait_for_tone(page, 0)
    page.get_by_role("tab", name="Clean").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").or_(
            page.get_by_role("link", name="Download")
        ).click()
    audio, rate = soundfile.read(download.value.path())
    assert (len(audio), rate) == (2 * RATE, RATE)
    assert np.square(audio).mean() < np.square(soundfile.read(noisy)[0]).mean()


@chromium.needed
def test_a_recording_is_vocoded_and_restoring_needs_a_generator(page, noisy):
    page.get_by_role("tab", name="Vocode").click()
    give(page, noisy)
    page.get_by_role("button", name="Vocode").click()
    told(page, "from a mel of 80 x")
    page.locator(".recording:visible img").nth(1).wait_for()
    page.get_by_text("Download").nth(1).wait_for()
    page.get_by_role("tab", name="Restore").click()
    from wavediff.tasks.names import bundled_names
    from wavediff.tasks.restoration.posterior import PRIOR

    if PRIOR in bundled_names():
        page.get_by_role("button", name="Restore", exact=True).wait_for()
    else:
        told(page, "wavediff app --generator runs/kathleen_prior")


@chromium.needed
def test_a_table_is_forecast(page, tmp_path):
    years = np.arange(1850, 1950)
    frame = {"year": years, "a {{b}} ${c}": 50 + 40 * np.sin(years / 2)}
    pandas.DataFrame(frame).to_csv(tmp_path / "t.csv", index=False)
    page.get_by_role("tab", name="Forecast").click()
    give(page, tmp_path / "t.csv")
    page.get_by_label("Steps to forecast").fill("7")
    page.get_by_role("button", name="Forecast", exact=True).click()
    shown = page.locator(".forecast:visible")
    shown.wait_for()
    assert shown.locator("img").evaluate("image => image.naturalWidth") > 900
    assert shown.locator("tbody tr").count() == 7
    assert shown.locator("th").nth(1).text_content() == "a {{b}} ${c}_q0.1"
    sentences = shown.locator("p").all_text_contents()
    assert len(sentences) == 2
    assert "80 % intervals covered" in sentences[0]
    page.get_by_label("Steps to forecast").fill("many")
    page.get_by_role("button", name="Forecast", exact=True).click()
    told(page, "the number of steps is 'many': give a number, or nothing")
    assert shown.count() == 0


@chromium.needed
def test_bad_files_are_told_and_the_page_goes_on(page, tmp_path, noisy):
    page.get_by_role("button", name="Clean", exact=True).click()
    told(page, "there is no file yet: give a recording first")
    (tmp_path / "bad.wav").write_bytes(b"hello" * 100)
    give(page, tmp_path / "bad.wav")
    page.get_by_role("button", name="Clean", exact=True).click()
    told(page, "bad.wav is not audio that can be read")
    soundfile.write(tmp_path / "long.wav", np.zeros(4 * RATE), RATE)
    give(page, tmp_path / "long.wav")
    page.get_by_role("button", name="Clean", exact=True).click()
    told(page, "long.wav is too long: a recording of 4.0 s is more than the 3.0 s")
    (tmp_path / "large.wav").write_bytes(bytes(2_000_000))
    page.get_by_label("Clear").first.click()
    page.locator("[role=tabpanel]:visible input[type=file]").first.set_input_files(
        tmp_path / "large.wav"
    )
    page.get_by_text("exceed the maximum allowed size").wait_for()
    page.get_by_role("tab", name="Forecast").click()
    (tmp_path / "bad.csv").write_bytes(bytes(range(256)) * 4)
    give(page, tmp_path / "bad.csv")
    page.get_by_role("button", name="Forecast", exact=True).click()
    told(page, "bad.csv")
    assert "Traceback" not in page.content()


def ask(url, path):
    """The response of a server."""
    host, port = re.fullmatch(r"http://([\d.]+):(\d+)/", url).groups()
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.request("GET", path)
    return connection.getresponse()


def test_only_the_page_is_served(served):
    response = ask(served.url, "/")
    assert response.status == 200
    assert "default-src 'self'" in response.headers["Content-Security-Policy"]
    body = response.read().decode()
    links = re.findall(r"""(?:src|href)=["'](https?://[^"']+)""", body)
    assert not [link for link in links if not link.startswith(served.url)]
    assert "googleapis" not in body
    for path in ("/etc/hostname", __file__, str(Path.cwd() / "pyproject.toml")):
        assert ask(served.url, f"/gradio_api/file={path}").status in (403, 404)


def test_it_ends_cleanly(served):  # the last of this server's
    open_page = ask(served.url, "/gradio_api/heartbeat/someone")  # as that of a browser
    assert open_page.status == 200
    code, errors = served.end()
    assert code == 0
    assert errors.splitlines() == ["Ctrl-C ends", "ended"]
    assert served.process.stdout.read() == ""
    assert list(served.temporary.iterdir()) == []


class FakeWorker:
    """Says shares, then a result or an error."""

    def __init__(self, result):
        self.result = result

    def run(self, job, seconds):
        yield 0.0
        yield 0.5
        if isinstance(self.result, Exception):
            raise self.result
        (folder,) = job.args[-1:]
        (folder / "a.wav").write_bytes(b"1")
        return self.result(folder)


@pytest.mark.parametrize(
    ("result", "status"),
    [
        (None, r"Done in \d.*<p role=\"status\">a &amp; b</p>"),
        (UserError("a < b"), '<p class="refused" role="alert">a &lt; b</p>'),
        (ValueError("oh"), r"this failed unexpectedly \(ValueError: oh\)"),
    ],
)
def test_results_errors_and_temporary_folders(
    tmp_path, tmp_path_factory, monkeypatch, result, status
):
    cache = tmp_path_factory.mktemp("cache")
    from wavediff.commands.app_jobs import Result
    from wavediff.commands.app_models import Setting
    from wavediff.commands.app_page import Limits, Page

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(cache))
    made = result or (lambda folder: Result("<p>page</p>", [folder / "a.wav"], ["a & b"]))
    setting = Setting("e", "v", None, "f", 90.0)
    page = Page(FakeWorker(made), setting, Limits(5, 60, 3))
    assert "up to 1:30 min, files of up to 5 MB, jobs of up to 1:00 min" in page.rules()
    steps = []
    for step in page.work(partial(print), 1):
        steps.append(step)
        assert len(list(tmp_path.iterdir())) == 1
    assert not list(tmp_path.iterdir())
    assert "Working" in steps[0][0]
    assert steps[0][1] == ""
    assert 'value="0.500"' in steps[2][0]
    assert re.search(status, steps[-1][0])
    if result is None:
        assert steps[-1][1] == "<p>page</p>"
        assert steps[-1][2].visible
    working = page.work(partial(print), 1)
    next(working)
    working.close()  # as Stop does
    assert not list(tmp_path.iterdir())
