"""The page of a listening test in a browser: by keyboard alone, with sound, to the analysis."""

import json
import threading
from contextlib import contextmanager

import chromium
import listening_set
import numpy as np
import pytest
from listening_set import TONES

from wavediff.cli import run
from wavediff.commands import listen
from wavediff.evaluation.listening.serve import Server, read_test
from wavediff.evaluation.listening.store import Store, read

pytestmark = chromium.needed


@pytest.fixture(scope="module")
def browser():
    with chromium.chromium() as started:
        yield started


@pytest.fixture
def opened(browser):
    """opened(address): a page, whose errors fail the test."""
    context = browser.new_context(accept_downloads=True)
    context.add_init_script(chromium.TAP)
    problems = []

    def call(address):
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
        page.goto(address)
        return page

    yield call
    context.close()
    assert not problems


def tab_to(page, selector):
    """Go to an element by the Tab key."""
    for _ in range(60):
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not lead to {selector}")


def press(page, text):
    """Press the button with a text by the keyboard."""
    for _ in range(60):
        if page.evaluate("document.activeElement.textContent") == text:
            page.keyboard.press("Enter")
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not lead to the button {text}")


def begin(page, name="Anna"):
    """From the welcome to the first trial, by the keyboard."""
    tab_to(page, "input[type=text]")
    page.keyboard.press("Control+A")
    page.keyboard.type(name)
    press(page, "Go to the training")
    page.wait_for_selector(".training")
    press(page, "Start the test")
    page.wait_for_selector("progress")


def conditions(page):
    """What the buttons of the trial stand for, which a listener does not see."""
    return page.evaluate("app.view.stimuli.map((s) => s.condition)")


RATINGS = {"reference": 100, "low anchor": 0, "ours": 80, "theirs": 50}


