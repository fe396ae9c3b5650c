"""The player of the enhancement report, in a browser."""

from itertools import pairwise
from pathlib import Path

import chromium
import numpy as np
import pytest
import soundfile
from chromium import wait_for_tone

from wavediff.evaluation import comparison, report
from wavediff.evaluation.report import Entry, write_report

pytestmark = chromium.needed

RATE = 16000
SECONDS = 6.0


@pytest.fixture(scope="module")
def browser():
    with chromium.chromium() as started:
        yield started


@pytest.fixture(scope="module")
def report_file(tmp_path_factory) -> Path:
    """Two recordings: 440 Hz before and 1000 Hz after, and 2000 and 3000 Hz."""
    folder = tmp_path_factory.mktemp("report")
    t = np.arange(int(SECONDS * RATE)) / RATE
    entries = []
    for name, *tones in (("first", 440, 1000), ("second", 2000, 3000)):
        paths = [folder / f"{name}{hertz}.wav" for hertz in tones]
        for path, hertz in zip(paths, tones, strict=True):
            soundfile.write(path, 0.1 * np.sin(2 * np.pi * hertz * t), RATE)
        entries.append(Entry(name, *paths))
    write_report(folder / "r.html", entries)
    return folder / "r.html"


@pytest.fixture
def page(browser, report_file):
    """The report as a file, without a network; it asks for nothing and reports no error."""
    context = browser.new_context(offline=True, viewport={"width": 1000, "height": 900})
    context.add_init_script(chromium.TAP)
    page = context.new_page()
    page.set_default_timeout(10_000)
    errors, asked = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report_file.as_uri())
    yield page
    assert errors == []
    assert [url for url in asked if not url.startswith("data:")] == [report_file.as_uri()]
    context.close()


def position(page, number=0):
    return float(page.locator("input[type=range]").nth(number).input_value())


def wait_for_position(page, low, high, number=0):
    page.wait_for_function(
        "([n, low, high]) => { const x = document.querySelectorAll('input')[n].value;"
        " return x >= low && x <= high; }",
        arg=[number, low, high],
    )


def line(page, number=0):
    """Where the position line is, as a share of the time axis."""
    return (
        page.locator(".view")
        .nth(number)
        .evaluate(
            "view => { const box = view.getBoundingClientRect();"
            "const x = view.querySelector('.line').getBoundingClientRect();"
            "const { left, right } = view.dataset;"
            "return ((x.left + x.width / 2 - box.left) / box.width - left) / (right - left); }"
        )
    )


def x_of(page, share, number=0):
    """The point of a spectrogram at a share of its time axis."""
    view = page.locator(".view").nth(number)
    view.scroll_into_view_if_needed()
    box = view.bounding_box()
    left, right = (float(view.get_attribute(f"data-{side}")) for side in ("left", "right"))
    return box["x"] + box["width"] * (left + share * (right - left)), box["y"] + box["height"] / 2


def test_before_and_after_switch_at_the_same_position(page):
    assert page.locator("audio:visible").count() == 0
    before, after = page.locator("section").first.locator("[data-track]").all()
    page.get_by_role("button", name="Play").first.click()
    wait_for_tone(page, 440)
    assert before.get_attribute("aria-pressed") == "true"
    assert page.get_by_role("button", name="Pause").count() == 1
    at = position(page)
    after.click()
    wait_for_tone(page, 1000)
    assert after.get_attribute("aria-pressed") == "true"
    assert before.get_attribute("aria-pressed") == "false"
    assert at < position(page) < at + 3
    page.keyboard.press("a")
    wait_for_tone(page, 440)
    page.keyboard.press("2")
    wait_for_tone(page, 1000)
    page.keyboard.press("1")
    wait_for_tone(page, 440)
    page.keyboard.press("Space")
    wait_for_tone(page, 0)
    stood = position(page)
    assert stood > at
    page.wait_for_timeout(150)
    assert position(page) == stood


def test_seeking_by_keys_slider_and_spectrogram(page):
    page.mouse.click(*x_of(page, 0.5, 1))
    assert position(page) == pytest.approx(SECONDS / 2, abs=0.03)
    assert line(page) == pytest.approx(0.5, abs=0.005)
    assert line(page, 1) == pytest.approx(0.5, abs=0.005)
    page.keyboard.press("ArrowRight")
    assert position(page) == pytest.approx(SECONDS / 2 + 1, abs=0.03)
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    assert position(page) == 0
    page.locator("input").first.fill("2")
    assert position(page) == 2
    assert page.locator(".time").first.text_content() == "0:02.0 / 0:06.0"
    page.keyboard.press("Space")  # with the slider focused
    wait_for_tone(page, 440)
    wait_for_position(page, 2.1, 5)
    page.mouse.click(*x_of(page, 0.75))
    wait_for_position(page, 4.5, 6)
    page.wait_for_selector("#r0[data-playing=false]")  # the end
    assert position(page) == pytest.approx(SECONDS, abs=0.1)
    page.keyboard.press("Space")  # from the beginning
    wait_for_position(page, 0.05, 2)


