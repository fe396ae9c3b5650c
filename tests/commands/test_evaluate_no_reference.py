"""`wavediff evaluate --no-reference`, with ONNX models that are made here."""

import csv
import json
import sys

import numpy as np
import pytest
import soundfile

from wavediff.cli import run
from wavediff.commands.evaluate import main
from wavediff.evaluation.no_reference import NO_REFERENCE
from wavediff.evaluation.onnx_metric import DNSMOS, DNSMOS_LENGTH

RATE = 16000


def evaluate(*options, jobs=1):
    return run(main, ["--no-reference", f"--jobs={jobs}", *map(str, options)])


def write(path, audio, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.asarray(audio).T, rate, subtype="FLOAT")


def speech(rms, floor, rate=RATE, seed=0):
    """Three seconds: bursts of noise of a second each above continuous noise."""
    rng = np.random.default_rng(seed)
    on = np.arange(3 * rate) / rate % 1.5 < 1
    return rms * on * rng.standard_normal(len(on)) + floor * rng.standard_normal(len(on))


@pytest.fixture
def folder(tmp_path):
    """Speech of -20, -30 and -40 dBFS, over noise of -50, -60 and -70, in three formats."""
    for name, k, rate in (("a", 0, 16000), ("b", 1, 48000), ("sub/c", 2, 8000)):
        audio = 10 ** (-k / 2) * speech(0.1, 10**-2.5, rate)
        write(tmp_path / f"in/{name}.wav", [audio, -audio] if k else audio, rate)
    return tmp_path


def numbers(line):
    return [float(word) for word in line.split() if word not in ("-", "to")]


def test_table_csv_json_and_groups(folder, capsys):
    (folder / "set.csv").write_text("name,place\na,indoor\nb.wav,outdoor\nsub/c,outdoor\n")
    files = [f"--csv={folder}/f.csv", f"--json={folder}/all.json"]
    manifest = [f"--manifest={folder}/set.csv", "--by=place"]
    assert evaluate("--estimate", folder / "in", "--per-file", *files, *manifest) == 0
    out, err = capsys.readouterr()
    assert "undefined" not in err
    lines = out.splitlines()
    labels = [metric.label for metric in NO_REFERENCE.values()]
    assert all(label in lines[0] for label in labels)
    assert [line.split()[0] for line in lines[1:4]] == ["a", "b", "sub/c"]
    level = next(line for line in lines[-8:] if line.startswith("speech level (dBFS)"))
    assert level.split()[3] == "-"  # neither higher nor lower is better
    # mean -30, s = 10, t(0.975, 2) = 4.3027
    half = 4.3027 * 10 / 3**0.5
    words = numbers(level.partition(" - ")[2])
    mean = -30 + 10 * np.log10(1 / 1.3)  # the hangover and decay of P.56 count as active
    assert words == pytest.approx([mean, mean - half, mean + half, 3], abs=0.3)
    assert next(line for line in lines[-8:] if "WADA" in line).split()[2] == "higher"
    outdoor = next(x for x in lines if x.startswith("speech level (dBFS)  outdoor"))
    assert numbers(outdoor.partition("outdoor")[2]) == pytest.approx([mean - 5, 2], abs=0.3)

    rows = list(csv.DictReader((folder / "f.csv").read_text().splitlines()))
    assert [row["sample_rate"] for row in rows] == ["16000", "48000", "8000"]
    assert [row["place"] for row in rows] == ["indoor", "outdoor", "outdoor"]
    assert [float(row["noise_floor"]) for row in rows] == pytest.approx([-50, -60, -70], abs=0.3)
    assert [float(row["bandwidth"]) for row in rows] == [8000, 24000, 4000]
    result = json.loads((folder / "all.json").read_text())
    assert "reference" not in result
    assert result["measures"]["noise_floor"]["mean"] == pytest.approx(-60, abs=0.3)
    assert result["measures"]["speech_level"]["higher_is_better"] is None
    assert result["breakdown"]["place"]["outdoor"]["noise_floor"]["n"] == 2
    assert result["files"][1]["seconds"] == 3
    assert set(result["files"][0]["values"]) == set(NO_REFERENCE)


