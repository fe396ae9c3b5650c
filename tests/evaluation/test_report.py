import io
import re
from base64 import b64decode, b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from wavediff.errors import UserError
from wavediff.evaluation import comparison, report
from wavediff.evaluation.levels import frame_powers, levels
from wavediff.evaluation.report import Entry, write_report

RATE = 16000
VOID = {"meta", "img", "input"}


class Page(HTMLParser):
    """Elements with their attributes, all text, and whether every element was closed."""

    def __init__(self, path: Path):
        super().__init__()
        self.elements, self.text, self.open = [], "", []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def data(attributes, kind):
    head, _, content = attributes["src"].partition(",")
    assert head == f"data:{kind};base64"
    return io.BytesIO(b64decode(content, validate=True))


def bursts(seconds, rate=RATE, level=0.1):
    """Half a second of a tone (RMS ``level``), half a second of nothing, and so on."""
    t = np.arange(int(seconds * rate)) / rate
    return level * 2**0.5 * np.sin(2 * np.pi * 440 * t) * (t % 1 < 0.5)


def pair(folder, name="a", seconds=2.0, rate=RATE, channels=1):
    """Noise of -40 dBFS before and of -55 dBFS after, under speech of -20 dBFS."""
    speech = bursts(seconds, rate)[:, None]
    noise = 0.01 * np.random.default_rng(0).standard_normal((len(speech), channels))
    before, after = folder / f"{name}-before.wav", folder / f"{name}-after.wav"
    soundfile.write(before, speech + noise, rate, subtype="FLOAT")
    soundfile.write(after, speech + 10**-0.75 * noise, rate, subtype="FLOAT")
    return Entry(name, before, after)