def test_a_part_is_looped(page):
    page.mouse.move(*x_of(page, 0.4))
    page.mouse.down()
    page.mouse.move(*x_of(page, 0.3), steps=3)
    page.mouse.move(*x_of(page, 0.5), steps=3)
    page.mouse.up()
    button = page.get_by_role("button", name="End loop")
    assert button.get_attribute("aria-pressed") == "true"
    shade = page.locator(".loop").nth(1).bounding_box()
    left, right = (x_of(page, share, 1)[0] for share in (0.4, 0.5))
    assert shade["x"] == pytest.approx(left, abs=2)
    assert shade["width"] == pytest.approx(right - left, abs=3)
    page.keyboard.press("Space")
    wait_for_tone(page, 440)
    seen = []
    for _ in range(15):  # more than the 0.6 s of the loop
        seen.append(position(page))
        page.wait_for_timeout(80)
    assert min(seen) >= 2.4 - 0.05
    assert max(seen) <= 3.0 + 0.05
    assert any(later < earlier for earlier, later in pairwise(seen))
    page.keyboard.press("b")
    wait_for_tone(page, 1000)
    page.keyboard.press("l")  # ends it
    wait_for_position(page, 3.1, 6)
    page.keyboard.press("Space")
    page.keyboard.press("l")  # marks the start
    page.get_by_role("button", name="Loop to here").wait_for()
    page.keyboard.press("l")  # a loop needs 50 ms
    button = page.locator("[data-do=loop]").first
    assert button.text_content() == "Loop from here"
    page.locator("input").first.fill("5")
    page.keyboard.press("l")
    page.locator("input").first.fill("4")
    page.keyboard.press("l")  # from 4 to 5 s
    page.keyboard.press("Space")
    wait_for_position(page, 4.1, 5)
    assert button.text_content() == "End loop"
    page.mouse.click(*x_of(page, 0.2))  # outside of it
    wait_for_position(page, 1.2, 3)
    assert button.text_content() == "Loop from here"


def test_one_recording_plays_at_a_time(page):
    page.get_by_role("button", name="Play").nth(0).click()
    wait_for_tone(page, 440)
    page.get_by_role("button", name="Play").click()  # that of the second: the first says Pause
    states = [s.get_attribute("data-playing") for s in page.locator("section").all()]
    assert states == ["false", "true"]
    assert 0 < position(page) < SECONDS - 1  # stopped, and not at its end
    wait_for_tone(page, 2000)
    page.keyboard.press("b")
    wait_for_tone(page, 3000)
    assert page.locator("[aria-pressed=true]").all_text_contents() == ["Before", "After"]


def test_buttons_are_pressed_by_the_keyboard(page):
    page.get_by_role("button", name="After").first.focus()
    page.keyboard.press("Space")  # presses the button, and does not play
    assert page.locator("[aria-pressed=true]").first.text_content() == "After"
    assert page.locator("section[data-playing=true]").count() == 0
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    wait_for_tone(page, 1000)


def test_without_scripts_the_browser_plays(browser, report_file):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report_file.as_uri())
    assert page.locator("audio:visible").count() == 4
    assert page.locator(".player:visible").count() == 0
    context.close()


def test_one_side_alone_and_sound_that_cannot_be_decoded(browser, tmp_path, report_file):
    folder = report_file.parent
    entry = Entry("one", folder / "first440.wav", folder / "first1000.wav")
    levels, report_mp3 = report.frame_powers, comparison._mp3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "frame_powers", lambda path: levels(folder / "first440.wav"))
        patch.setattr(comparison, "_mp3", lambda audio, rate: report_mp3(audio, rate)[:10])
        broken = Entry("gone", tmp_path / "gone.wav", entry.after)
        write_report(tmp_path / "r.html", [broken])
    page = browser.new_page()
    page.goto((tmp_path / "r.html").as_uri())
    assert page.locator("[data-track]").all_text_contents() == ["After"]
    assert "does not exist" in page.locator("figcaption").first.text_content()
    page.get_by_role("button", name="Play").click()
    page.locator("audio:visible").wait_for()
    assert page.locator(".player:visible").count() == 0
    page.close()
