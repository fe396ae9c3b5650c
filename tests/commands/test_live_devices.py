"""`wavediff live`: which devices are chosen, and what is refused in one sentence."""

import sys
from pathlib import Path

import pytest
from simulated_audio import Simulated

from wavediff.cli import run
from wavediff.commands import live
from wavediff.commands.live_devices import Device


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--input", "nope"],
            "--input nope: there is no such input; give 0 USB microphone (ALSA),",
        ),
        (["--input", "2"], "--input 2: there is no such input; give 0 USB microphone (ALSA), 1"),
        (["--input", "usb"], "ambiguous: give the index of one of 0 USB microphone (ALSA), 1 USB"),
        (["--output", "USB mic"], "there is no such output; give 1 USB headset (ALSA), 2 cable"),
        (["--channels", "3"], "--channels 3: input 0 USB microphone (ALSA) has 2 at most"),
        (["--rate", "8000"], "do not run together (8000 Hz: Invalid sample rate): give another"),
        (["--rate", "10"], "'10' is out of range"),
        (["--checkpoint", "enhancer-16k"], "enhancer-16k waits 2.3 s for more of the signal"),
        (["--record", "a.wav", "a.wav"], "--record a.wav twice: give two names"),
        (["--record", "a.mp3", "b.wav"], "give a name that ends in .wav or .flac"),
        (["--record", "kept.wav", "b.wav"], "kept.wav exists already: give --overwrite"),
        (["--seconds", "0"], "must be above 0"),
        (["--strength", "-1"], "'-1' is out of range (0 to 200)"),
    ],
    ids=str,
)
def test_what_cannot_be_is_one_sentence(start, words, said):
    Path("kept.wav").touch()
    with_usage = said.startswith(("'", "must"))
    if with_usage:
        with pytest.raises(SystemExit, match="2"):
            start(Simulated(rates=[44_100]), *words)
        return
    code, out, err = start(Simulated(rates=[44_100]), *words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert said in err
    assert err.count("\n") == 1
    assert [p.name for p in Path().iterdir()] == ["kept.wav"]


def test_names_indices_and_rates_are_found(start):
    audio = Simulated(rates=[44_100])
    audio.found.append(Device(3, "USB", "ALSA", 1, 0, 8000))
    words = ("--seconds", "0.1", "--buffer", "6")
    assert start(audio, "--input", "usb", "--output", "2", *words)[0] == 0
    assert (audio.setup.input.index, audio.setup.output.index) == (3, 2)
    assert audio.setup.sample_rate == 44_100


def test_no_devices(start):
    audio = Simulated(found=[])
    assert "there is no input device. PortAudio finds no audio device" in start(audio)[2]
    code, out, err = start(audio, "--list-devices")
    assert (code, err) == (0, "")
    assert "install libasound2-plugins" in out
    audio = Simulated()
    audio.defaults["output"] = -1
    assert "there is no default output: give --output 1 USB headset (ALSA), 2" in start(audio)[2]


def test_devices_are_listed(start):
    code, out, err = start(Simulated(), "--list-devices")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        ">    0  USB microphone  ALSA: 2 in, 0 out, 16000 Hz",
        " <   1  USB headset     ALSA: 1 in, 2 out, 48000 Hz",
        "     2  cable           JACK: 0 in, 1 out, 48000 Hz",
    ]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise ImportError", 'needs the package sounddevice: pip install "wavediff[live]"'),
        ("raise OSError('PortAudio library not found')", "apt install libportaudio2"),
    ],
)
def test_what_is_not_installed_is_told(tiny_live, tmp_path, monkeypatch, capsys, source, said):
    (tmp_path / "sounddevice.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    assert run(live.main, ["--checkpoint", str(tiny_live)]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
