import importlib.util
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from wavediff.cli import run
from wavediff.representations.mel import mel_front_end

SCRIPT = Path(__file__).parents[2] / "tools" / "griffin_lim.py"
spec = importlib.util.spec_from_file_location("griffin_lim", SCRIPT)
griffin_lim = importlib.util.module_from_spec(spec)
spec.loader.exec_module(griffin_lim)


@pytest.mark.parametrize("inverse", ["nnls", "pinv", "projection"])
@pytest.mark.parametrize("name", ["tacotron", "lmnt", "hifigan"])  # hifigan's is not centred
def test_the_reconstruction_has_the_mel_that_it_was_made_from(name, inverse, tmp_path):
    front_end = mel_front_end(name)
    rate = front_end.sample_rate
    t = np.arange(rate // 4) / rate
    audio = 0.1 * sum(np.sin(2 * np.pi * 220 * k * t) for k in range(1, 6)) * (1 + t)
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in/a.flac", audio, rate)
    argv = [f"{tmp_path}/in", "-o", f"{tmp_path}/out", "--front-end", name, "--iterations=8"]
    assert run(griffin_lim.main, [*argv, "--inverse", inverse]) == 0
    result, result_rate = soundfile.read(tmp_path / "out/a.wav")
    assert result_rate == rate
    assert result.shape == audio.shape
    bands = [
        front_end.band_magnitude(front_end(torch.from_numpy(x)[None]))[..., 3:-3]
        for x in (audio, result)
    ]  # without the frames at the ends, which saw reflections of the audio
    error = torch.linalg.vector_norm(bands[1] - bands[0]) / torch.linalg.vector_norm(bands[0])
    assert error < 0.25


def test_nnls_explains_the_mel_better_than_the_pseudo_inverse():
    front_end = mel_front_end("tacotron")
    noise = 0.1 * np.random.default_rng(0).standard_normal(5000)
    linear = front_end.band_magnitude(front_end(torch.from_numpy(noise)[None]))[0].numpy()
    residual = {}
    for inverse in ("nnls", "pinv"):
        spectrum = griffin_lim.invert_filters(linear, front_end, inverse)
        assert spectrum.min() >= 0
        residual[inverse] = np.linalg.norm(front_end.filters.numpy() @ spectrum - linear)
    assert residual["nnls"] < 0.01 * residual["pinv"]


def test_a_bad_file_is_named_and_the_rest_is_done(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/bad.wav").write_text("no audio")
    soundfile.write(tmp_path / "in/good.wav", 0.1 * np.ones(3000), 22050)
    assert run(griffin_lim.main, [f"{tmp_path}/in", "-o", f"{tmp_path}/out"]) == 2
    assert "bad.wav" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.wav"]
