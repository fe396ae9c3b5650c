"""The player of the pages, rendered sample by sample in a browser."""

import chromium
import numpy as np
import pytest

from wavediff.evaluation.web import WEB

pytestmark = chromium.needed

RATE = 16_000
BLOCK = 128 / RATE  # of the browser's rendering: times of actions are whole blocks
START, LEAD, FADE = 0.04, 0.02, 0.01  # seconds, as in player.js
RENDER = """
async ({ seconds, rate, tracks, actions, options }) => {
  const context = new OfflineAudioContext(1, seconds * rate, rate);
  let asked = 0;
  const sources = tracks.map((samples) => () => {
    asked++;
    const buffer = context.createBuffer(1, samples.length, rate);
    buffer.copyToChannel(Float32Array.from(samples), 0);
    return buffer;
  });
  const duration = Math.max(...tracks.map((samples) => samples.length)) / rate;
  const player = new Player(context, sources, { duration, ...options });
  const state = () => [player.position, player.playing, asked];
  const states = [];
  for (const time of new Set(actions.map(([time]) => time))) {
    context.suspend(time).then(async () => {
      for (const [, name, ...rest] of actions.filter(([when]) => when === time)) {
        states.push(state());
        await player[name](...rest);
      }
      context.resume();
    });
  }
  const rendered = await context.startRendering();
  return [Array.from(rendered.getChannelData(0)), [...states, state()]];
}
"""


@pytest.fixture(scope="module")
def render():
    """render(seconds, tracks, actions, **options) -> (samples, states before each and at the end).

    A state is the position, whether it plays, and how many tracks were asked for.
    """
    with chromium.chromium() as browser:
        page = browser.new_page()
        page.evaluate("Object.defineProperty(AudioParam.prototype, 'value', {})")  # not read
        page.add_script_tag(content=(WEB / "player.js").read_text())

        def call(seconds, tracks, actions, **options):
            arguments = {"seconds": seconds, "rate": RATE, "actions": actions, "options": options}
            arguments["tracks"] = [np.asarray(track, float).tolist() for track in tracks]
            samples, states = page.evaluate(RENDER, arguments)
            return np.array(samples), states

        yield call


def at(*seconds):
    return round(sum(seconds) * RATE)


def sine(hertz, seconds=1.0):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(at(seconds)) / RATE)


def steepest(hertz):
    """The greatest step between two samples of ``sine``."""
    return np.pi * hertz / RATE


@pytest.mark.parametrize("fade", [0.01, 0.02])
def test_switching_keeps_the_position_and_is_a_linear_cross_fade(fade, render):
    one, two = sine(400), sine(700)
    switch = 64 * BLOCK
    x, states = render(1.0, [one, two], [[0, "play"], [switch, "select", 1]], fade=fade)
    assert not x[: at(START)].any()
    assert states[1:] == [[pytest.approx(t - START), True, 2] for t in (switch, 1.0)]
    t = np.arange(at(START), len(x)) / RATE
    begin = np.clip((t - START) / fade, 0, 1)
    after = np.clip((t - switch - LEAD) / fade, 0, 1)
    count = len(t)
    expected = begin * ((1 - after) * one[:count] + after * two[:count])
    np.testing.assert_allclose(x[at(START) :], expected, atol=2e-3)
    steady = ((after == 0) | (after == 1)) & (begin == 1)
    np.testing.assert_allclose(x[at(START) :][steady], expected[steady], atol=1e-6)


# blocks, some of them at or within the fade of the one before
SWITCHES = [25, 26, 26, 27, 29, 29, 38, 39, 39, 39, 62, 62, 62]


def test_switching_back_and_forth_within_a_fade_adds_up_to_one(render):
    """Equal tracks: whatever is switched, and when, nothing may be heard of it."""
    actions = [[k * BLOCK, "select", n % 3] for n, k in enumerate(SWITCHES, 1)]
    x, _ = render(1.0, [sine(400)] * 3, [[0, "play"], *actions], fade=0.02)
    steady = at(START, 0.02)
    np.testing.assert_allclose(x[steady:], sine(400)[at(0.02) : at(1 - START)], atol=1e-5)