def rate(page, number, rating):
    """Set a slider by its keys: to an end, and on by tens."""
    tab_to(page, f'input[aria-label="Rating of Sound {number}"]')
    page.keyboard.press("End" if rating == 100 else "Home")
    for _ in range(rating // 10 if rating < 100 else 0):
        page.keyboard.press("PageUp")


def hear_all(page, count):
    """Hear the reference and all sounds by their keys."""
    for key in ["r", *map(str, range(1, count + 1))]:
        page.keyboard.press(key)


def test_a_mushra_test_by_keyboard_with_a_reload_to_its_analysis(opened, tmp_path, capsys):
    plan = listening_set.made(listening_set.write_set(tmp_path, 3), "--trials=2")
    page = opened((tmp_path / "test" / "index.html").as_uri())
    assert "-23.0 LUFS" in page.inner_text("main")
    begin(page)
    orders = []
    for trial in range(2):
        page.wait_for_selector(f"h1:text-is('Trial {trial + 1} of 2') ~ progress")  # is loaded
        shown = conditions(page)
        orders.append(shown)
        assert page.evaluate("document.activeElement.tagName") == "H1"  # read aloud
        page.keyboard.press("n")
        assert page.inner_text("[role=alert]") == "Listen to Reference first."
        hear_all(page, 4)
        rate(page, 1, RATINGS[shown[0]])
        if trial == 1:
            page.reload()
            assert "Anna has answered 1 of 2 trials" in page.inner_text("main")
            press(page, "Continue as Anna")
            page.wait_for_selector("progress")
            assert conditions(page) == shown
            slider = page.get_by_label("Rating of Sound 1")
            assert int(slider.input_value()) == RATINGS[shown[0]]
        page.keyboard.press("n")
        assert page.inner_text("[role=alert]") == "Rate Sound 2 first."
        for number in range(2, 5):
            rate(page, number, RATINGS[shown[number - 1]])
        press(page, "Next")
    page.wait_for_selector("h1:text-is('Thank you')")
    with page.expect_download() as download:
        press(page, "Save the answers as a file")
    saved = tmp_path / "answers" / download.value.suggested_filename
    assert saved.name.startswith("answers-Anna-")
    download.value.save_as(saved)
    answers = json.loads(saved.read_text())["answers"]
    trials = {trial.id: trial for trial in plan.trials}
    for answer, order in zip(answers, orders, strict=True):
        trial = trials[answer["trial"]]
        assert [trial.condition(s) for s in answer["order"]] == order
        rated = {trial.condition(s): r for s, r in answer["ratings"].items()}
        assert rated == {name: pytest.approx(r, abs=1) for name, r in RATINGS.items()}
    capsys.readouterr()
    assert run(listen.main, ["analyse", str(saved.parent), "-o", str(tmp_path / "report")]) == 0
    assert "mushra: 1 listener, 2 trials" in capsys.readouterr().out
    result = json.loads((tmp_path / "report" / "results.json").read_text())
    means = {c["name"]: c["mean"] for c in result["conditions"]}
    assert means == {name: pytest.approx(r, abs=1) for name, r in RATINGS.items()}


def test_the_selected_sound_is_heard_and_keeps_its_position(opened, tmp_path):
    plan = listening_set.made(listening_set.write_set(tmp_path, 1), "--anchors=none")
    page = opened((tmp_path / "test" / "index.html").as_uri())
    begin(page)
    assert page.evaluate("app.context.sampleRate") == plan.sample_rate
    expected = {"1": 0, "2": 1, "3": 2}
    shown = conditions(page)
    for key, index in expected.items():
        before = page.evaluate("[app.view.player.position, app.context.currentTime]")
        page.keyboard.press(key)
        after = page.evaluate("[app.view.player.position, app.context.currentTime]")
        if index:
            passed = (after[0] - before[0]) % 1.0
            assert passed == pytest.approx(after[1] - before[1], abs=0.001)
        name = {"reference": "clean"}.get(shown[index], shown[index])
        chromium.wait_for_tone(page, TONES[name])
    page.keyboard.press(" ")
    assert page.evaluate("app.view.player.playing") is False
    chromium.wait_for_tone(page, 0)
    page.keyboard.press("l")
    assert page.evaluate("app.view.player.repeat") is False
    page.keyboard.press("]")
    assert page.evaluate("app.view.player.part.end") < 1
    page.keyboard.press("\\")
    assert page.evaluate("app.view.player.part") == {"start": 0, "end": 1}


def test_orders_differ_by_listener_and_seed_and_not_by_visit(opened, tmp_path):
    listening_set.made(listening_set.write_set(tmp_path, 6))
    page = opened((tmp_path / "test" / "index.html").as_uri())

    def order(name):
        return page.evaluate(
            """(name) => {
              const session = Session.begin(app.test, name, "other");
              return session.order.map((t) => session.presentation(t).stimuli.map((s) => s.id));
            }""",
            name,
        )

    assert order("Anna") == order("Anna") != order("Bert")
    firsts = [order(f"l{n}")[0][0] for n in range(400)]
    counts = np.array([firsts.count(stimulus) for stimulus in set(firsts)])
    # six trials of four stimuli: each is first about equally often (chi-square, 23 degrees)
    assert len(counts) == 24
    assert np.sum((counts - 400 / 24) ** 2 / (400 / 24)) < 50


@contextmanager
def served(folder):
    """The address of a server of the test, and its file of answers."""
    plan, page = read_test(folder / "test")
    store = Store(folder / "answers.sqlite", plan, 10)
    server = Server(("127.0.0.1", 0), plan, page, store, 100, lambda line: None)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/", folder / "answers.sqlite"
    server.shutdown()
    thread.join()
    server.server_close()
    store.close()


@pytest.mark.parametrize("method", ["mos", "ab", "abx"])
def test_other_methods_by_keyboard_to_the_server(method, opened, tmp_path):
    options = [f"--method={method}", "--trials=2", "--checks=1"]
    plan = listening_set.made(listening_set.write_set(tmp_path, 3), *options)
    with served(tmp_path) as (address, file):
        page = opened(address)
        begin(page, "Bert\u00a0Ö.")
        for trial in range(1, 4):
            page.wait_for_function(
                f"document.querySelector('h1').textContent == 'Trial {trial} of 3'"
            )
            page.wait_for_selector("fieldset")
            if method == "mos":
                page.keyboard.press(" ")
                page.keyboard.press("4")
            else:
                for key in {"ab": "abr", "abx": "abx"}[method]:
                    page.keyboard.press(key)
                tab_to(page, "input[type=radio]")
                page.keyboard.press("ArrowDown")  # from A to B
                page.keyboard.press("ArrowUp")
            page.keyboard.press("n")
        page.wait_for_selector("text=Thank you")
        tab_to(page, "textarea")
        page.keyboard.insert_text("Nice 👩\u200d🚀 sounds\x07\nindeed")
        press(page, "Send the answers")
        page.wait_for_selector("text=Your answers were received")
        page.reload()
        press(page, "Show the answers again")
        assert "Your answers were received" in page.inner_text("main")
    _, (body,) = read(file)
    kept = json.loads(body)
    assert (kept["listener"], kept["comment"]) == ("Bert Ö.", "Nice 👩\u200d🚀 sounds\nindeed")
    for answer in kept["answers"]:
        first = answer["order"][0]
        assert answer["ratings"] == {first: 4} if method == "mos" else answer["choice"] == first
        assert (answer["x"] in answer["order"]) == (method == "abx")
    assert len(plan.trials) == len(kept["answers"])


def test_the_page_names_its_controls_and_fits_a_phone(opened, tmp_path, browser):
    listening_set.made(listening_set.write_set(tmp_path, 1))
    page = opened((tmp_path / "test" / "index.html").as_uri())
    page.set_viewport_size({"width": 360, "height": 640})
    begin(page)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea, progress")]
          .filter((e) => !e.ariaLabel && !e.textContent && !e.labels?.length).length"""
    )
    assert nameless == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    small = page.evaluate(
        """() => [...document.querySelectorAll("button, input[type=range]")]
          .filter((e) => e.offsetParent && e.getBoundingClientRect().height < 44).length"""
    )
    assert small == 0  # for fingers
    assert page.get_by_role("button", name="Sound 1", pressed=False).count() == 1
    page.keyboard.press("1")
    assert page.get_by_role("button", name="Sound 1", pressed=True).count() == 1
    assert page.get_by_label("Rating of Sound 1").get_attribute("aria-valuetext") == "not rated"
    page.keyboard.press("2")
    assert page.inner_text("[role=status]") == "Sound 2 plays"
