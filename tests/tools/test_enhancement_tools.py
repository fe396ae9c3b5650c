import importlib.util
import itertools
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wavediff.cli import run
from wavediff.evaluation.metrics import METRICS

TOOLS = Path(__file__).parents[2] / "tools"
RATE = 16000


def tool(name):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def spectral_gate():
    pytest.importorskip("noisereduce")
    return tool("spectral_gate")


@pytest.fixture
def noisy_set(tmp_path):
    """A second of tone bursts in noise, in the layout of a set."""
    t = np.arange(RATE) / RATE
    clean = 0.2 * np.sin(2 * np.pi * 440 * t) * (t % 0.5 < 0.25)
    for folder, gain in (("clean", 0.0), ("noisy", 0.03)):
        (tmp_path / folder / "sub").mkdir(parents=True)
        audio = clean + gain * np.random.default_rng(0).standard_normal(RATE)
        soundfile.write(tmp_path / folder / "sub/a.wav", audio, RATE)
    return tmp_path


def test_gating_takes_noise_from_every_file_of_a_folder(spectral_gate, noisy_set, capsys):
    noisy = noisy_set / "noisy"
    stereo = np.random.default_rng(1).standard_normal((22050, 2)) * 0.1
    soundfile.write(noisy / "b.flac", stereo, 22050)
    soundfile.write(noisy / "silent.wav", np.zeros(8000), 8000)
    soundfile.write(noisy / "short.wav", np.full(3, 0.1), 8000)
    (noisy / "bad.wav").write_text("no audio")
    argv = [str(noisy), "-o", f"{noisy_set}/out", "--stationary", "--strength=1"]
    assert run(spectral_gate.main, argv) == 2
    assert "bad.wav" in capsys.readouterr().err
    clean, gated, before = (
        soundfile.read(noisy_set / f"{folder}/sub/a.wav")[0] for folder in ("clean", "out", "noisy")
    )
    pauses = clean == 0
    assert np.std(gated[pauses]) < 0.6 * np.std(before[pauses])
    for name, shape, rate in (("b", (22050, 2), 22050), ("silent", (8000,), 8000)):
        audio, written_rate = soundfile.read(noisy_set / f"out/{name}.wav")
        assert audio.shape == shape
        assert written_rate == rate
    assert not soundfile.read(noisy_set / "out/silent.wav")[0].any()
    assert len(soundfile.read(noisy_set / "out/short.wav")[0]) == 3


def test_the_benchmark_compares_speed_and_quality(spectral_gate, noisy_set, monkeypatch, capsys):
    pytest.importorskip("pystoi")
    monkeypatch.syspath_prepend(str(TOOLS))
    bench = tool("bench_enhance")

    class Stand:
        """Knows the answer, and takes its time."""

        @classmethod
        def from_pretrained(cls, name):
            assert name == "x"
            return cls()

        def __call__(self, audio, *, sample_rate, sampler, steps):
            assert (sample_rate, sampler, steps) == (RATE, None, 2)
            clean, _ = soundfile.read(noisy_set / "clean/sub/a.wav", dtype="float32")
            return 0.99 * audio + 0.01 * clean[None] if audio.shape == (1, RATE) else audio

        def stream(self, sample_rate, *, sampler, steps):
            return types.SimpleNamespace(push=lambda block: block, finish=lambda: np.zeros((1, 0)))

    warming = [1.0, 1.0, 1.0]  # the start of each method alone
    ticks = itertools.accumulate([*warming, *[7.0, 0.8, 7.0, 0.2, 7.0, 0.4] * 2])
    clock = types.SimpleNamespace(perf_counter=lambda: next(ticks))
    monkeypatch.setattr(bench, "time", clock)
    monkeypatch.setattr(bench, "Enhancer", Stand)
    monkeypatch.setattr(bench, "QUALITY", ("si_sdr", "mr_stft"))
    argv = ["--checkpoint=x", "--steps=2", "--seconds=1", "--repeats=2", f"--set={noisy_set}"]
    assert run(bench.main, argv) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = [line for line in lines if line and line[0] in ("noisy", "spectral", "x", "x,")]
    gating, enhancer, stream = rows[:3]
    assert float(stream[-1]) == pytest.approx(0.5)
    assert float(gating[-1]) == 1
    assert float(enhancer[-1]) == pytest.approx(0.25)
    assert [float(row[i]) for row in (gating, enhancer) for i in (-3, -2)] == [0.8, 0.8, 0.2, 0.2]
    noisy, gated, enhanced = ([float(x) for x in row[-2:]] for row in rows[3:])
    audio = soundfile.read(noisy_set / "noisy/sub/a.wav", dtype="float32")[0]
    clean = soundfile.read(noisy_set / "clean/sub/a.wav", dtype="float32")[0]
    for values, estimate in ((noisy, audio), (gated, spectral_gate.gate(audio[None], RATE)[0])):
        assert values[0] == pytest.approx(METRICS["si_sdr"](estimate, clean, RATE), abs=1e-3)
    assert gated[0] != noisy[0]
    assert enhanced[0] == pytest.approx(noisy[0] + 20 * np.log10(1 / 0.99), abs=0.1)
