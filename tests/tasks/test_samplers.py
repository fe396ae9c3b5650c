"""Every sampler with schedules of every kind: it works, or says in a sentence why not."""

import sys

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.preconditioning import x0 as x0_prediction
from wavediff.diffusion.schedule import VP
from wavediff.errors import UserError
from wavediff.files import conf_folder
from wavediff.tasks.build import make
from wavediff.tasks.names import sampler_names
from wavediff.tasks.sampler import checked_sampler, sampler_by_name

SCHEDULES = ["vp", "ve", "edm", "rectified_flow", "diffwave", "bridge", "ouve"]
WITHOUT_LEVELS = {"diffwave", "diffwave_fast", "cdiffuse_fast"}  # grids of discrete levels


class Shrink(nn.Module):
    """Counts what it is asked."""

    calls = 0

    def forward(self, x, c_noise, cond):
        self.calls += 1
        return 0.5 * x


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", sorted(set(sampler_names()) - WITHOUT_LEVELS))
def test_every_sampler_with_every_kind_of_schedule(name, schedule):
    if name == "adaptive":
        pytest.importorskip("torchdiffeq")
    path = make(OmegaConf.to_container(OmegaConf.load(conf_folder() / f"schedule/{schedule}.yaml")))
    network = Shrink()
    denoiser = Denoiser(network, path, x0_prediction)
    default = sampler_by_name("ddim")
    try:
        sampler = checked_sampler(denoiser, default, name, 3)
    except UserError as error:
        assert name in ("annealed_langevin", "euler_maruyama", "predictor_corrector")
        refusal = str(error)
        assert any(reason in refusal for reason in ("lacks one", "not finite"))
        return
    grid = sampler.grid(path)
    y = torch.ones(2, 1, 8)
    cond = Condition(anchor=y if float(path.anchor(path.t_max)) else None)
    states = list(sampler.walk(denoiser, 0.3 * y, cond))
    assert torch.isfinite(states[-1].x).all()
    assert [state.i for state in states] == list(range(len(grid) - 1))
    assert network.calls <= sampler.calls(path)


def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    denoiser = Denoiser(Shrink(), VP(), x0_prediction)
    with pytest.raises(UserError, match=r"^adaptive steps need .*wavediff\[ode\]"):
        checked_sampler(denoiser, sampler_by_name("ddim"), "adaptive")


def test_calls_follow_a_samplers_options():
    sampler = sampler_by_name("annealed_langevin").with_steps(10)
    assert sampler.method.options["langevin_steps"] == 5
    assert sampler.calls(VP()) == 60
