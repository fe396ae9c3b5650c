import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from wavediff.cli import run
from wavediff.data.resampling import resample
from wavediff.data.synthetic import utterance

TOOLS = Path(__file__).parents[2] / "tools"
sys.path.insert(0, str(TOOLS))
spec = importlib.util.spec_from_file_location("restoration_bench", TOOLS / "restoration_bench.py")
bench = importlib.util.module_from_spec(spec)
sys.modules["restoration_bench"] = bench  # its dataclass looks its annotations up there
spec.loader.exec_module(bench)
classical = bench.classical

RATE = 16000
T = np.arange(RATE) / RATE


def sdr(estimate: np.ndarray, reference: np.ndarray) -> float:
    return 10 * np.log10(np.sum(reference**2) / np.sum((estimate - reference) ** 2))


def test_linear_prediction_continues_two_sinusoids_across_gaps():
    x = 0.3 * np.sin(2 * np.pi * 440 * T) + 0.2 * np.sin(2 * np.pi * 1234 * T + 1)
    gaps = [(4000, 4800), (9000, 9800)]
    damaged = x.copy()
    for start, stop in gaps:
        damaged[start:stop] = 0
    y = classical.linear_prediction(damaged, gaps, RATE)
    known = np.ones(len(x), bool)
    for start, stop in gaps:
        known[start:stop] = False
        assert sdr(y[start:stop], x[start:stop]) > 25
    np.testing.assert_array_equal(y[known], x[known])


@pytest.mark.parametrize(("start", "stop"), [(0, 400), (15600, 16000), (0, 16000)])
def test_a_gap_at_the_end_is_predicted_from_the_side_there_is(start, stop):
    x = np.sin(2 * np.pi * 500 * T)
    damaged = x.copy()
    damaged[start:stop] = 0
    y = classical.linear_prediction(damaged, [(start, stop)], RATE)
    assert np.isfinite(y).all()
    if stop - start < len(x):
        assert sdr(y[start:stop], x[start:stop]) > 15


def test_band_replication_adds_the_upper_band_alone():
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((1, RATE)))
    low = resample(resample(noise, RATE, 8000), 8000, RATE)[0].numpy()
    y = classical.replicate_band(low, RATE, 3600.0)
    hz = np.fft.rfftfreq(len(low), 1 / RATE)
    below, added = (np.abs(np.fft.rfft(x)) ** 2 for x in (low, y - low))
    assert added[hz < 3400].sum() < 1e-4 * below[hz < 3400].sum()
    # medians, because the envelope is that of the logarithms
    level, tilt = classical.ENVELOPE[0]
    bands = [(4000, 5000), (5000, 6000), (6000, 7000), (7000, 7900)]
    last = np.median(below[(hz > 2000) & (hz < 3500)])
    for start, stop in bands:
        found = 10 * np.log10(np.median(added[(hz > start) & (hz < stop)]) / last)
        assert found == pytest.approx(level + tilt * ((start + stop) / 2 - 3600) / 1000, abs=1.5)


def test_the_envelope_is_fitted_exactly_where_the_model_holds():
    """A spectrum made by the model gives its constants back."""
    power, hz = bench_spectrum()
    found = classical.features(power, hz, 3600.0)
    truth = np.array([[-3.0, -2.0], [0.3, 0.1], [-0.2, 0.0], [0.1, -0.05]])
    level, tilt = truth.T @ found
    high = hz >= 3600
    power[high] = level + tilt * (hz[high, None] - 3600) / 1000
    power[high] += classical.last_level(power, hz, 3600.0)
    np.testing.assert_allclose(classical.regress([power], hz, 3600.0), truth, atol=1e-9)


def bench_spectrum() -> tuple[np.ndarray, np.ndarray]:
    """A random low band in dB, ``[bins, frames]``, and the bins' frequencies."""
    return np.random.default_rng(1).normal(-30, 10, (257, 50)), np.linspace(0, 8000, 257)


@pytest.mark.parametrize("method", [classical.spline, classical.cbar])
@pytest.mark.parametrize("level", [0.5, 0.8])
def test_a_clipped_sine_is_restored_beyond_its_level(method, level):
    x = np.sin(2 * np.pi * 200 * T[:4000] + 0.3)
    clipped = x.clip(-level, level)
    y = method(clipped, -level, level)
    assert sdr(y, x) > sdr(clipped, x) + 15
    assert (y[x > level] >= level).all()
    assert (y[x < -level] <= -level).all()
    inside = np.abs(x) < level
    np.testing.assert_array_equal(y[inside], x[inside])


def test_cbar_restores_a_cubic_exactly():
    """Its second difference has the least energy between two fixed samples on either side."""
    n = np.arange(-20.0, 21.0)
    x = 1 - 0.002 * n**2 + 2e-5 * n**3
    np.testing.assert_allclose(classical.cbar(x.clip(max=0.9), -1, 0.9), x, atol=1e-9)


@pytest.mark.parametrize("method", [classical.spline, classical.cbar])
@pytest.mark.parametrize("x", [[1.0] * 8, [0.1, 1, 1, -1, -1, 1], [1, 1, 0.2, 0.1, 0.3, -1]])
def test_clipping_at_the_ends_and_without_a_reliable_sample_is_left(method, x):
    y = method(np.array(x, float), -1.0, 1.0)
    assert np.isfinite(y).all()
    assert (np.abs(y[np.abs(x) == 1]) >= 1).all()


