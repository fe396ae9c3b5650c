import csv
import importlib.util
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from wavediff.cli import run
from wavediff.diffusion import preconditioning, times
from wavediff.diffusion.ddim import DDIM
from wavediff.diffusion.heun import Heun
from wavediff.diffusion.schedule import RectifiedFlow
from wavediff.files import conf_folder

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))
spec = importlib.util.spec_from_file_location("compare", ROOT / "tools" / "compare.py")
compare = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compare)


def arguments(tmp_path: Path, *words: str) -> list[str]:
    places = [f"--out={tmp_path}/out", f"--data={tmp_path}/data", f"--results={tmp_path}/page"]
    return [*words, *places, "--samples=20", "data.count=120"]


def test_every_method_can_be_trained_and_comes_after_those_it_needs(tmp_path: Path):
    listed = OmegaConf.load(compare.LIST)
    assert listed.keys() == compare.METHODS.keys()
    args = compare._parse(arguments(tmp_path))
    with initialize_config_dir(str(conf_folder()), version_base=None):
        for name in listed:
            config = compose("train", compare._overrides(compare.Run(name), args))
            assert config.name == f"comparison_{name}"
            assert config.trainer.decay == "cosine"
    assert compare._methods("consistency") == ["edm", "consistency"]
    for method in compare.METHODS.values():
        assert {name for _, name in method.needs} <= set(compare.METHODS)


@pytest.mark.parametrize(
    ("function", "budgets"),
    [(DDIM, {1: 1, 2: 2, 4: 4, 8: 8}), (Heun, {1: 1, 4: 3, 8: 7})],
)
def test_a_budget_holds_every_call_of_the_network(function, budgets):
    sampler = function(times.uniform(5))
    denoiser = SimpleNamespace(schedule=RectifiedFlow(), prediction=preconditioning.velocity)
    task = SimpleNamespace(denoiser=denoiser, sampler=sampler)
    calls = [calls for _, _, calls in compare._plan("consistency", task)]
    assert calls == list(budgets.values())


def measured(folder: Path, name: str, sampler: str, points: dict[int, float]) -> None:
    rows = [
        {"method": name.partition("-")[0], "sampler": sampler, "calls": calls, "frechet": value,
         "density": 1 / calls, "coverage": calls / 40, "sampling_seconds": 1.0}
        for calls, value in points.items()
    ]  # fmt: skip
    facts = {"made_with": {"samples": 20, "seed": 0, "step": 5}, "parameters": 1_000_000}
    facts |= {"training_seconds": 7, "steps": 5, "rows": rows}
    (folder / name).mkdir(parents=True)
    (folder / name / "model.safetensors").touch()
    (folder / name / "frechet.json").write_text(json.dumps(facts))


def test_the_page_has_what_was_measured(tmp_path: Path):
    measured(tmp_path / "out", "edm", "Heun", {1: 50.0, 7: 9.0, 35: 4.0})
    measured(tmp_path / "out", "consistency", "Renoise", {1: 5.0, 2: 4.4})
    args = compare._parse(arguments(tmp_path, "--methods=consistency"))
    found = {one: compare._read(args, one) for one in args.runs}
    notes = compare._held_out(args)
    compare.write_results(args.results, found, notes, args.samples, "as typed")
    page = (tmp_path / "page" / "RESULTS.md").read_text()
    assert "| method | sampler | 1 | 2 | 4 | 8 | 18 | 35 | 100 | training |" in page
    assert "| EDM | Heun | 50 |  |  | 9 |  | 4 |  | 7 s |" in page
    assert (
        "1.25 times the distance of its teacher (35 calls), and with two calls 1.10 times" in page
    )
    assert "as typed" in page
    assert "| EDM | Heun | 35 | 0.03 | 0.88 |" in page
    assert compare._changed(args) == {"samples": 20, "methods": "edm,consistency"}
    assert (tmp_path / "page" / "comparison.png").stat().st_size > 10_000
    rows = list(csv.DictReader((tmp_path / "page" / "comparison.csv").open()))
    assert [float(row["frechet"]) for row in rows] == [50, 9, 4, 5, 4.4]
    # another number of samples, or a model trained since, is measured anew
    assert compare._read(compare._parse([f"--out={tmp_path}/out"]), compare.Run("edm")) is None
    os.utime(tmp_path / "out" / "edm" / "model.safetensors", (2e9, 2e9))
    assert compare._read(args, compare.Run("edm")) is None


def test_seeds_and_shares_are_runs_of_their_own(tmp_path: Path):
    args = compare._parse([*arguments(tmp_path, "--methods=vae,gan"), "--seeds=2", "--shares=0.25"])
    assert [one.name for one in args.runs] == ["vae", "gan", "gan-seed1", "gan-share0.25"]
    assert [compare.Run.parse(one.name) for one in args.runs] == args.runs
    _, _, seed, share = (compare._overrides(one, args) for one in args.runs)
    assert "seed=1" in seed
    assert "seed=0" in share
    assert share[-1] == "data.count=30"
    for number, one in enumerate(args.runs):
        measured(tmp_path / "out", one.name, "DDIM", {1: 10.0 + number})
    found = {one: compare._read(args, one) for one in args.runs}
    notes = compare.Notes((5, 5), 1.0, 1.0, 1.0)
    compare.write_results(args.results, found, notes, args.samples, "as typed")
    page = (tmp_path / "page" / "RESULTS.md").read_text()
    assert "| GAN, no diffusion | seed 1 | 12 | 1.00 | 0.03 |" in page
    assert "| GAN, no diffusion | 25 % | 13 | 1.00 | 0.03 |" in page
    assert "VAE, no diffusion | seed" not in page


def test_a_method_that_does_not_exist_is_told(capsys):
    with pytest.raises(SystemExit):
        compare.main(["--methods", "boltzmann"])
    assert "choose from ddpm, ncsn" in capsys.readouterr().err


@pytest.mark.slow
def test_one_command_trains_measures_and_goes_on(tmp_path: Path, capsys):
    few = ["trainer.max_steps=2", "trainer.batch_size=2"]
    words = [*arguments(tmp_path, "--methods=consistency,latent"), *few]
    assert run(compare.main, words) == 0
    page = tmp_path / "page" / "RESULTS.md"
    assert capsys.readouterr().out == f"{page}\n"
    assert "| consistency, distilled | Renoise |" in page.read_text()
    assert "| latent EDM | Heun |" in page.read_text()
    measured_at = (tmp_path / "out" / "edm" / "frechet.json").stat().st_mtime_ns
    assert run(compare.main, words) == 0
    assert (tmp_path / "out" / "edm" / "frechet.json").stat().st_mtime_ns == measured_at
