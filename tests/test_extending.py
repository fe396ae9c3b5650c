"""What docs/extending.md says to write, written and used."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from wavediff import Vocoder, files
from wavediff.cli import run
from wavediff.commands.info import main as info
from wavediff.commands.train import main as train
from wavediff.commands.vocode import main as vocode
from wavediff.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
SMALL = [
    "data.count=2",
    "data.seconds=0.6",
    "task.crop_frames=4",
    "network.width=8",
    "network.layers=2",
    "trainer.batch_size=1",
    "trainer.max_steps=2",
    "trainer.validate_every=0",
    "trainer.progress=false",
]


@pytest.fixture
def extended(tmp_path, monkeypatch) -> Path:
    """wavediff with the page's files in it; the folder of the tests among them."""
    conf = tmp_path / "conf"
    shutil.copytree(files.conf_folder(), conf)
    for place in ("wavediff.commands.train", "wavediff.files"):
        monkeypatch.setattr(f"{place}.conf_folder", lambda: conf)
    for name, text in BLOCKS.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        if name.startswith("wavediff/"):
            module = name.removesuffix(".py").replace("/", ".")
            spec = importlib.util.spec_from_file_location(module, path)
            monkeypatch.setitem(sys.modules, module, importlib.util.module_from_spec(spec))
            spec.loader.exec_module(sys.modules[module])
    return tmp_path


def test_the_page_has_the_files_that_it_speaks_of():
    assert set(BLOCKS) == {
        "wavediff/diffusion/shifted_cosine.py",
        "conf/schedule/shifted_cosine.yaml",
        "tests/diffusion/test_shifted_cosine.py",
        "wavediff/diffusion/midpoint.py",
        "conf/sampler/midpoint.yaml",
        "tests/diffusion/test_midpoint.py",
        "wavediff/tasks/regression.py",
        "conf/task/regression.yaml",
        "conf/recipe/tiny_regression.yaml",
    }
    assert "recipe=tiny schedule=shifted_cosine prediction=v sampler=dpmpp_2m" in PAGE


def test_a_recipe_trains_on_the_schedule_and_vocodes_by_the_sampler(extended, capsys):
    choices = ["recipe=tiny", "schedule=shifted_cosine", "prediction=v", "sampler=dpmpp_2m"]
    places = [f"data.root={extended}/data", f"run_dir={extended}/run"]
    assert run(train, [*choices, *SMALL, *places]) == 0
    audio = next((extended / "data").rglob("*.wav"))
    words = [str(audio), "-o", str(extended / "out.wav"), "--checkpoint", str(extended / "run")]
    assert run(vocode, [*words, "--sampler", "midpoint", "--steps", "2"]) == 0, capsys.readouterr()
    assert (extended / "out.wav").stat().st_size > 1000


def test_the_task_trains_is_shown_and_loads(extended, capsys):
    words = ["recipe=tiny_regression", "network.width=8", "network.layers=2", "data.count=3"]
    words += ["data.seconds=1.2", "trainer.max_steps=2", "trainer.validate_every=2"]
    places = [f"data.root={extended}/data", f"run_dir={extended}/run", "trainer.progress=false"]
    assert run(train, [*words, *places]) == 0, capsys.readouterr()
    assert "SI-SDR" in capsys.readouterr().err
    assert run(info, [str(extended / "run")]) == 0
    assert "Regression" in capsys.readouterr().out
    kind = sys.modules["wavediff.tasks.regression"].Regression
    assert kind.from_pretrained(extended / "run")(torch.zeros(2, 1, 50)).shape == (2, 1, 50)
    with pytest.raises(UserError, match="is not a vocoder but a regression model"):
        Vocoder.from_pretrained(extended / "run")


@pytest.mark.parametrize("name", [name for name in BLOCKS if name.startswith("tests/")])
def test_the_page_s_tests_pass(extended, name, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "diffusion"))
    spec = importlib.util.spec_from_file_location(Path(name).stem, extended / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tests = [getattr(module, word) for word in dir(module) if word.startswith("test_")]
    assert tests
    for test in tests:
        test()


def test_the_page_s_files_are_as_the_rest(extended):
    """By ruff, as the project is."""
    ruff = shutil.which("ruff") or str(Path(sys.executable).parent / "ruff")
    if not Path(ruff).exists():
        pytest.skip("ruff is not installed")
    paths = [str(extended / name) for name in BLOCKS if name.endswith(".py")]
    config = ["--config", str(ROOT / "pyproject.toml")]
    ours = ["--config", "lint.isort.known-first-party = ['wavediff']"]
    for words in (["check", *config, *ours], ["format", "--check", *config]):
        done = subprocess.run([ruff, *words, *paths], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