def test_the_page_holds_pictures_sound_and_levels(tmp_path):
    write_report(tmp_path / "r.html", [pair(tmp_path, "one"), pair(tmp_path, "two", 3.0, 8000, 2)])
    page = Page(tmp_path / "r.html")
    pictures, players = page.all("img"), page.all("audio")
    assert len(pictures) == len(players) == 4
    for picture in pictures:
        image = Image.open(data(picture, "image/png")).convert("RGBA")
        assert image.width > 600
        assert len(np.unique(np.asarray(image).reshape(-1, 4), axis=0)) > 20
    for player, seconds, rate, channels in zip(
        players, (2, 2, 3, 3), (16000,) * 2 + (8000,) * 2, (1, 1, 2, 2), strict=True
    ):
        assert "controls" in player
        audio, decoded = soundfile.read(data(player, "audio/mpeg"), always_2d=True)
        assert decoded == rate
        assert audio.shape[1] == channels
        assert len(audio) / rate == pytest.approx(seconds, abs=0.15)
        assert np.sqrt(np.mean(audio[: rate // 2] ** 2)) == pytest.approx(0.1, abs=0.02)
    assert page.text.count("15.0 dB") == 4  # in the table and below each heading
    assert "speech -20.0, pauses -40.0 dBFS" in page.text
    assert "speech -20.0, pauses -55.0 dBFS" in page.text
    assert "root mean squares in dBFS" in page.text


def test_the_page_asks_the_network_for_nothing(tmp_path):
    write_report(tmp_path / "r.html", [pair(tmp_path)])
    page = Page(tmp_path / "r.html")
    links = [a.get("src") or a.get("href") for _, a in page.elements if {"src", "href"} & a.keys()]
    assert len(links) == 5
    assert all(link.startswith(("data:", "#r")) for link in links)
    assert not {"link", "iframe"} & {tag for tag, _ in page.elements}
    policy = page.all("meta")[1]["content"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    text = (tmp_path / "r.html").read_text()
    for start, end in (("<style>", "</style>"), ('<script type="module">', "</script>")):
        inside = text.partition(start)[2].partition(end)[0]
        assert b64encode(sha256(inside.encode()).digest()).decode() in policy
        assert not re.search(r"url\(|@import|import[ (]|fetch\(|https?:", inside)
    assert "light dark" in text


def test_hostile_names_are_text(tmp_path):
    names = [
        '"><script>alert(1)</script>',
        "' onerror='x' & line\nbreak\x00\u202egnp.exe \udcff",
    ]
    entry = pair(tmp_path)
    write_report(tmp_path / "r.html", [Entry(name, entry.before, entry.after) for name in names])
    page = Page(tmp_path / "r.html")
    assert len(page.all("img")) == 4
    assert page.all("script") == [{"type": "module"}]
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert page.text.count(names[0]) == 2
    assert "line\ufffdbreak\ufffd\ufffdgnp.exe" in page.text


def test_a_long_recording_is_shown_from_its_beginning(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "SECONDS", 3)
    entry = pair(tmp_path, seconds=65.0)
    read = []
    read_audio = comparison.read_audio
    monkeypatch.setattr(
        comparison, "read_audio", lambda *a, **k: read.append(k["frames"]) or read_audio(*a, **k)
    )
    write_report(tmp_path / "r.html", [entry])
    page = Page(tmp_path / "r.html")
    assert "1:05 min" in page.text
    assert "Below: the first 3.0 s." in page.text
    assert read == [3 * RATE] * 2  # no more is held in memory
    for player in page.all("audio"):
        assert soundfile.info(data(player, "audio/mpeg")).duration < 3.2
    assert (tmp_path / "r.html").stat().st_size < 500_000


def test_of_many_recordings_the_first_are_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "SHOWN", 2)
    entries = [Entry(f"n{i}", *(pair(tmp_path).before,) * 2) for i in range(5)]
    write_report(tmp_path / "r.html", entries)
    page = Page(tmp_path / "r.html")
    assert len(page.all("audio")) == 4
    assert all(f"n{i}" in page.text for i in range(5))
    assert "the first 2 recordings" in page.text


def test_an_entry_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "text.wav").write_text("no audio")
    bad = Entry("bad", tmp_path / "text.wav", tmp_path / "text.wav")
    gone = Entry("gone", tmp_path / "gone.wav", tmp_path / "gone.wav")
    write_report(tmp_path / "r.html", [bad, pair(tmp_path), gone])
    page = Page(tmp_path / "r.html")
    assert len(page.all("audio")) == 2
    assert "is not audio that can be read" in page.text
    assert "does not exist" in page.text


@pytest.mark.parametrize(("length", "rate"), [(1, 8000), (160, 96000), (2 * RATE, RATE)])
def test_short_silent_and_odd_recordings(length, rate, tmp_path):
    for name, audio in (("a", np.zeros((length, 6))), ("b", np.full((length, 6), np.nan))):
        soundfile.write(tmp_path / f"{name}.wav", audio, rate, subtype="FLOAT")
    silence = tmp_path / "a.wav"
    write_report(tmp_path / "r.html", [Entry("x", silence, silence)])
    page = Page(tmp_path / "r.html")
    assert len(page.all("audio")) == 2
    assert "0.0 dB" in page.text
    assert "under -100" in page.text
    write_report(tmp_path / "r.html", [Entry("x", tmp_path / "b.wav", silence)])
    assert "sample 0 is nan" in Page(tmp_path / "r.html").text


def test_whole_or_not_at_all(tmp_path, monkeypatch):
    (tmp_path / "r.html").write_text("old")
    with pytest.raises(UserError, match="no recording"):
        write_report(tmp_path / "r.html", [])
    entry = pair(tmp_path)
    with pytest.raises(UserError, match="cannot write"):
        write_report(tmp_path / "a-after.wav" / "r.html", [entry])

    def fail(*_):
        raise RuntimeError

    monkeypatch.setattr(comparison, "_picture", fail)
    with pytest.raises(RuntimeError):
        write_report(tmp_path / "r.html", [entry])
    assert (tmp_path / "r.html").read_text() == "old"
    assert not list(tmp_path.glob(".tmp*"))


def test_levels_closed_form():
    speech, floor = np.full(100, 1e-2), np.full(100, 1e-5)
    after = np.concatenate([speech, floor])
    before = after + 1e-3
    before_levels, after_levels = levels(before, after)
    assert after_levels.speech == pytest.approx(-20)
    assert after_levels.pauses == pytest.approx(-50)
    assert before_levels.speech == pytest.approx(10 * np.log10(0.011))
    assert before_levels.pauses == pytest.approx(10 * np.log10(1.01e-3))
    # a noise that stands above -30 dB: the quietest tenth decides
    noisy = np.linspace(0.1, 1, 200)
    assert levels(noisy, noisy)[1].pauses == pytest.approx(10 * np.log10(0.145), abs=0.2)


def test_frame_powers_do_not_depend_on_blocks_or_cancel_channels(tmp_path):
    audio = np.random.default_rng(0).standard_normal(25 * RATE + 100) * 0.1
    soundfile.write(tmp_path / "a.wav", np.stack([audio, -audio], 1), RATE, subtype="FLOAT")
    powers = frame_powers(tmp_path / "a.wav")
    expected = np.mean(audio[: 25 * RATE].reshape(-1, 320) ** 2, axis=1)
    np.testing.assert_allclose(powers[:-1], expected, rtol=1e-5)
    assert powers[-1] == pytest.approx(np.mean(audio[25 * RATE :] ** 2), rel=1e-5)
