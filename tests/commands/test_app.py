"""`wavediff app`: its options, and what its tabs do."""

import socket
import sys
import tempfile
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
import soundfile
import toy_generator

from wavediff.cli import run
from wavediff.commands import app, app_server, app_worker
from wavediff.commands.app_forecast import forecast
from wavediff.commands.app_jobs import blocks
from wavediff.commands.app_models import Setting, check_models
from wavediff.commands.app_restore import restore
from wavediff.commands.app_sound import NO_LIMIT, clean, vocode
from wavediff.data.audio import audio_reader
from wavediff.errors import UserError, forget_warnings
from wavediff.tasks.restoration import windows

RATE = 16_000
SETTING = Setting("enhancer-16k", "vocoder-en-22k", None, "forecaster", 2.0, "cpu", 1)


def voice(seconds=1.0, rate=RATE):
    t = np.arange(round(seconds * rate)) / rate
    tone = sum(np.sin(2 * np.pi * 150 * k * t + k * k) / k for k in range(1, 12))
    return 0.5 * tone / np.abs(tone).max() * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t))


@pytest.fixture
def upload(tmp_path):
    """upload(name, samples, rate) -> path, in a folder as uploads have it."""

    def call(name, samples, rate=RATE, **options):
        folder = tmp_path / "0123abcd"
        folder.mkdir(exist_ok=True)
        if samples is None:
            pass  # as it is an hour later
        elif isinstance(samples, bytes):
            (folder / name).write_bytes(samples)
        else:
            soundfile.write(folder / name, samples, rate, **options)
        return str(folder / name)

    yield call
    forget_warnings()


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "results"
    made.mkdir()
    return made


def shares():
    """A list, and a function that adds to it."""
    told: list[float] = []
    return told, told.append


def test_options_are_checked(capsys):
    found = app.parse([])
    assert (found.host, found.port) == ("127.0.0.1", 7860)
    assert (found.max_size, found.max_duration, found.max_time, found.max_queue) == (
        50, 120, 300, 20,
    )  # fmt: skip
    for words in (
        ["--port", "70000"],
        ["--max-size", "0"],
        ["--max-duration", "nan"],
        ["--max-time", "-1"],
        ["--max-queue", "0"],
    ):
        with pytest.raises(SystemExit) as stopped:
            app.parse(words)
        assert stopped.value.code == 2
        assert words[0] in capsys.readouterr().err


