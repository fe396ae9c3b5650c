from functools import partial

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.noise import ItemNoise
from wavediff.files import conf_folder
from wavediff.networks.diffwave import DiffWave
from wavediff.networks.masked import Masked
from wavediff.networks.score_unet import ScoreUNet
from wavediff.networks.two_stage import TwoStage
from wavediff.tasks.build import GROUPS, OPTIONAL, build_task
from wavediff.tasks.checkpoint import load_task, save_task
from wavediff.tasks.enhancer import Enhancer

CHANNELS, FRAMES = 12, 9
WAVES = partial(DiffWave, width=6, layers=2)
MASK = partial(Masked, partial(DiffWave, width=6, layers=3))
UNET = partial(ScoreUNet, widths=(4, 6), dilations=(1, 2), heads=0)

TINY = [
    "recipe=libri_noise",
    "mel.n_fft=64",
    "mel.win_length=64",
    "mel.hop_length=16",
    "mel.n_mels=6",
    "representation.n_fft=64",
    "representation.hop_length=16",
    "task.crop_seconds=0.04",
    "task.level_past=0.02",
    "task.level_ahead=0.01",
    "task.magnitude_weight=2.0",
    "task.l1_weight=0.1",
    "task.mr_stft_weight=0.0",
    "network=two_stage",
    "network.first.network.width=8",
    "network.first.network.layers=2",
]
STAGES = {
    "diffwave": ["network.second.width=8", "network.second.layers=2"],
    "score_unet": [
        "network@network.second=score_unet",
        "network.second.widths=[4,8]",
        "network.second.dilations=[1,2]",
    ],
}


