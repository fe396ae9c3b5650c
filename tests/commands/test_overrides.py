"""Overrides of `wavediff train` that cannot be: one sentence, exit code 2, no run folder."""

from pathlib import Path

import pytest

from wavediff.cli import run
from wavediff.commands.train import main

SMALL = ["recipe=tiny", "run_dir=run", "trainer.progress=false", "trainer.max_steps=1"]


QUICK = [
    ("seed=-1", "seed=-1 is no seed"),
    ("seed=abc", "seed=abc is no seed"),
    ("~seed", "lacks seed"),
    ("~data", "lacks data"),
    ("data=3", "data"),
    ("sampler=0", "sampler"),
    ("name=[a]", "name=['a'] is not a name"),
    ("trainer.device=xpu:99", "trainer.device=xpu:99 is not supported"),
    ("trainer.threads=2147483648", "trainer.threads"),
    ("optimizer.lr=abc", "lr"),
    ("network._target_=os.system", "not part of wavediff"),
    ("data._target_=os.nothing", "data._target_=os.nothing is not a function"),
    ("~data._target_", "_target_"),
    ("data.root='~nobody-of-that-name/x'", "no such user"),
    ("name=${oops}", "oops"),
    ("sampler.times=3", "sampler"),
    ("task.crop_frames=abc", "crop_frames"),
    ("mel.n_mels=1000000", "n_mels"),
    ("network.kernel_size=1000000", "kernel_size must be 1 to 1023"),
    ("run_dir=''", "run_dir"),
]
MORE = [
    ("seed=[1,2]", "seed=[1, 2] is no seed"),
    ("seed=99999999999999999999", "is no seed"),
    ("seed=1.5", "seed=1.5 is no seed"),
    ("~name", "lacks name"),
    ("~task", "lacks task"),
    ("~optimizer", "lacks optimizer"),
    ("~trainer", "trainer"),
    ("~init_from", "init_from"),
    ("~network", "lacks network"),
    ("~schedule", "lacks schedule"),
    ("network=[1]", "network"),
    ("objective=null", "objective"),
    ("network={a: 1}", "network"),
    ("init_from=3", "init_from=3 is not a model"),
    ("teacher=[a]", "teacher=['a'] is not a model"),
    ("optimizer.lr=-1", "lr"),
    ("optimizer.lr=nan", "lr"),
    ("optimizer.lr=[1]", "lr"),
    ("optimizer.betas=3", "optimizer"),
    ("optimizer.betas=[a,b]", "optimizer"),
    ("optimizer._target_=[1]", "is not an optimizer"),
    ("network._target_=3", "not part of wavediff"),
    ("data.root=[1]", "[1] is not the path"),
    ("data.workers=abc", "workers"),
    ("data.split=abc", "split"),
    ("prediction=[1]", "prediction"),
    ("prediction={name: 3}", "there is no prediction"),
    ("schedule.beta_max=abc", "schedule"),
    ("task.crop_frames=0", "crop_frames"),
    ("network.width=abc", "network"),
    ("network.width=-1", "network"),
    ("mel.hop_length=0", "hop_length"),
    ("run_dir=[1]", "run_dir"),
    ("trainer.device=meta", "trainer.device=meta is not supported"),
    ("trainer.device=tpu", "trainer.device=tpu is not a device"),
    ("trainer.max_steps=abc", "trainer.max_steps=abc is invalid"),
    ("optimizer._target_=os.system", "os.system is not an optimizer"),
    ("data._target_=3", "data._target_=3 is not a function"),
    ("data._target_=json", "data._target_=json is not a function"),
    ("name=${oc.env:NOTHING_OF_THAT_NAME}", "NOTHING_OF_THAT_NAME"),
]


@pytest.mark.parametrize(
    ("override", "words"),
    [*QUICK, *(pytest.param(*more, marks=pytest.mark.slow) for more in MORE)],
)
def test_one_sentence(tmp_path: Path, monkeypatch, capsys, override, words):
    monkeypatch.chdir(tmp_path)
    assert run(main, [*SMALL, override]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    errors = [line for line in lines if not line.startswith("train: ")]
    assert len(errors) == 1, lines
    assert errors[0].startswith("error: ")
    assert words in errors[0]
    assert not list(tmp_path.rglob("*.pt"))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"path": ' * 100_000,
        '{"path": "\\ud800.wav"}',
        '{"path": "~nobody-of-that-name/a.wav"}',
        '{"path": ["a.wav"]}',
        '{"path": "a\\u0000b.wav"}',
        '{"path": "' + "x" * 5000 + '.wav"}',
        "[1, 2]",
        "NaN",
    ],
    ids=["deep list", "deep dict", "surrogate", "user", "list", "NUL", "long", "numbers", "NaN"],
)
def test_manifests(tmp_path: Path, monkeypatch, capsys, text):
    monkeypatch.chdir(tmp_path)
    Path("files.jsonl").write_text(text)
    words = ["recipe=folder", "data.root=files.jsonl", "run_dir=run", "data.workers=0"]
    assert run(main, words) == 2
    error = capsys.readouterr().err
    assert any(word in error for word in ("files.jsonl", ".wav", "no such user", "x" * 50)), error
    assert len(error) < 8000
    assert "Traceback" not in error
