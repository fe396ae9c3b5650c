import csv
import importlib.util
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from wavediff.cli import run
from wavediff.data.notes import INSTRUMENTS, MIN_HZ, note, semitone
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
import compare_measure  # noqa: E402
import compare_modes  # noqa: E402


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
            assert bool(config.get("mel")) == compare.METHODS[name].vocoder
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
    calls = [calls for _, _, calls in compare_measure.plan(compare.Run("consistency"), task)]
    assert calls == list(budgets.values())


def measured(args, name: str, sampler: str, points: dict[int, float]) -> None:
    one = compare.Run.parse(name)
    rows = [
        {"method": one.method, "run": name, "sampler": sampler, "calls": calls, "frechet": value,
         "density": 1 / calls, "coverage": calls / 40, "kinds": 0.9, "pitches": 0.5,
         "sampling_seconds": 1.0}
        for calls, value in points.items()
    ]  # fmt: skip
    if compare.METHODS[one.method].vocoder:
        rows = [{"method": one.method, "run": name, "sampler": sampler, "calls": calls,
                 "mr_stft": value, "log_mel_error": value / 10, "sampling_seconds": 1.0}
                for calls, value in points.items()]  # fmt: skip
    made_with = {"samples": args.samples, "seed": args.seed}
    made_with["trained_by"] = compare._overrides(one, args)
    facts = {"made_with": made_with, "parameters": 1_000_000}
    facts |= {"training_seconds": 59, "steps": 5, "rows": rows}
    (args.out / name).mkdir(parents=True)
    (args.out / name / "model.safetensors").touch()
    (args.out / name / "frechet.json").write_text(json.dumps(facts))


def test_the_page_has_what_was_measured(tmp_path: Path, capsys):
    args = compare._parse([*arguments(tmp_path, "--methods=consistency"), "--study="])
    measured(args, "edm", "Heun", {1: 50.0, 7: 9.0, 35: 4.0})
    measured(args, "consistency", "Renoise", {1: 5.0, 2: 4.4})
    compare.write_page(args)
    page = (tmp_path / "page" / "RESULTS.md").read_text()
    assert "| method | sampler | 1 | 2 | 4 | 8 | 18 | 35 |" in page
    assert "| EDM | Heun | 50 |  |  | 9 |  | 4 |" in page
    assert (
        "1.25 times the distance of its teacher (35 calls), and with two calls 1.10 times" in page
    )
    assert "| EDM | 35 | 59 s | 4 | 0.03 | 0.88 | 90% | 50% | 1 |  |  |" in page
    assert "2 core-minutes" in page
    assert compare._changed(args) == {"samples": 20, "methods": "edm,consistency", "study": '""'}
    assert (tmp_path / "page" / "comparison.png").stat().st_size > 10_000
    rows = list(csv.DictReader((tmp_path / "page" / "comparison.csv").open()))
    assert [float(row["frechet"]) for row in rows] == [50, 9, 4, 5, 4.4]
    # another number of samples, other overrides, or a model trained since, is measured anew
    for other in (["--samples=30"], ["optimizer.lr=1"]):
        changed = compare._parse([*arguments(tmp_path), *other])
        assert compare._read(changed, compare.Run("edm")) is None
    words = [*arguments(tmp_path, "--methods=edm", "--list"), "--study="]
    assert compare.main(words) == 0
    assert capsys.readouterr().out == "edm\tdone\n"
    os.utime(tmp_path / "out" / "edm" / "model.safetensors", (2e9, 2e9))
    assert compare._read(args, compare.Run("edm")) is None


def test_seeds_and_shares_are_runs_of_their_own(tmp_path: Path):
    words = ["--methods=latent,gan,vocoder", "--study=latent,gan,vocoder"]
    args = compare._parse([*arguments(tmp_path, *words), "--seeds=2", "--shares=0.25"])
    assert [one.name for one in args.runs] == [
        "vae", "latent", "gan", "vocoder", "vae-seed1", "latent-seed1", "gan-seed1",
        "vocoder-seed1", "vae-share0.25", "latent-share0.25", "gan-share0.25",
    ]  # fmt: skip
    assert [compare.Run.parse(one.name) for one in args.runs] == args.runs
    overrides = {one.name: compare._overrides(one, args) for one in args.runs}
    assert "seed=1" in overrides["gan-seed1"]
    assert "seed=0" in overrides["gan-share0.25"]
    assert overrides["gan-share0.25"][-1] == "data.count=30"
    autoencoder = f"representation.autoencoder={tmp_path}/out/vae-seed1"
    assert autoencoder in overrides["latent-seed1"]
    for number, one in enumerate(args.runs):
        measured(args, one.name, compare.METHODS[one.method].judged[0], {1: 10.0 + number})
    compare.write_page(args)
    page = (tmp_path / "page" / "RESULTS.md").read_text()
    # of seeds 12 and 16, and of a share 20
    gan = "| GAN, no diffusion | 1 | 59 s | 12 | 1.00 | 0.03 | 90% | 50% | 2 | 14 ± 2.83 (16) |"
    assert f"{gan} 0.03 ± 0.00 (0.03) | 20 | 0.03 |" in page
    assert "| GAN, no diffusion | 20 % | 1.33 | 90% | 50% | 1.67 | 50% |" in page
    assert "| diffusion | 1 | 2 | 15.000 ± 2.828 | 1.500 ± 0.283 | 5 | 59 s |" in page


