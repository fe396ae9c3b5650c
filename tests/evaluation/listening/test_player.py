"""The player of the page, rendered sample by sample in a browser."""

import chromium
import listening_set
import numpy as np
import pytest

pytestmark = chromium.needed

RATE = 16_000
START, LEAD, FADE = 0.04, 0.01, 0.02  # seconds, as in player.js
QUANTUM = 128  # frames, to which a browser rounds the time of a change

RENDER = """
async ([frequencies, seconds, before, changes]) => {
  const rate = 16000;
  const context = new OfflineAudioContext(1, seconds * rate, rate);
  const player = new Player(context);
  player.load(frequencies.map((frequency) => {
    const buffer = context.createBuffer(1, rate, rate);
    const samples = buffer.getChannelData(0);
    for (let i = 0; i < rate; i++) samples[i] = Math.sin((2 * Math.PI * frequency * i) / rate);
    return buffer;
  }));
  const act = (code) => new Function("player", code)(player);
  act(before);
  player.play();
  for (const [time, code] of changes) {
    context.suspend(time).then(() => { act(code); context.resume(); });
  }
  const rendered = await context.startRendering();
  return Array.from(rendered.getChannelData(0));
}
"""


@pytest.fixture(scope="module")
def render(tmp_path_factory):
    """render(frequencies in Hz, seconds, before, changes): the output, float64 [time]."""
    folder = listening_set.write_set(tmp_path_factory.mktemp("player"), 1, 0.5)
    listening_set.made(folder)
    with chromium.chromium() as browser:
        context = browser.new_context(bypass_csp=True)  # for new Function
        page = context.new_page()
        page.goto((folder / "test" / "index.html").as_uri())

        def call(frequencies, seconds, before="", changes=()):
            return np.array(page.evaluate(RENDER, [frequencies, seconds, before, list(changes)]))

        yield call


def sine(frequency: float, count: int) -> np.ndarray:
    """What a sound of the page has at each sample after the start, repeated every second."""
    return np.sin(2 * np.pi * frequency * (np.arange(count) % RATE) / RATE)


def test_switching_keeps_the_position_to_the_sample(render):
    out = render([400, 700], 1.0, changes=[(0.5, "player.select(1)")])
    first = round(START * RATE)
    assert not out[:first].any()
    heard = out[first:]
    one, two = sine(400, len(heard)), sine(700, len(heard))
    switched = round(np.ceil(0.5 * RATE / QUANTUM) * QUANTUM + LEAD * RATE) - first
    # once faded in, and outside of the cross-fade, the output is the sound itself
    assert heard[320 : switched - QUANTUM] == pytest.approx(one[320 : switched - QUANTUM], abs=1e-6)
    after = switched + round(FADE * RATE)
    assert heard[after:] == pytest.approx(two[after:], abs=1e-6)
    # within it, a linear cross-fade
    gain = np.arange(after - switched) / (after - switched)
    inside = slice(switched, after)
    expected = (1 - gain) * one[inside] + gain * two[inside]
    assert heard[inside] == pytest.approx(expected, abs=0.01)


def test_switching_back_and_forth_within_a_fade_adds_up_to_one(render):
    """Equal sounds: whatever is switched, and when, nothing may be heard of it."""
    times = [0.2, 0.208, 0.216, 0.232, 0.3, 0.31, 0.5]
    changes = [(time, f"player.select({k % 3})") for k, time in enumerate(times, 1)]
    out = render([400, 400, 400], 1.0, changes=changes)
    heard = out[round(START * RATE) :]
    assert heard[320:] == pytest.approx(sine(400, len(heard))[320:], abs=1e-5)


def test_a_fade_out_of_another_fade_has_no_jump(render):
    """Beside silence the gain itself is heard: it never changes faster than in one fade."""
    times = [0.2, 0.208, 0.216, 0.224, 0.3, 0.312, 0.5]
    changes = [(time, f"player.select({k % 2})") for k, time in enumerate(times, 1)]
    out = render([50, 0], 1.0, changes=changes)
    assert np.abs(np.diff(out)).max() < 2 * np.pi * 50 / RATE + 1 / (FADE * RATE) + 1e-4
    assert not out[round(0.55 * RATE) :].any()


def test_a_part_is_repeated_without_a_click(render):
    # a cosine at the ends of the part, where a plain loop would jump
    out = render([437], 2.0, "player.setPart(0.3, 0.7)")
    part = round(0.4 * RATE)
    heard = out[round(START * RATE) :]
    assert heard[320 + part : 320 + 2 * part] == pytest.approx(heard[320 : 320 + part], abs=1e-6)
    edge = round(0.005 * RATE)
    middle = slice(part + edge, 2 * part - edge)
    source = np.tile(sine(437, RATE)[round(0.3 * RATE) : round(0.7 * RATE)], 4)
    assert heard[middle] == pytest.approx(source[middle], abs=1e-6)
    steepest = 2 * np.pi * 437 / RATE + np.pi / 2 / edge  # of the sine, and of the fade
    assert np.abs(np.diff(out)).max() < steepest
    assert np.abs(np.diff(np.tile(source[:part], 2))).max() > 2 * steepest  # a plain loop


def test_pausing_fades_out_and_playing_goes_on(render):
    out = render([400], 1.5, "", [(0.4, "player.pause()"), (0.8, "player.play()")])
    assert np.abs(np.diff(out)).max() < 2 * np.pi * 400 / RATE + 1 / (FADE * RATE)
    assert not out[round(0.45 * RATE) : round(0.8 * RATE)].any()
    # the position of the pause, 0.36 s, follows on the start, at 0.84 s
    again = round(np.ceil(0.8 * RATE / QUANTUM) * QUANTUM) + round(START * RATE)
    position = round(np.ceil(0.4 * RATE / QUANTUM) * QUANTUM) - round(START * RATE)
    count = 3000
    expected = np.sin(2 * np.pi * 400 * (position + np.arange(count)) / RATE)
    assert out[again + 400 : again + count] == pytest.approx(expected[400:], abs=1e-3)


def test_without_repeating_it_ends_by_itself(render):
    out = render([400], 2.0, "player.loop = false")
    assert np.abs(out[round(0.5 * RATE)]) <= 1
    assert out[: round(1.04 * RATE)].any()
    assert not out[round(1.05 * RATE) :].any()