@pytest.mark.parametrize("fade", [0.01, 0.02])
def test_a_fade_out_of_another_fade_has_no_jump(fade, render):
    """Beside silence the gain itself is heard: it never changes faster than in one fade."""
    actions = [[k * BLOCK, "select", n % 2] for n, k in enumerate(SWITCHES, 1)]
    tracks = [np.full(RATE, 0.5), np.zeros(RATE)]
    x, _ = render(1.0, tracks, [[0, "play"], *actions], fade=fade)
    assert np.abs(np.diff(x)).max() <= 0.5 / (fade * RATE) * 1.01
    assert not x[at(SWITCHES[-1] * BLOCK, LEAD, fade) + 1 :].any()


@pytest.mark.parametrize("blocks", [1, 3, 5, 6])  # also before the start, and within its fade
def test_a_pause_soon_after_the_start_has_no_jump(blocks, render):
    actions = [[0, "play"], [blocks * BLOCK, "pause"]]
    x, (*_, state) = render(0.3, [np.full(RATE, 0.5)], actions, fade=0.02)
    assert np.abs(np.diff(x)).max() <= 0.5 / (0.02 * RATE) * 1.05
    assert not x[at(0.1) :].any()
    assert state == [pytest.approx(max(0, blocks * BLOCK - START)), False, 1]


def test_positions_are_exact_to_the_sample(render):
    ramp = np.arange(2 * RATE) / RATE / 2  # half of the time
    seek, pause, again = 32 * BLOCK, 64 * BLOCK, 80 * BLOCK
    actions = [[0, "play"], [seek, "seek", 1.25], [pause, "pause"], [again, "play"]]
    x, states = render(1.0, [ramp, -ramp], actions)
    t = np.arange(len(x)) / RATE
    stopped = 1.25 + pause - seek - START
    for first, last, position in (
        (START + FADE, seek + START, t - START),
        (seek + START + FADE, pause + LEAD, 1.25 + t - seek - START),
        (again + START + FADE, 1.0, stopped + t - again - START),
    ):
        part = slice(at(first) + 1, at(last))
        np.testing.assert_allclose(x[part], position[part] / 2, atol=1e-4)
    assert not x[at(pause, LEAD, FADE) + 1 : at(again, START)].any()
    assert np.abs(np.diff(x)).max() < 1 / (FADE * RATE)
    positions = [(seek - START, True), (stopped, True), (stopped, False)]
    assert states[1:4] == [[pytest.approx(where), playing, 2] for where, playing in positions]
    assert states[4][1]


def test_tracks_are_asked_for_at_the_first_play_and_after_a_release(render):
    actions = [[0, "seek", 0.5], [BLOCK, "select", 1], [2 * BLOCK, "play"], [3 * BLOCK, "pause"]]
    actions += [[4 * BLOCK, "play"], [5 * BLOCK, "release"], [6 * BLOCK, "play"]]
    _, states = render(0.2, [sine(400), sine(700)], actions)
    assert [asked for *_, asked in states] == [0, 0, 0, 2, 2, 2, 2, 4]


def test_the_end_stops_and_play_begins_anew(render):
    short, long = np.full(at(0.125), 0.5), np.full(at(0.25), 0.25)
    again = 40 * BLOCK
    x, states = render(0.5, [short, long], [[0, "play"], [again, "play"]])
    assert states[1] == [0.25, False, 2]  # the longer of the two
    assert not x[at(START + 0.25) : at(again + START)].any()
    assert x[at(again, START, FADE) + 2] == pytest.approx(0.5)


HERTZ = 50.5  # out of phase at the ends


def looped(render, part, **options):
    """The output of a part of 0.3 s that is repeated, from its first sample on."""
    actions = [[0, "setPart", *part, True], [BLOCK, "play"]]
    x, (*_, state) = render(2.0, [sine(HERTZ)], actions, **options)
    position, playing, _ = state
    assert playing
    assert part[0] <= position < part[1]
    x = x[at(BLOCK, START) :]
    # the second and following times are alike
    np.testing.assert_allclose(x[at(0.3) :][: at(0.9)], x[at(0.6) :][: at(0.9)], atol=1e-6)
    return x[at(0.3) : at(0.9)]