def test_instruments_and_pitches_that_come_out():
    """Two instruments of two pitches each."""

    def found(*sounds: tuple[int, int], asked: list[int] | None = None) -> tuple[float, float]:
        kinds, pitches = torch.tensor(sounds).T
        labels = None if asked is None else torch.tensor(asked)
        return compare_modes.shares(kinds, pitches, (2, 2), labels)

    everything = (0, 0), (0, 1), (1, 0), (1, 1)
    assert found(*everything) == found(*everything, asked=[0, 0, 1, 1]) == (1, 1)
    assert found(*everything, asked=[1, 1, 0, 0]) == (0, 0)
    assert found(*[(0, 0)] * 4) == (0.5, 0.25)  # one sound again and again
    assert found(*[(0, 0)] * 4, (1, 0), (1, 1)) == (1, 0.75)
    assert found(*[(0, 0)] * 8, (1, 0)) == (0.5, 0.5)  # hardly any of the second


def test_instruments_and_pitches_of_notes_are_told_by_their_sound():
    names = list(INSTRUMENTS)
    keys = [(kind, number) for kind in range(len(names)) for number in range(60)]
    audio = torch.cat([note(names[kind], 0.256, 4000, (0, kind, i)) for kind, i in keys])
    kinds = torch.tensor([kind for kind, _ in keys])
    pitches = torch.tensor([semitone(names[kind], i) for kind, i in keys])
    even = torch.arange(len(keys)) % 2 == 0
    notes = compare_modes.Notes(audio[even], kinds[even], pitches[even], (10, 25))
    others, asked = audio[~even], kinds[~even]
    table = torch.zeros(10, 25)
    table[asked, pitches[~even]] = 1
    kinds_found, pitches_found = compare_modes.modes(notes, others, asked)
    assert kinds_found == 1
    assert pitches_found == pytest.approx(table.mean().item(), abs=0.1)
    # of one instrument at one pitch, with the noise of a bad model
    same = others[:1] + 0.02 * torch.randn(20, 1024, generator=torch.Generator().manual_seed(0))
    assert compare_modes.modes(notes, same) == (0.1, 1 / 250)


def test_the_pitch_of_a_note_is_known(tmp_path: Path):
    """Of each note that the files hold, by the strongest partial of an instrument without many."""
    args = compare._parse(arguments(tmp_path))
    notes, rate = compare_measure.held_out_notes(args, "test")
    marimba = sorted(INSTRUMENTS).index("marimba")
    audio, pitch = notes.audio[notes.kinds == marimba], notes.pitches[notes.kinds == marimba]
    spectrum = torch.fft.rfft(audio * torch.hann_window(audio.shape[1]), 1 << 15).abs()
    hertz = spectrum.argmax(1) * rate / (1 << 15)
    semitones = 12 * torch.log2(hertz / MIN_HZ)
    torch.testing.assert_close(semitones, pitch.float() + 0.09, atol=0.5, rtol=0)


def test_a_method_that_does_not_exist_is_told(capsys):
    with pytest.raises(SystemExit):
        compare.main(["--methods", "boltzmann"])
    assert "choose from ddpm, ncsn" in capsys.readouterr().err


@pytest.mark.slow
def test_one_command_trains_measures_and_goes_on(tmp_path: Path, capsys):
    few = ["trainer.max_steps=2", "trainer.batch_size=2"]
    words = [*arguments(tmp_path, "--methods=consistency,latent,vocoder_gan"), *few]
    words += ["--study="]
    assert run(compare.main, words) == 0
    page = tmp_path / "page" / "RESULTS.md"
    assert capsys.readouterr().out == f"{page}\n"
    assert "| consistency, distilled | Renoise |" in page.read_text()
    assert "| latent EDM | Heun |" in page.read_text()
    assert "| GAN, HiFi-GAN's losses | 1 | 1 |" in page.read_text()
    measured_at = (tmp_path / "out" / "edm" / "frechet.json").stat().st_mtime_ns
    assert run(compare.main, words) == 0
    assert (tmp_path / "out" / "edm" / "frechet.json").stat().st_mtime_ns == measured_at