def test_the_level_of_clipping_gives_the_input_sdr():
    x = utterance(1.0, RATE, 0)
    for ratio in (3, 10, 20):
        high = bench.clipping_level(x, ratio)
        assert bench.sdr(x.clamp(-high, high), x) == pytest.approx(ratio, abs=1e-3)


def test_gaps_lie_in_speech_one_in_a_second_and_follow_the_seed():
    speech = np.zeros(5 * RATE, np.float32)
    for second in (0, 1, 3, 4):
        start = second * RATE + RATE // 4
        speech[start : start + RATE // 2] = utterance(0.5, RATE, second)[0, : RATE // 2]
    placed = [
        bench.place_gaps(speech, RATE, 0.1, np.random.default_rng(seed)) for seed in (0, 0, 1)
    ]
    assert placed[0] == placed[1] != placed[2]
    assert [start // RATE for start, _ in placed[0]] == [0, 1, 3, 4]
    loud = np.mean(speech[speech != 0] ** 2)
    for start, stop in placed[0]:
        assert stop - start == 1600
        assert np.mean(speech[start:stop] ** 2) > 0.05 * loud


def test_the_interval_of_a_mean_has_its_width():
    values = list(np.random.default_rng(0).normal(3, 1, 400))
    mean, low, _, high = bench.cell(values, 0, 3).replace("(", "").replace(")", "").split()
    assert float(mean) == pytest.approx(np.mean(values), abs=1e-3)
    assert float(high) - float(low) == pytest.approx(2 * 1.96 / 20, rel=0.1)
    assert bench.cell([float("nan")], 0, 1) == "-"


@pytest.fixture
def folder(tmp_path) -> Path:
    for number in range(3):
        sound = utterance(2.0, RATE, number)[0].numpy()
        soundfile.write(tmp_path / f"{number}.wav", sound, RATE)
    return tmp_path


def table(capsys) -> list[list[str]]:
    """The cells of all rows, without the seconds of computing."""
    lines = capsys.readouterr().out.splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    return [row[:-2] + row[-1:] for row in cells]


def test_the_same_recordings_are_damaged_in_the_same_way_each_time(folder, capsys, monkeypatch):
    pytest.importorskip("pesq")
    monkeypatch.setattr(bench, "GAPS", (100,))
    monkeypatch.setattr(bench, "INPUT_SDR", (6,))
    words = [f"{folder}", "--no-generator", "--every", "2"]
    assert run(bench.main, [*words, "--save", f"{folder}/out"]) == 0
    rows = table(capsys)
    assert [row[:2] for row in rows] == [
        ["gap", "method"],
        ["100 ms", "silence"],
        ["100 ms", "linear prediction"],
        ["sampled at", "method"],
        ["8 kHz", "resampling"],
        ["8 kHz", "band replication"],
        ["input SDR", "method"],
        ["6 dB", "clipped"],
        ["6 dB", "cubic spline"],
        ["6 dB", "CBAR"],
    ]
    assert {row[-1] for row in rows} == {"files", "2"}
    assert len(list((folder / "out").glob("*.wav"))) == 8
    clipped, _ = soundfile.read(folder / "out/declip-6_dB-clipped.wav")
    original, _ = soundfile.read(folder / "out/original.wav")
    assert sdr(clipped, original) == pytest.approx(6, abs=1e-3)
    for file in (folder / "out").glob("*.wav"):
        file.unlink()
    assert run(bench.main, [*words, "--tasks", "inpaint"]) == 0
    assert table(capsys) == rows[:3]


def test_a_generator_is_given_the_degraded_recording(folder, capsys, monkeypatch):
    """One that returns its input is as good as none."""
    pytest.importorskip("pesq")
    monkeypatch.setattr(bench, "GAPS", (100,))
    monkeypatch.setattr(bench, "INPUT_SDR", (6,))
    generator = SimpleNamespace(sample_rate=RATE)
    monkeypatch.setattr(
        bench, "posterior_of", lambda *_, **options: SimpleNamespace(generator=generator, **options)
    )

    def extend(posterior, blocks, rate, new_rate, levels):
        yield from (resample(block, rate, new_rate) for block in blocks)

    monkeypatch.setattr(bench, "inpaint", lambda posterior, audio, *_: audio)
    monkeypatch.setattr(bench, "declip", lambda posterior, audio, *_: audio)
    monkeypatch.setattr(bench, "extend", extend)
    assert run(bench.main, [f"{folder}", "--checkpoint", "any", "--files", "1"]) == 0
    rows = {(row[0], row[1]): row[2:] for row in table(capsys)}
    for condition, degraded in (
        ("100 ms", "silence"),
        ("8 kHz", "resampling"),
        ("6 dB", "clipped"),
    ):
        assert rows[condition, "generator"] == rows[condition, degraded]


@pytest.mark.slow
def test_a_figure_of_the_first_recording_is_drawn(folder):
    pytest.importorskip("pesq")
    words = [f"{folder}", "--no-generator", "--files", "1", "--plot", f"{folder}/plot.png"]
    assert run(bench.main, words) == 0
    assert (folder / "plot.png").stat().st_size > 10_000


def test_a_recording_without_a_high_band_cannot_be_extended(tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", utterance(1.0, 8000, 0)[0].numpy(), 8000)
    assert run(bench.main, [f"{tmp_path}", "--no-generator"]) == 2
    assert "nothing lies above 8000 Hz" in capsys.readouterr().err