def test_a_port_that_is_taken_and_a_missing_model_are_told(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(app.main, ["--port", str(port)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: cannot serve at 127.0.0.1 port {port}: ")
    assert "--port" in told
    assert run(app.main, ["--enhancer", "nothing"]) == 2
    assert "there is no checkpoint 'nothing'" in capsys.readouterr().err


def test_a_recording_is_cleaned(upload, folder):
    rng = np.random.default_rng(0)
    noisy = np.stack([voice(), voice()], 1) + 0.05 * rng.standard_normal((RATE, 2))
    path = upload("a <b> & c.flac", noisy)
    told, progress = shares()
    found = clean(path, NO_LIMIT, SETTING, folder, progress)
    (file,) = found.files
    assert file.name == "a <b> & c-clean.flac"
    audio, rate = soundfile.read(file)
    assert (audio.shape, rate) == (noisy.shape, RATE)
    assert np.square(audio).mean() < np.square(noisy).mean()
    assert told[-1] == pytest.approx(1)
    assert "a &lt;b&gt; &amp; c.flac" in found.page
    assert "<b>" not in found.page
    assert found.page.count("<audio") == found.page.count("data:image/png") == 2
    assert "After: 16000 Hz, stereo" in found.page
    same = clean(path, 0, SETTING, folder, progress)
    kept, _ = soundfile.read(same.files[0])
    assert np.abs(kept - soundfile.read(path)[0]).max() < 1e-3


def test_a_recording_is_vocoded(upload, folder):
    told, progress = shares()
    found = vocode(upload("a.wav", voice()), SETTING, folder, progress)
    audio, mel = found.files
    assert (audio.name, mel.name) == ("a-vocoded.wav", "a-mel.npy")
    samples, rate = soundfile.read(audio)
    assert (len(samples), rate) == (22_050, 22_050)
    assert np.abs(samples).max() > 0.05
    assert np.load(mel).shape[0] == 80
    assert "80 x" in found.notes[0]
    assert told
    assert found.page.count("<audio") == 2


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    return toy_generator.save(tmp_path_factory.mktemp("prior"))


def restored(path, what, generator, folder, gaps="", cutoff="", threshold="", seed=0):
    setting = Setting("", "", str(generator), "", 2.0, "cpu", 1)
    found = restore(path, what, gaps, cutoff, threshold, seed, setting, folder, lambda share: None)
    return soundfile.read(found.files[0])[0], found


@pytest.mark.slow
def test_recordings_are_restored(upload, folder, generator, monkeypatch):
    monkeypatch.setattr(windows, "CONTEXT", 0.1)
    sound = voice(rate=8000)
    gap = sound.copy()
    gap[4000:4400] = 0
    path = upload("a.wav", gap, 8000)
    filled, found = restored(path, "Fill gaps", generator, folder, "0.5:0.55")
    assert found.files[0].name == "a-filled.wav"
    given = soundfile.read(path)[0]
    assert np.array_equal(np.delete(filled, np.s_[4000:4400]), np.delete(given, np.s_[4000:4400]))
    assert np.abs(filled[4000:4400]).max() > 0
    clipped = upload("loud.wav", np.clip(2 * sound, -0.5, 0.5), 8000)
    declipped, _ = restored(clipped, "Declip", generator, folder)
    assert np.abs(declipped).max() > 0.51
    again, _ = restored(clipped, "Declip", generator, folder, threshold="0.5")
    assert np.abs(again - declipped).max() < 0.05
    loud = upload("full.wav", np.clip(4 * sound, -0.999, 0.999), 8000)
    softer, found = restored(loud, "Declip", generator, folder)
    assert np.abs(softer).max() == pytest.approx(0.99, abs=1e-3)
    assert "turned down by" in found.notes[-1]
    low = upload("low.wav", voice(rate=4000), 4000)
    wide, found = restored(low, "Extend the bandwidth", generator, folder)
    assert len(wide) == 8000
    assert "After: 8000 Hz, mono" in found.page


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        ("Fill gaps", {}, "give the gaps, each START:STOP"),
        ("Fill gaps", {"gaps": "1"}, "'1' is not a gap"),
        ("Fill gaps", {"gaps": "0.5:0.2"}, "STOP must be after START"),
        ("Fill gaps", {"gaps": "0:5"}, "is not within the recording"),
        ("Declip", {}, "no clipping was found in the recording: give the level"),
        ("Declip", {"threshold": "0.9"}, "no sample reaches the clipping level 0.9"),
        ("Declip", {"threshold": "high"}, "the clipping level is 'high': give a number"),
        ("Extend the bandwidth", {}, "adds nothing above"),
        ("Extend the bandwidth", {"cutoff": "-4"}, "the highest frequency is out of range"),
        ("Fill gaps", {"gaps": "0.1:0.2", "seed": -1}, "the seed is out of range"),
        ("Melt", {}, "'Melt' is not one of"),
    ],
)
def test_what_cannot_be_restored_is_told(upload, folder, generator, what, options, message):
    with pytest.raises(UserError, match=message) as told:
        restored(upload("a.wav", voice(0.5, 8000), 8000), what, generator, folder, **options)
    assert "--" not in str(told.value)
    assert not any(folder.iterdir())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.wav", b"hello" * 100, r"^a\.wav is not audio that can be read"),
        ("a.wav", b"", r"^a\.wav is empty"),
        ("long.wav", np.zeros(3 * RATE), r"^long\.wav is too long: a recording of 3\.0 s is more"),
        ("short.wav", np.zeros(100), r"^short\.wav is shorter than 0\.05 s"),
        ("nan.wav", np.full(RATE, np.nan), r"^nan\.wav: sample 0 is nan"),
        (None, None, "^there is no file yet: give a recording first$"),
        ("old.wav", None, r"^old\.wav is no longer kept here: give it again$"),
    ],
)
@pytest.mark.parametrize("job", [clean, vocode])
def test_bad_recordings_are_told_by_name(upload, folder, job, name, content, message):
    options = {"subtype": "FLOAT"} if name == "nan.wav" else {}
    path = upload(name, content, **options) if name else None
    words = [path, NO_LIMIT] if job is clean else [path]
    with pytest.raises(UserError, match=message) as told:
        job(*words, SETTING, folder, lambda share: None)
    assert "0123abcd" not in str(told.value)
    assert not any(folder.iterdir())