def shaken(module: torch.nn.Module) -> torch.nn.Module:
    """Random also where training begins with zeros."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return module


def enhancer(second: str = "diffwave", *overrides: str) -> Enhancer:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("train", [*TINY, *STAGES[second], *overrides])
    task = build_task({name: OmegaConf.to_container(config[name]) for name in (*GROUPS, *OPTIONAL)})
    shaken(task.network)
    return task.eval()


def sound(length: int, seed: int = 0, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(batch, 1, length, generator=generator)


def make(first=MASK, second=WAVES) -> TwoStage:
    network = TwoStage(first, second, CHANNELS, CHANNELS, local_channels=5)
    return shaken(network).double()


def inputs(frames: int = FRAMES):
    generator = torch.Generator().manual_seed(1)

    def normal(channels: int) -> torch.Tensor:
        return torch.randn(2, channels, frames, generator=generator, dtype=torch.float64)

    c_noise = torch.tensor([1.0, 300.0], dtype=torch.float64)
    cond = Condition(local=normal(5), anchor=normal(CHANNELS), observed=normal(CHANNELS))
    return normal(CHANNELS), c_noise, cond


@pytest.mark.parametrize("second", [WAVES, UNET])
def test_the_second_sees_the_state_the_estimate_and_the_noisy(second):
    network = make(second=second)
    x, c_noise, cond = inputs()
    with torch.no_grad():
        y = network(x, c_noise, cond)
        assert y.shape == x.shape
        for name in ("local", "anchor", "observed"):
            other = Condition(**vars(cond) | {name: getattr(cond, name) + 1})
            assert (network(x, c_noise, other) - y).abs().max() > 1e-3, name
        assert (network(x + 1, c_noise, cond) - y).abs().max() > 1e-3
        kept = Condition(**vars(cond) | {"prepared": network.prepare(cond)})
        torch.testing.assert_close(network(x, c_noise, kept), y)


@pytest.mark.parametrize("first", [MASK, WAVES, UNET])
def test_the_reach_of_the_first_stage(first):
    network = make(first)
    x, _, cond = inputs(41)
    anchor = x.requires_grad_()
    network.first_stage(Condition(cond.local, anchor=anchor))[:, :, 20].sum().backward()
    touched = anchor.grad.abs().sum((0, 1)).nonzero().flatten().tolist()
    reach = network.first_receptive_field
    assert (min(touched), max(touched)) == (20 - reach, 20 + reach)
    assert network.receptive_field == network.second.receptive_field


def test_a_fresh_mask_starts_from_the_noisy_signal():
    network = TwoStage(MASK, WAVES, CHANNELS, CHANNELS)
    torch.nn.init.zeros_(network.first.network.output_projection.bias)
    anchor = torch.randn(1, CHANNELS, FRAMES)
    torch.testing.assert_close(network.first_stage(Condition(anchor=anchor)), anchor)


def test_what_does_not_fit_is_refused():
    for anchor_channels in (0, 2 * CHANNELS):
        with pytest.raises(ValueError, match="two stages need an anchor"):
            TwoStage(MASK, WAVES, CHANNELS, anchor_channels)
    x, c_noise, cond = inputs()
    network = make()
    with pytest.raises(ValueError, match="anchor"):
        network.first_stage(Condition(local=cond.local))
    with pytest.raises(ValueError, match="first's estimate"):
        network(x, c_noise, Condition(cond.local, anchor=cond.anchor))


@pytest.mark.parametrize("second", STAGES)
def test_a_recipe_takes_two_stages_and_learns_both_jointly(second):
    task = enhancer(second).train()
    task.magnitude_weight = task.l1_weight = task.snr_weight = 0.0
    length = task.crop_length
    batch = {"audio": sound(length, 1, 2), "noisy": sound(length, 2, 2)}
    losses = task.loss(batch, ItemNoise(0, [0, 1]))
    assert losses["first_stage"].shape == (2,)
    torch.testing.assert_close(losses["loss"], losses["denoising"] + losses["first_stage"])
    losses["first_stage"].sum().backward(retain_graph=True)
    assert all(p.grad is None for p in task.network.second.parameters())
    task.network.zero_grad()
    # the diffusion's own loss teaches the first stage too
    losses["denoising"].sum().backward()
    for stage in (task.network.first, task.network.second):
        assert max(p.grad.abs().max() for p in stage.parameters() if p.grad is not None) > 0


def test_the_first_stages_loss_is_its_squared_error():
    """It is zero for noisy recordings that are clean already, and a first stage that knows it."""
    task = enhancer()
    for parameter in task.network.first.parameters():
        torch.nn.init.zeros_(parameter)
    audio = sound(task.crop_length)
    assert task.loss({"audio": audio, "noisy": audio}, ItemNoise(0, [0]))["first_stage"] < 1e-12
    noisy = audio + sound(task.crop_length, 3)
    assert task.loss({"audio": audio, "noisy": noisy}, ItemNoise(0, [0]))["first_stage"] > 1e-3


@pytest.mark.parametrize("steps", [1, 3])
def test_the_path_starts_from_the_estimate(steps):
    """A first stage that says silence leaves nothing of the noisy recording in the start."""
    task = enhancer()
    sampler = task.with_sampler("ddim", steps)
    starts = []
    function = sampler.function

    def watched(denoiser, x, times, cond, **options):
        starts.append((x, cond.anchor, cond.observed))
        return function(denoiser, x, times, cond, **options)

    noisy = sound(640)
    out = task.enhance(noisy, sampler=type(sampler)(watched, sampler.times))
    assert out.shape == noisy.shape
    assert out.isfinite().all()
    x, anchor, observed = starts[0]
    torch.testing.assert_close(x, anchor)  # the bridge has no noise at its start
    assert (anchor - observed).abs().max() > 1e-3


@pytest.mark.parametrize("steps", [1, 2])
def test_a_piece_with_enough_context_is_the_whole(steps):
    task = enhancer()
    sampler = task.with_sampler("ddim", steps)
    hop = task.hop_length
    past, ahead = (-(-reach // hop) * hop for reach in task.reach(sampler))
    left, length = 7 * hop, past + ahead + 20 * hop
    noisy = sound(left + length + 9 * hop)
    whole = task.enhance(noisy, sampler=sampler)
    piece = task.enhance(noisy[..., left : left + length], sampler=sampler, offset=left)
    inside = whole[..., left + past : left + length - ahead]
    torch.testing.assert_close(piece[..., past:-ahead], inside, rtol=0, atol=1e-6)
    assert (piece[..., :hop] - whole[..., left : left + hop]).abs().max() > 1e-5


def test_the_first_stage_reaches_once_however_many_steps():
    task = enhancer()
    for steps in (1, 4):
        sampler = task.with_sampler("ddim", steps)
        before = task.reach(sampler)
        task.network.first_receptive_field += 5
        assert task.reach(sampler) == tuple(reach + 5 * task.hop_length for reach in before)


def test_saved_and_loaded(tmp_path):
    task = enhancer("score_unet")
    path = tmp_path / "model.safetensors"
    save_task(path, task.config, task.network.state_dict(), {})
    noisy = sound(500)
    found = load_task(path).enhance(noisy)
    torch.testing.assert_close(found, task.enhance(noisy))
