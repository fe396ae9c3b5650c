"""The player of the enhancement report, in a browser."""

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wavediff.evaluation import report
from wavediff.evaluation.report import WEB, Entry, write_report

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")

RATE = 16000
SECONDS = 6.0
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


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
        )
        yield browser
        browser.close()


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
    context.add_init_script(TAP)
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


def wait_for_tone(page, hertz):
    page.wait_for_function("hertz => Math.abs(window.heard() - hertz) < 20", arg=hertz)


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
    page.keyboard.press("l")  # marks the start
    page.get_by_role("button", name="Loop to here").wait_for()


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
    levels, report_mp3 = report.frame_powers, report._mp3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "frame_powers", lambda path: levels(folder / "first440.wav"))
        patch.setattr(report, "_mp3", lambda audio, rate: report_mp3(audio, rate)[:10])
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


# player.js alone, rendered offline

RENDER = """
async ({ seconds, rate, tracks, actions }) => {
  const context = new OfflineAudioContext(1, seconds * rate, rate);
  const buffers = tracks.map((samples) => {
    const buffer = context.createBuffer(1, samples.length, rate);
    buffer.copyToChannel(Float32Array.from(samples), 0);
    return () => buffer;
  });
  const player = new SyncPlayer(context, buffers);
  const states = [];
  await player.load();
  for (const [time, name, ...rest] of actions) {
    context.suspend(time).then(async () => {
      states.push([player.position, player.playing]);
      await player[name](...rest);
      context.resume();
    });
  }
  const rendered = await context.startRendering();
  return [Array.from(rendered.getChannelData(0)), states, player.position, player.playing];
}
"""
LOW = 8000  # Hz
BLOCK = 128 / LOW  # of the browser's rendering: times of actions are whole blocks
LEAD, FADE = 0.02, 0.01


@pytest.fixture(scope="module")
def render(browser):
    """render(seconds, tracks, actions) -> (samples, states before them, position, playing)."""
    page = browser.new_page()
    script = (WEB / "player.js").read_text() + "\nwindow.SyncPlayer = SyncPlayer;"
    page.add_script_tag(content=script, type="module")
    page.wait_for_function("() => Boolean(window.SyncPlayer)")

    def call(seconds, tracks, actions):
        arguments = {"seconds": seconds, "rate": LOW, "actions": actions}
        arguments["tracks"] = [np.asarray(track, float).tolist() for track in tracks]
        samples, *rest = page.evaluate(RENDER, arguments)
        return np.array(samples), *rest

    yield call
    page.close()


def at(seconds, after=0.0):
    return round((seconds + after) * LOW)


def test_a_switch_is_a_linear_cross_fade(render):
    ones = np.full(LOW, 0.5)
    switch = 16 * BLOCK
    x, *_ = render(0.5, [ones, -ones], [[0, "play"], [switch, "select", 1]])
    t = np.arange(len(x)) / LOW
    expected = 0.5 * np.clip((t - LEAD) / FADE, 0, 1)
    expected -= np.clip((t - switch - LEAD) / FADE, 0, 1)
    np.testing.assert_allclose(x, expected, atol=2e-3)


def test_a_switch_within_a_switch_does_not_jump(render):
    ones = np.full(LOW, 0.5)
    second = 17 * BLOCK  # the first ramp is not over
    actions = [[0, "play"], [16 * BLOCK, "select", 1], [second, "select", 0]]
    x, *_ = render(0.5, [ones, -ones], actions)
    assert np.abs(np.diff(x)).max() <= 1.05 / (FADE * LOW)
    assert x[at(0.45)] == pytest.approx(0.5)


def test_positions_are_exact_to_the_sample(render):
    ramp = np.arange(2 * LOW) / LOW / 2  # half of the time
    seek, pause, again = 16 * BLOCK, 32 * BLOCK, 40 * BLOCK
    actions = [[0, "play"], [seek, "seek", 1.25], [pause, "pause"], [again, "play"]]
    x, states, *_, playing = render(1.0, [ramp, -ramp], actions)
    steady = at(LEAD + FADE) + 1
    np.testing.assert_allclose(x[steady : at(seek)], ramp[steady - at(LEAD) :][: at(seek) - steady],
                               atol=1e-3)  # fmt: skip
    t = np.arange(at(seek, LEAD + FADE) + 1, at(pause)) / LOW
    np.testing.assert_allclose(x[at(seek, LEAD + FADE) + 1 : at(pause)],
                               (1.25 + t - seek - LEAD) / 2, atol=1e-3)  # fmt: skip
    assert np.abs(x[at(pause, LEAD + FADE) + 1 : at(again)]).max() == 0
    stopped = 1.25 + pause - seek - LEAD
    assert states[2] == [pytest.approx(stopped), True]
    assert states[3] == [pytest.approx(stopped), False]
    assert x[at(0.9)] == pytest.approx((stopped + 0.9 - again - LEAD) / 2, abs=1e-3)
    assert np.abs(np.diff(x)).max() < 1 / (FADE * LOW)
    assert playing


def test_the_end_stops_and_play_begins_anew(render):
    short, long = np.full(1000, 0.5), np.full(2000, 0.25)
    actions = [[0, "play"], [20 * BLOCK, "play"]]
    x, states, *_ = render(0.5, [short, long], actions)
    assert states[1] == [0.25, False]  # the longer of the two
    assert x[at(20 * BLOCK, LEAD + FADE) + 2] == pytest.approx(0.5)


@pytest.mark.parametrize("end", [0.5, 1.0])  # within the recording, and at its end
def test_a_loop_repeats_without_a_click(render, end):
    hertz = 50.5  # out of phase at the seam
    tone = 0.5 * np.sin(2 * np.pi * hertz * np.arange(LOW) / LOW)
    start = end - 0.3
    actions = [[0, "seek", start], [BLOCK, "setLoop", start, end], [2 * BLOCK, "play"]]
    x, *_, position, playing = render(2.0, [tone], actions)
    first = at(2 * BLOCK, LEAD)
    steady = slice(first + at(FADE) + 1, first + at(0.3 - FADE))
    source = tone[at(start) :]
    np.testing.assert_allclose(
        x[steady], source[steady.start - first :][: steady.stop - steady.start], atol=1e-3
    )
    np.testing.assert_allclose(x[first + at(0.3) :][: at(0.9)], x[first + at(0.6) :][: at(0.9)],
                               atol=1e-6)  # fmt: skip
    slope = 0.5 * 2 * np.pi * hertz / LOW
    assert np.abs(np.diff(x)).max() <= slope + 1 / (FADE * LOW)
    assert playing
    assert start <= position < end


def test_a_loop_is_left_by_a_seek_outside_and_needs_50_ms(render):
    ramp = np.arange(LOW) / LOW
    actions = [[0, "setLoop", 0.6, 0.2], [BLOCK, "play"], [8 * BLOCK, "seek", 0.7]]
    x, states, *_ = render(0.5, [ramp], actions)
    assert states[1][0] == pytest.approx(0.2)
    assert x[at(0.4)] == pytest.approx(0.7 + 0.4 - 8 * BLOCK - LEAD, abs=2e-3)
    x, states, *_ = render(0.3, [ramp], [[0, "setLoop", 0.2, 0.22], [BLOCK, "play"]])
    assert states[1][0] == 0