def test_the_ends_of_a_loop_are_cross_faded(render):
    part = (0.2, 0.5)
    x = looped(render, part)
    weight = np.sin(np.pi / 2 * np.arange(at(FADE)) / at(FADE)) ** 2
    source = sine(HERTZ)
    expected = source[at(part[0]) : at(part[1])].copy()
    expected[: at(FADE)] *= weight
    expected[: at(FADE)] += (1 - weight) * source[at(part[1]) :][: at(FADE)]
    np.testing.assert_allclose(x, np.tile(expected, 2), atol=1e-6)
    assert np.abs(np.diff(x)).max() <= steepest(HERTZ) + np.pi / 2 / at(FADE)
    plain = np.tile(source[at(part[0]) : at(part[1])], 2)
    assert np.abs(np.diff(plain)).max() > 2 * np.abs(np.diff(x)).max()


@pytest.mark.parametrize(("end", "edge"), [(0.5, 0.005), (1.0, 0.005), (1.0, None)])
def test_the_ends_of_a_part_are_raised_cosines(end, edge, render):
    """With an edge, and where nothing follows that could be cross-faded."""
    x = looped(render, (end - 0.3, end), **({"edge": edge} if edge else {}))
    count = at(edge or FADE)
    weight = np.sin(np.pi / 2 * np.arange(count) / count) ** 2
    expected = sine(HERTZ)[at(end - 0.3) : at(end)].copy()
    expected[:count] *= weight
    expected[-count:] *= weight[::-1]
    np.testing.assert_allclose(x, np.tile(expected, 2), atol=1e-6)


def test_with_an_edge_the_whole_is_repeated_as_it_is(render):
    x, _ = render(2.0, [sine(HERTZ)], [[0, "play"]], edge=0.005, repeat=True)
    expected = np.tile(sine(HERTZ), 2)[: len(x) - at(START)]
    np.testing.assert_allclose(x[at(START, FADE) :], expected[at(FADE) :], atol=1e-6)


def test_a_part_bounds_the_position_and_is_not_too_short(render):
    ramp = np.arange(RATE) / RATE
    actions = [[0, "setPart", 0.2, 0.6], [BLOCK, "seek", 0.7], [2 * BLOCK, "seek", 0.1]]
    x, states = render(0.6, [ramp], [*actions, [3 * BLOCK, "play"]])
    assert [position for position, *_ in states] == [0, 0.2, 0.6, 0.2, 0.6]  # it is played once
    assert x[at(0.3)] == pytest.approx(0.2 + 0.3 - 3 * BLOCK - START, abs=1e-4)
    assert not x[at(3 * BLOCK, START, 0.4) :].any()
    for shortest in (0.05, 0.2):
        actions = [[0, "setPart", 0.95, 0.96], [BLOCK, "play"]]
        x, states = render(0.5, [ramp + 1], actions, shortest=shortest)
        assert states[1][0] == pytest.approx(1 - shortest)
        heard = np.flatnonzero(x)
        assert len(heard) == pytest.approx(at(shortest), abs=2)


def test_a_part_that_is_left_is_cross_faded_with_the_whole(render):
    ramp = np.arange(RATE) / RATE / 2
    leave = 32 * BLOCK
    actions = [[0, "setPart", 0.2, 0.6, True], [BLOCK, "play"], [leave, "setWhole", False]]
    x, _ = render(1.0, [ramp], [*actions, [leave, "seek", 0.7]])
    since = leave + START
    assert x[at(0.5)] == pytest.approx((0.7 + 0.5 - since) / 2, abs=1e-4)
    assert np.abs(np.diff(x[: at(since + 0.29)])).max() < 0.6 / (FADE * RATE)
    assert not x[at(since + 0.3) :].any()
