"""Models as ONNX files: what onnxruntime computes is what torch does."""

import importlib.util
import json
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from toys import read_group, tiny_config, tiny_live_config, with_random_weights

from wavediff.cli import run
from wavediff.commands import enhance, export
from wavediff.tasks.enhancer import Enhancer
from wavediff.tasks.vocoder import Vocoder

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

EXAMPLE = Path(__file__).parents[2] / "examples" / "live_onnx.py"
RATE, HOP = 4000, 16


def saved(config: dict, path: Path) -> Path:
    with_random_weights(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def live(tmp_path_factory) -> Path:
    return saved(tiny_live_config(), tmp_path_factory.mktemp("live") / "model.safetensors")


@pytest.fixture(scope="module")
def live_onnx(live) -> Path:
    target = live.with_name("live.onnx")
    assert run(export.main, [str(live), "-o", str(target)]) == 0
    return target


def session(path: Path) -> tuple[onnxruntime.InferenceSession, dict]:
    opened = onnxruntime.InferenceSession(str(path))
    return opened, json.loads(opened.get_modelmeta().custom_metadata_map["wavediff"])


def noisy(path: Path, samples: int = 1003) -> np.ndarray:
    audio = 0.03 * np.random.default_rng(0).standard_normal(samples)
    soundfile.write(path, audio, RATE, subtype="PCM_16")
    return soundfile.read(path)[0]


def test_the_step_of_a_live_model_says_what_it_needs(live_onnx):
    opened, info = session(live_onnx)
    assert (info["kind"], info["sample_rate"], info["latency"]) == ("live_step", RATE, 2 * HOP)
    assert [i.name for i in opened.get_inputs()] == ["spectrum", *info["state"]]
    product = np.array(info["window"])[-2 * HOP :] * np.array(info["synthesis_window"])
    np.testing.assert_allclose(product[:HOP] + product[HOP:], 1)


def test_the_example_cleans_a_recording_as_torch_does(live, live_onnx, tmp_path):
    audio = noisy(tmp_path / "noisy.wav")
    spec = importlib.util.spec_from_file_location("live_onnx", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.main(str(live_onnx), str(tmp_path / "noisy.wav"), str(tmp_path / "clean.wav"))
    expected = Enhancer.from_pretrained(live)(audio, RATE)
    with wave.open(str(tmp_path / "clean.wav")) as file:
        assert file.getnframes() == len(audio)
    found, _ = soundfile.read(tmp_path / "clean.wav")
    np.testing.assert_allclose(found, np.clip(expected, -1, 1), atol=1e-4)
    lines = EXAMPLE.read_text().splitlines()
    assert len(lines) < 80
    assert "wavediff" not in "".join(line for line in lines if "import" in line)


@pytest.mark.parametrize("causal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_enhance_computes_the_same_with_onnxruntime(live, causal, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = live
    if not causal:
        config = tiny_config("stft") | {"prediction": "x0"}
        config["task"] = read_group("task", "enhancer")
        config["schedule"] = read_group("schedule", "bridge")
        config["sampler"] = read_group("sampler", "bridge")
        model = saved(config, tmp_path / "model.safetensors")
    for samples in (2 * RATE + 7, 2 * RATE, 60, 1):  # any last block, and shorter than a window
        noisy(tmp_path / "noisy.wav", samples)
        outputs = []
        for backend in ("torch", "onnx"):
            target = tmp_path / f"{samples}-{backend}.wav"
            arguments = [tmp_path / "noisy.wav", "-o", target, "--checkpoint", model]
            assert run(enhance.main, [*map(str, arguments), "--backend", backend]) == 0
            outputs.append(soundfile.read(target)[0])
        np.testing.assert_allclose(outputs[1], outputs[0], atol=1e-4)
        assert samples < RATE or np.abs(outputs[0]).max() > 3e-4
    assert len(list((tmp_path / "cache").rglob("*.onnx"))) == 1  # exported once


def test_a_damaged_export_in_the_cache_is_made_anew(live, live_onnx, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    enhancer = Enhancer.from_pretrained(live)

    def made(_, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(live_onnx.read_bytes())

    monkeypatch.setattr("wavediff.tasks.onnx_export.export", made)
    enhancer.stream(RATE, backend="onnx")
    (file,) = tmp_path.rglob("*.onnx")
    whole = file.read_bytes()
    file.write_bytes(whole[:1000])
    enhancer.stream(RATE, backend="onnx")
    assert file.read_bytes() == whole


def test_the_network_of_a_vocoder(tmp_path):
    model = saved(tiny_config("whitened"), tmp_path / "model.safetensors")
    assert run(export.main, [str(model), "-o", str(tmp_path / "network.onnx")]) == 0
    opened, info = session(tmp_path / "network.onnx")
    vocoder = Vocoder.from_pretrained(model)
    assert info["mel"]["n_mels"] == vocoder.mel.n_mels
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, info["channels"], 33 * info["frames_per_mel_frame"], generator=generator)
    mel, t = torch.randn(1, vocoder.mel.n_mels, 33, generator=generator), torch.tensor([0.4])
    from wavediff.diffusion.condition import Condition

    with torch.no_grad():
        expected = vocoder.network(x, t, Condition(local=mel)).numpy()
    given = {"x": x.numpy(), "c_noise": t.numpy(), "mel": mel.numpy()}
    np.testing.assert_allclose(opened.run(None, given)[0], expected, atol=1e-4)


def test_what_cannot_be_is_one_sentence(live, tmp_path, capsys):
    there = tmp_path / "there.onnx"
    there.write_bytes(b"1")
    config = dict(Enhancer.from_pretrained(live).config)
    config["sampler"] = {**config["sampler"], "times": {**config["sampler"]["times"], "steps": 3}}
    many = saved(config, tmp_path / "many.safetensors")
    for arguments, words in (
        ([live, "-o", tmp_path / "x.bin"], "let it end in .onnx"),
        ([live, "-o", there], "--overwrite"),
        ([tmp_path / "none", "-o", tmp_path / "x.onnx"], "there is no checkpoint"),
        ([many, "-o", tmp_path / "x.onnx"], "this one takes 3"),
        (["forecaster", "-o", tmp_path / "x.onnx"], "cannot be exported"),
    ):
        assert run(export.main, list(map(str, arguments))) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "x.onnx").exists()
