"""What version 0.1.0 wrote loads, and sounds the same."""

import inspect
import json
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_class, get_method
from omegaconf import OmegaConf

from wavediff import Forecaster, Vocoder
from wavediff.files import conf_folder
from wavediff.moved import ARGUMENTS, MOVED, current
from wavediff.tasks.build import build_task, make
from wavediff.training.checkpoint import differences

OLD = Path(__file__).parent / "version_0_1_0"
METHODS = Path(__file__).parents[1] / "recipes" / "comparison" / "methods.yaml"
CONFIGURATIONS = json.loads((OLD / "configurations.json").read_text())
AUTOENCODERS = {"tiny_latent", "comparison_latent"}  # which name the run of another model


def test_a_vocoder_sounds_as_it_did(monkeypatch):
    """But for what is attenuated at the upper edge of the mel, which it did not have."""
    monkeypatch.setattr("wavediff.tasks.vocoder.even_edge", lambda z, mel, stft: z)
    vocoder = Vocoder.from_pretrained(OLD / "vocoder.safetensors")
    t = torch.arange(vocoder.sample_rate // 2) / vocoder.sample_rate
    audio = 0.3 * torch.sin(2 * np.pi * 220 * t) * torch.sin(2 * np.pi * 3 * t)
    found = vocoder(vocoder.mel(audio[None, None])[0], seed=1)
    np.testing.assert_allclose(found.numpy(), np.load(OLD / "vocoder.npy"), rtol=0, atol=1e-4)


def test_a_forecaster_forecasts_as_it_did():
    years = np.arange(1700, 1900)
    values = 50 + 40 * np.sin(np.arange(200) * 2 * np.pi / 11)
    frame = pandas.DataFrame({"year": years, "sunspots": values})
    forecaster = Forecaster(
        checkpoint=OLD / "series.safetensors", samples=4, seed=2, progress=False
    ).read(frame)
    given = np.moveaxis(np.load(OLD / "series.npy"), 2, 3)
    np.testing.assert_allclose(forecaster.sample(horizon=6), given, rtol=1e-3)


@pytest.mark.parametrize("name", CONFIGURATIONS["recipes"])
def test_the_configuration_of_a_recipe_builds(name):
    config = CONFIGURATIONS["recipes"][name]
    if name in AUTOENCODERS or "series" in config["task"]["_target_"]:
        for group in ("task", "network"):  # whose sizes follow from other things
            config = {key: value for key, value in config.items() if key != group}
        for group in config.keys() - {"data", "representation"}:
            make(current(config[group]))
    else:
        build_task(config)


@pytest.mark.parametrize("name", CONFIGURATIONS["recipes"])
def test_a_run_of_a_recipe_may_be_continued(name):
    methods = OmegaConf.to_container(OmegaConf.load(METHODS))
    words = methods.get(name.removeprefix("comparison_"), [f"recipe={name}"])
    with initialize_config_dir(str(conf_folder()), version_base=None):
        config = compose("train", [*words, f"name={name}"])
    config = OmegaConf.to_container(config, resolve=True)
    found = differences(CONFIGURATIONS["recipes"][name], config)
    assert [what for what in found if "(absent -> " not in what] == []  # the record is short


@pytest.mark.parametrize("group", ["sampler", "schedule", "prediction", "objective"])
def test_every_choice_of_a_group_is_found(group):
    for config in CONFIGURATIONS["groups"][group].values():
        make(current(config))


@pytest.mark.parametrize("name", CONFIGURATIONS["recipes"])
def test_the_data_of_a_recipe_is_found(name):
    target = current(CONFIGURATIONS["recipes"][name]["data"])["_target_"]
    assert target.startswith("wavediff.")
    assert get_method(target)


@pytest.mark.parametrize("target", ARGUMENTS)
def test_an_argument_has_the_name_that_the_table_says(target):
    known = inspect.signature(get_class(target)).parameters
    for old, new in ARGUMENTS[target].items():
        assert current({"_target_": target, old: 3}) == {"_target_": target, new: 3}
        assert new in known
        assert old not in known


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_a_name_that_moved_is_where_the_table_says(old, new):
    assert current({"_target_": old}) == {"_target_": new}
    assert get_method(new).__name__ == new.rpartition(".")[2]


def test_the_mask_of_unconditional_training_has_another_name():
    for target in ("wavediff.tasks.series.SeriesModel", "wavediff.series.model.SeriesModel"):
        found = current({"_target_": target, "masks": {"forecast": 2, "nothing": 1}})
        assert found["masks"] == {"forecast": 2, "unconditional": 1}
    masks = CONFIGURATIONS["recipes"]["series"]["task"]["masks"]
    assert current(CONFIGURATIONS["recipes"]["series"]["task"])["masks"].keys() == (
        masks.keys() - {"nothing"} | {"unconditional"}
    )
