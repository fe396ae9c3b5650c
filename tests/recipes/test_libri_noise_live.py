import importlib.util
from pathlib import Path

import pytest
import torch

from wavediff.cli import run
from wavediff.diffusion.condition import Condition
from wavediff.tasks.enhancer import Enhancer

SCRIPT = Path(__file__).parents[2] / "recipes" / "libri_noise_live" / "prepare.py"
spec = importlib.util.spec_from_file_location("prepare_live", SCRIPT)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


@pytest.mark.slow
@torch.no_grad()
def test_a_causal_model_of_full_width_is_the_teacher_without_its_future(tmp_path, monkeypatch):
    """Rotations of the residual stream change nothing: what differs are taps and the mean mel."""
    monkeypatch.setattr(tool, "EXAMPLES", 8)
    words = ["data=synthetic_noisy", "network.network.width=224"]
    assert run(tool.main, ["-o", str(tmp_path / "start"), *words]) == 0
    student = Enhancer.from_pretrained(tmp_path / "start")
    teacher = Enhancer.from_pretrained("enhancer-16k")
    network = teacher.network
    mel = {}
    activations = tool.activations

    def kept(enhancer, noisy):
        found, mel["mean"] = activations(enhancer, noisy)
        return found, mel["mean"]

    monkeypatch.setattr(tool, "activations", kept)
    assert run(tool.main, ["-o", str(tmp_path / "again"), *words]) == 0
    for block in network.network.blocks:
        block.dilated_conv.weight[:, :, 2] = 0
    for layer in network.down:
        layer.weight[:, :, 2] = 0
    for layer in network.up:
        layer.weight[:, :, 0] = 0
    y = torch.randn(1, 1024, 40, generator=torch.Generator().manual_seed(0))
    c_noise = teacher.denoiser.schedule.c_noise(torch.tensor(1.0)).float().reshape(1)
    local = mel["mean"][None, :, None].expand(1, -1, 40)
    expected = network(y, c_noise, Condition(anchor=y, local=local))
    found = student.network(y, c_noise, Condition(anchor=y))
    assert (found - expected).abs().max() < 1e-3 * expected.abs().max()
