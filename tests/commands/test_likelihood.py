"""`wavediff likelihood` as a user types it."""

import csv
import json
import math

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import OmegaConf

from wavediff import cli
from wavediff.commands.likelihood import main
from wavediff.files import conf_folder
from wavediff.tasks.build import build_task
from wavediff.tasks.checkpoint import save_task

RATE = 4000


def group(name, choice):
    return OmegaConf.to_container(OmegaConf.load(conf_folder() / name / f"{choice}.yaml"))


def save(folder, spread=0.0, task=None, **changes):
    """A generator whose network says 0, or a random one."""
    config = {
        "task": group("task", "generator") | {"sample_rate": RATE} | (task or {}),
        "representation": group("representation", "waveform"),
        "network": group("network", "diffwave") | {"width": 8, "layers": 2, "dilation_cycle": 2},
        "schedule": group("schedule", "vp"),
        "prediction": "v",
        "objective": group("objective", "denoising"),
        "sampler": group("sampler", "ddim"),
    } | changes
    torch.manual_seed(0)
    model = build_task(config)
    if spread:
        torch.nn.init.normal_(model.network.output_projection.weight, std=spread)
    else:
        torch.nn.init.zeros_(model.network.output_projection.weight)
        torch.nn.init.zeros_(model.network.output_projection.bias)
    save_task(folder / "model.safetensors", model.config, model.network.state_dict(), {})
    return folder


@pytest.fixture
def audio(tmp_path):
    folder = tmp_path / "audio"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(2):
        soundfile.write(folder / f"{k}.wav", 0.1 * rng.standard_normal(40 + 20 * k), RATE)
    return folder


def command(*arguments):
    return cli.run(main, [str(word) for word in arguments])


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_the_density_of_a_standard_normal_model(tmp_path, audio, scale, capsys):
    # v = 0 says x0_hat = alpha x: the optimal denoiser of N(0, 1) on a variance-preserving path
    model = save(tmp_path, task={"scale": scale})
    table, record = tmp_path / "t.csv", tmp_path / "t.json"
    code = command(
        "--checkpoint", model, audio, "--steps", 12, "--probes", 2, "--csv", table, "--json", record
    )
    out = capsys.readouterr().out.splitlines()
    assert code == 0
    rows = list(csv.DictReader(table.read_text().splitlines()))
    expected = []
    for k, row in enumerate(rows):
        samples, _ = soundfile.read(audio / f"{k}.wav")
        d = len(samples)
        nats = d * (math.log(2 * math.pi) / 2 - math.log(scale)) + scale**2 * (samples**2).sum() / 2
        expected.append(nats)
        assert row["file"] == str(audio / f"{k}.wav")
        assert float(row["nats"]) == pytest.approx(nats, rel=1e-4)
        assert float(row["nats_per_dimension"]) == pytest.approx(nats / d, rel=1e-4)
        assert float(row["bits_per_dimension"]) == pytest.approx(nats / d / math.log(2), rel=1e-4)
        assert float(row["error"]) < 1e-3  # a diagonal Jacobian
        assert int(row["dimensions"]) == d
    told = json.loads(record.read_text())
    assert told["mean"]["nats"] == pytest.approx(sum(expected) / 2, rel=1e-4)
    assert [entry["file"] for entry in told["files"]] == [row["file"] for row in rows]
    assert out[0].split() == ["file", "nats", "error", "nats/dim", "bits/dim"]
    assert float(out[-1].split()[1]) == pytest.approx(sum(expected) / 2, rel=1e-3)


def test_the_seed_gives_the_probes_and_their_error(tmp_path, audio, capsys):
    model = save(tmp_path, spread=0.5)

    def nats(*options):
        record = tmp_path / "t.json"
        assert command("--checkpoint", model, audio / "0.wav", "--steps", 3, "--json", record,
                       *options) == 0  # fmt: skip
        return json.loads(record.read_text())["files"][0]

    first = nats("--probes", 3)
    assert nats("--probes", 3) == first
    assert nats("--probes", 3, "--seed", 1)["nats"] != first["nats"]
    assert first["error"] > 0
    assert nats("--probes", 1)["error"] is None


def test_a_bad_file_does_not_stop_the_others(tmp_path, audio, capsys):
    (audio / "broken.wav").write_bytes(b"no audio")
    assert command("--checkpoint", save(tmp_path), audio, "--steps", 2, "--probes", 1) == 2
    out, err = capsys.readouterr()
    assert "1.wav" in out
    assert "failed:" in err
    assert "broken.wav" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--t-min", "2"], "t_min < t_max"),
        (["--class", "3"], "one voice and no labels"),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path, audio, capsys, options, message):
    code = command("--checkpoint", save(tmp_path), audio / "0.wav", "--steps", 2, *options)
    err = capsys.readouterr().err
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_other_tasks_are_refused(audio, capsys):
    assert command("--checkpoint", "enhancer-16k", audio) == 2
    assert "is not a generator" in capsys.readouterr().err
