"""Every schedule, prediction, objective and grid of times that can be chosen by name works."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn

from wavediff.diffusion.denoiser import Denoiser
from wavediff.errors import UserError
from wavediff.files import conf_folder
from wavediff.notation import PREDICTIONS, in_full, prediction
from wavediff.tasks.build import make

PLAIN = ["vp", "subvp", "ve", "edm", "log_snr_curve", "cosine", "diffwave", "rectified_flow"]
OBJECTIVES = ["denoising", "l1", "min_snr", "likelihood", "score_matching"]


def composed(*overrides):
    with initialize_config_dir(str(conf_folder()), version_base=None):
        return OmegaConf.to_container(compose("train", ["recipe=tiny", *overrides]))


def made(group, choice):
    """What ``conf/<group>/<choice>.yaml`` makes, on top of what it begins with."""
    config = OmegaConf.load(conf_folder() / group / f"{choice}.yaml")
    first = config.pop("defaults", ["_self_"])[0]
    if first != "_self_":
        config = OmegaConf.merge(OmegaConf.load(conf_folder() / group / f"{first}.yaml"), config)
    return make(OmegaConf.to_container(config))


class Zero(nn.Module):
    def forward(self, x, c_noise, cond):
        assert ((c_noise >= 0) & (c_noise <= 1000)).all()
        return torch.zeros_like(x)


@pytest.mark.parametrize("schedule", PLAIN)
def test_predictions_and_objectives_go_with_every_schedule(schedule):
    path = made("schedule", schedule)
    u = torch.tensor([0.0, 0.3, 0.999], dtype=torch.float64)
    x0, eps = torch.randn(2, 3, 1, 8)
    for name in PREDICTIONS.keys() - {"combined_noise"}:  # which needs an anchor
        denoiser = Denoiser(Zero(), path, make(prediction(name)))
        for objective in OBJECTIVES:
            if name == "consistency" and objective in ("denoising", "l1"):
                continue  # says nothing at the smallest noise, where it is the identity
            result = made("objective", objective)(denoiser, x0, u=u, eps=eps)
            assert torch.isfinite(result.loss).all(), (name, objective)


def test_a_prediction_is_a_name_or_a_name_with_options():
    old = {"_target_": "wavediff.diffusion.preconditioning.edm", "_partial_": True, "data_std": 1.0}
    assert prediction("edm") == prediction({"name": "edm"}) == prediction(old) == old
    for words in ("prediction=edm", "prediction={name: edm}"):
        assert in_full(composed(words))["prediction"] == old
    halved = ["prediction={name: edm, data_std: 0.5}"]
    assert in_full(composed(*halved))["prediction"] == old | {"data_std": 0.5}
    assert in_full(composed(*halved, "prediction=v"))["prediction"] == prediction("v")
    assert make(prediction(composed(*halved)["prediction"])).keywords == {"data_std": 0.5}


@pytest.mark.parametrize("name", ["velosity", 3, True, ["v"], {"data_std": 0.5}])
def test_an_unknown_prediction_is_told_with_those_there_are(name):
    with pytest.raises(UserError, match=r"there is no prediction .*combined_noise, .*v, velocity"):
        prediction(name)


def test_an_option_that_a_prediction_does_not_take_is_told():
    with pytest.raises(UserError, match=r"cannot build .*preconditioning\.v: .*data_std"):
        make(prediction({"name": "v", "data_std": 0.5}))


@pytest.mark.parametrize("name", sorted(p.stem for p in conf_folder().glob("sampler/times/*.yaml")))
def test_a_grid_is_chosen_for_any_sampler_of_so_many_steps(name):
    config = composed("sampler=dpmpp_2m", f"+sampler/times={name}", "sampler.times.steps=5")
    assert config["sampler"]["times"]["_target_"] == f"wavediff.diffusion.times.{name}"
    sampler = make(config["sampler"])
    for schedule in ("vp", "ve", "edm", "diffwave"):
        grid = sampler.grid(made("schedule", schedule))
        assert len(grid) == 6
        assert (grid.diff() < 0).all()
        assert grid[-1] == 0