def test_one_file_and_chosen_metrics(folder, capsys):
    assert evaluate("--estimate", folder / "in/b.wav", "--metrics=noise_floor") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert numbers(lines[1].partition("lower")[2]) == pytest.approx([-60, 1], abs=0.3)


def test_the_noisy_input_beside_the_estimate(folder, capsys):
    for path in (folder / "in").rglob("*.wav"):
        audio, rate = soundfile.read(path, always_2d=True)
        noise = 0.02 * np.random.default_rng(1).standard_normal(audio.shape)
        write(folder / "noisy" / path.relative_to(folder / "in"), (audio + noise).T, rate)
    options = ["--noisy", folder / "noisy", f"--json={folder}/all.json"]
    assert (
        evaluate("--estimate", folder / "in", *options, "--metrics=speech_level,noise_floor") == 0
    )
    level, floor = (line.split() for line in capsys.readouterr().out.splitlines()[1:])
    assert level[3] == level[6] == level[7] == "-"  # no improvement where nothing is better
    assert level[-1] == "3"
    assert [float(x) for x in floor[4:7]] == pytest.approx([-34.0, -60, 26.0], abs=0.7)
    record = json.loads((folder / "all.json").read_text())["files"][0]
    assert set(record["improvements"]) == {"noise_floor"}
    assert record["noisy"].endswith("noisy/a.wav")


def test_a_folder_goes_on_past_what_is_bad_short_or_silent(folder, capsys):
    (folder / "in/bad.wav").write_text("no audio")
    write(folder / "in/one.wav", [0.5])
    write(folder / "in/quiet.wav", np.zeros(RATE))
    assert evaluate("--estimate", folder / "in", f"--csv={folder}/f.csv") == 2
    out, err = capsys.readouterr()
    assert "could not be read (1):" in err
    assert "quiet: speech level (dBFS), WADA-SNR (dB), bandwidth (Hz): silent" in err
    assert "one: speech level (dBFS), activity (%), noise floor (dBFS)" in err
    assert "only 1 sample (0.0625 ms), not 100 ms" in err
    assert "3 of 6" in next(line for line in out.splitlines() if line.startswith("speech level"))
    rows = {r["name"]: r for r in csv.DictReader((folder / "f.csv").read_text().splitlines())}
    assert rows["one"]["dc_offset"] == "50.0"
    assert rows["quiet"]["noise_floor"] == "-100.0"
    assert "no audio" not in rows["bad"]["remarks"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--estimate=in", "--reference=in"], "give --estimate alone"),
        (["--estimate=in", "--frechet"], "give --estimate alone"),
        (["--estimate=in", "--metrics=pesq_wb"], "no metric pesq_wb without a reference"),
        (["--estimate=in", "--onnx-metric=utmos.onnx"], "is not NAME=FILE"),
        (["--estimate=in", "--onnx-metric=x=m.onnx@7"], "out of range (1000 to 768000)"),
    ],
)
def test_bad_options(options, message, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit, match="2"):
        evaluate(*options)
    assert message in capsys.readouterr().err


def test_references_are_asked_for_and_models_need_none(folder, capsys):
    for options, message in (
        ([], "--reference is missing: give it, or --no-reference"),
        ([f"--reference={folder}/in", "--onnx-metric=a=b"], "give --no-reference"),
    ):
        with pytest.raises(SystemExit, match="2"):
            run(main, [f"--estimate={folder}/in", *options])
        assert message in capsys.readouterr().err


# ONNX models