def test_a_file_that_is_longer_than_it_says_is_not_read_to_its_end(upload):
    path = upload("a.wav", np.zeros(5 * RATE))
    with audio_reader(path) as reader, pytest.raises(UserError, match="too long"):
        list(blocks(reader, SETTING))


@pytest.mark.parametrize("strength", [-1, 61, float("nan"), "loud"])
def test_an_attenuation_out_of_range_is_told(upload, folder, strength):
    with pytest.raises(UserError, match="the attenuation is out of range: give a number from 0"):
        clean(upload("a.wav", voice(0.1)), strength, SETTING, folder, lambda share: None)


def ask(path, folder, horizon="", time="", item="", targets="", kind="auto"):
    return forecast(path, horizon, time, item, targets, kind, SETTING, folder, lambda share: None)


def table():
    years = np.arange(1900, 1980)
    frame = {"year": years, "spots": 50 + 40 * np.sin(years / 2), "<i>": years % 7}
    return pandas.DataFrame(frame).to_csv(index=False).encode()


def test_a_table_is_forecast(upload, folder):
    found = ask(upload("t.csv", table()), folder, "6", "year", targets="spots, <i>")
    csv, png = found.files
    assert (csv.name, png.name) == ("t-forecast.csv", "t-forecast.png")
    frame = pandas.read_csv(csv)
    assert frame["year"].tolist() == list(range(1980, 1986))
    assert frame.columns[1:4].tolist() == ["spots_q0.1", "spots_q0.5", "spots_q0.9"]
    assert png.read_bytes().startswith(b"\x89PNG")
    assert found.page.count("<tr>") == 1 + 6
    assert "<th>&lt;i&gt;_q0.1</th>" in found.page
    assert found.page.count("<p>") == 2  # how good it is
    assert "seasonal naive" in found.page
    assert found.notes


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (bytes(range(256)) * 4, {}, r"^t\.csv "),
        (b"", {}, r"^t\.csv is empty"),
        (b"a,b\n1,2\n", {}, r"^t\.csv"),
        (None, {}, "there is no file yet: give a CSV or Parquet file first"),
        (table(), {"horizon": "many"}, "the number of steps is 'many': give a number, or nothing"),
        (table(), {"horizon": "2.5"}, "the number of steps is 2.5: give a whole number"),
        (table(), {"horizon": "0"}, "the number of steps is out of range"),
        (table(), {"time": "nothing"}, "nothing"),
        (table(), {"kind": "nothing"}, "kind is 'nothing'"),
    ],
)
def test_bad_tables_and_options_are_told(upload, folder, content, options, message):
    path = None if content is None else upload("t.csv", content)
    with pytest.raises(UserError, match=message) as told:
        ask(path, folder, **options)
    assert "0123abcd" not in str(told.value)
    assert not any(folder.iterdir())


def test_chosen_models_are_loaded_at_the_start(generator):
    setting = Setting("vocoder-en-22k", "", str(generator), "", 2.0, "cpu", 1)
    assert check_models(["generator"], setting, lambda share: None) is None
    with pytest.raises(UserError, match="vocoder-en-22k is not an enhancer"):
        check_models(["enhancer"], setting, lambda share: None)


def test_a_model_of_another_kind_is_told_before_the_page_is_served(monkeypatch, capsys, tmp_path):
    closed = []

    class Here:
        """Does jobs in this process."""

        def run(self, job, seconds):
            yield 0.0
            return job(lambda share: None)

        def close(self):
            closed.append(True)

    monkeypatch.setattr(app_worker, "Worker", Here)
    monkeypatch.setattr(app_server, "require_gradio", lambda: None)
    page = SimpleNamespace(Limits=None, Page=None, head=None, style=None)  # needs Gradio
    monkeypatch.setitem(sys.modules, "wavediff.commands.app_page", page)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    words = ["--generator", "enhancer-16k", "--port", "0", "--device", "cpu"]
    assert run(app.main, words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: enhancer-16k is not a generator")
    assert closed == [True]
    assert not any(tmp_path.iterdir())