def save(path, shape, nodes, outputs, dtype="FLOAT", extra=(), metadata=None):
    """Write a model of one input ``x``."""
    onnx = pytest.importorskip("onnx")
    kind = getattr(onnx.TensorProto, dtype)
    helper = onnx.helper
    inputs = [helper.make_tensor_value_info("x", kind, shape), *extra]
    graph = helper.make_graph(
        [helper.make_node(*node[:3], **(node[3] if len(node) > 3 else {})) for node in nodes],
        "metric",
        inputs,
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path


MEAN = ("ReduceMean", ["x"], ["mean"], {"axes": [1], "keepdims": 0})
LARGEST = ("ReduceMax", ["x"], ["largest"], {"axes": [1], "keepdims": 0})
LENGTH = [("Shape", ["x"], ["s"], {"start": 1}), ("Cast", ["s"], ["length"], {"to": 1})]


@pytest.fixture
def ramps(tmp_path):
    """1 s at 16 kHz of 0.1 and of 0.1 and 0.3 in two channels, and 3 s at 8 kHz of 0.5."""
    write(tmp_path / "in/a.wav", np.full(RATE, 0.1))
    write(tmp_path / "in/b.wav", np.outer([0.1, 0.3], np.ones(RATE)))
    write(tmp_path / "in/c.wav", np.full(24000, 0.5), 8000)
    return tmp_path


def scores(folder, *models, jobs=1):
    options = [option for model in models for option in ("--onnx-metric", model)]
    options += ["--metrics=dc_offset", f"--json={folder}/all.json"]
    assert evaluate("--estimate", folder / "in", *options, jobs=jobs) == 0
    files = json.loads((folder / "all.json").read_text())["files"]
    return [{k: v for k, v in f["values"].items() if k != "dc_offset"} for f in files]


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_plain_model_gets_each_channel_at_its_rate(ramps, capsys, jobs):
    dynamic = ["batch", "time"]
    mean = save(ramps / "mean.onnx", dynamic, [MEAN], ["mean"], metadata={"sample_rate": "16000"})
    length = save(ramps / "length.onnx", dynamic, LENGTH, ["length"])
    found = scores(ramps, f"mean={mean}", f"n={length}@8000", jobs=jobs)
    assert [f["mean"] for f in found] == pytest.approx([0.1, 0.2, 0.5], abs=0.01)
    assert [f["n"] for f in found] == [8000, 8000, 24000]
    out, err = capsys.readouterr()
    assert "assumed" not in err
    assert "higher" in next(line for line in out.splitlines() if line.startswith("mean "))


def test_several_numbers_an_assumed_rate_and_double_precision(ramps, capsys):
    path = save(ramps / "two.onnx", [1, None], [MEAN, LARGEST], ["mean", "largest"], "DOUBLE")
    found = scores(ramps, f"two={path}")
    assert set(found[0]) == {"two_1", "two_2"}
    assert found[0]["two_1"] == pytest.approx(0.1)
    assert "two.onnx does not say its sample rate: 16000 Hz is assumed" in capsys.readouterr().err


def dnsmos(path):
    """Raw ratings: 30 means, 20 maxima, and 3 in the place of DNSMOS P.835."""
    nodes = [
        ("ReduceMean", ["x"], ["m"], {"axes": [1]}),
        ("ReduceMax", ["x"], ["h"], {"axes": [1]}),
        ("Constant", [], ["thirty"], {"value_float": 30.0}),
        ("Constant", [], ["twenty"], {"value_float": 20.0}),
        ("Mul", ["m", "thirty"], ["sig"]),
        ("Mul", ["h", "twenty"], ["bak"]),
        ("Sub", ["sig", "sig"], ["none"]),
        ("Constant", [], ["three"], {"value_float": 3.0}),
        ("Add", ["none", "three"], ["ovr"]),
        ("Concat", ["sig", "bak", "ovr"], ["y"], {"axis": 1}),
    ]
    return save(path, [None, DNSMOS_LENGTH], nodes, ["y"])


def test_dnsmos_hops_by_a_second_and_maps_to_its_scale(tmp_path, capsys):
    model = dnsmos(tmp_path / "sig_bak_ovr.onnx")
    audio = np.repeat([0.0, 0.1], [11 * RATE, RATE])  # 12 s: three windows, the last ends at 11.01
    write(tmp_path / "in/long.wav", audio)
    write(tmp_path / "in/short.wav", np.full(4 * RATE, 0.1))  # repeated to 16 s
    write(tmp_path / "in/wide.wav", np.full(10 * 48000, 0.1), 48000)
    long, short, wide = scores(tmp_path, f"dnsmos={model}")
    window_means = np.array([0, 0, 160 * 0.1 / DNSMOS_LENGTH])
    raw = {"sig": 30 * window_means, "bak": np.array([0, 0, 2.0]), "ovr": np.full(3, 3.0)}
    for part, values in raw.items():
        expected = np.polyval(DNSMOS[part], values).mean()
        assert long[f"dnsmos_{part}"] == pytest.approx(expected, abs=1e-5)
        constant = {"sig": 3.0, "bak": 2.0, "ovr": 3.0}[part]
        assert short[f"dnsmos_{part}"] == pytest.approx(
            np.polyval(DNSMOS[part], constant), abs=1e-3
        )
        # resampled, with an overshoot at its ends
        assert wide[f"dnsmos_{part}"] == pytest.approx(short[f"dnsmos_{part}"], abs=0.25)
    assert np.polyval(DNSMOS["ovr"], 3.0) == pytest.approx(2.783454, abs=1e-5)
    assert "assumed" not in capsys.readouterr().err


def mels(folder):
    return save(folder / "m.onnx", [None, 900, 120], [MEAN], ["mean"])


def two_inputs(folder):
    onnx = pytest.importorskip("onnx")
    other = onnx.helper.make_tensor_value_info("judge", 1, [1])
    return save(folder / "m.onnx", [1, None], [MEAN], ["mean"], extra=[other])


def integers(folder):
    nodes = [("ReduceMax", *LARGEST[1:])]
    return save(folder / "m.onnx", [1, None], nodes, ["largest"], "INT32")


def frames(folder):
    return save(folder / "m.onnx", [1, None], [("Neg", ["x"], ["y"])], ["y"])


def picky(folder):
    nodes = [
        ("Constant", [], ["shape"], {"value_ints": [3, 7]}),
        ("Reshape", ["x", "shape"], ["y"]),
    ]
    return save(folder / "m.onnx", [1, None], nodes, ["y"])


def rate_of_no_use(folder):
    return save(folder / "m.onnx", [1, None], [MEAN], ["mean"], metadata={"sample_rate": "fast"})


def no_model(folder):
    (folder / "m.onnx").write_text("weights")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (mels, "its input x has the shape [None, 900, 120]"),
        (two_inputs, "has 2 inputs (x, judge)"),
        (integers, "its input x is a tensor(int32)"),
        (frames, "gives 32000 numbers for a recording"),
        (picky, "the model fails"),
        (rate_of_no_use, "the sample_rate in its metadata is fast"),
        (no_model, "is not a model that onnxruntime reads"),
        (lambda folder: None, "does not exist: give an ONNX model"),
    ],
)
def test_a_model_that_is_not_a_metric_is_one_sentence(make, message, ramps, capfd):
    make(ramps)
    options = ["--onnx-metric", f"m={ramps}/m.onnx", f"--csv={ramps}/f.csv"]
    assert evaluate("--estimate", ramps / "in", *options) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (ramps / "f.csv").exists()


def test_a_name_that_is_taken_and_a_missing_package(ramps, monkeypatch, capsys):
    path = save(ramps / "m.onnx", [1, None], [MEAN], ["mean"])
    assert evaluate("--estimate", ramps / "in", f"--onnx-metric=wada_snr={path}@16000") == 2
    assert "there is a metric wada_snr already" in capsys.readouterr().err
    twice = [f"--onnx-metric=x={path}@16000"] * 2
    assert evaluate("--estimate", ramps / "in", *twice) == 2
    assert "there is a metric x already" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert evaluate("--estimate", ramps / "in", f"--onnx-metric=y={path}@8000") == 2
    assert "pip install 'wavediff[onnx]'" in capsys.readouterr().err


def test_an_infinite_number_is_undefined(ramps, capsys):
    path = save(ramps / "m.onnx", [1, None], [MEAN, ("Log", ["mean"], ["y"])], ["y"])
    write(ramps / "in/d.wav", np.zeros(RATE))
    assert evaluate("--estimate", ramps / "in", f"--onnx-metric=x={path}@16000") == 0
    out, err = capsys.readouterr()
    assert "d: x: the model gives a number that is not finite" in err
    assert next(x for x in out.splitlines() if x.startswith("x ")).endswith("3 of 4")
