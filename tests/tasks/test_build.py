"""Configurations are data: what they name is not trusted."""

import pytest
from omegaconf import OmegaConf

from wavediff.errors import UserError
from wavediff.files import conf_folder
from wavediff.tasks.build import build_task, make

FOREIGN = [
    "os.system",
    "builtins.eval",
    "subprocess.Popen",
    "hydra.utils.get_method",
    "hydra.utils.instantiate",
    "torch.load",
    "wavediff.diffusion.schedule.torch.load",
    "wavediff.diffusion.schedule.math.exp",
    "wavediff.networks.diffwave.nn.Linear",
    "wavediff.networks.diffwave.F.relu",
    "wavediff.representations.mel.np.load",
    "wavediff.representations.mel.Path",
    "wavediff.tasks.checkpoint.save_task",
    "wavediff.tasks.checkpoint.load_task",
    "wavediff.tasks.build.make",
    "wavediff.tasks.build.importlib.import_module",
    "wavediff.tasks.vocoder.Vocoder.from_pretrained",
    "wavediff.files.atomic_path",
    "wavediff.commands.vocode.main",
    "wavediff.series.writing.write_table",
    "wavediff.diffusion",
    "wavediff.diffusion.",
    "wavediff.diffusion..os.system",
    "wavediff.diffusion.schedule.absent",
    "wavediff.diffusion.schedule.__builtins__",
    "wavediff.diffusion.absent.VP",
    "wavediff.diffusion.schedule.VP.__init__",
    "",
    None,
    3,
    ["os.system"],
]


@pytest.mark.parametrize("target", FOREIGN, ids=str)
@pytest.mark.parametrize("nested", [False, True])
def test_foreign_targets_are_refused(tmp_path, target, nested):
    mark = tmp_path / "mark"
    config = {"_target_": target, "command": f"touch {mark}", "path": str(mark)}
    if nested:
        config = {"_target_": "wavediff.diffusion.schedule.VP", "beta_min": config}
    with pytest.raises(UserError, match="not part of wavediff"):
        make(config)
    assert not mark.exists()


@pytest.mark.parametrize("group", ["schedule", "objective", "sampler"])
def test_every_file_of_a_group_can_be_made(group):
    for path in (conf_folder() / group).glob("*.yaml"):
        config = OmegaConf.to_container(OmegaConf.load(path))
        if "defaults" not in config:
            assert make(config) is not None


def test_partial_binds_and_unknown_arguments_are_refused():
    eps = make({"_target_": "wavediff.diffusion.preconditioning.eps", "_partial_": True})
    schedule = make({"_target_": "wavediff.diffusion.schedule.VP"})
    assert len(eps(schedule, schedule.quantile(0.5))) == 4
    for extra in ({"beta_mim": 1}, {"_args_": [1]}, {"_recursive_": False}):
        with pytest.raises(UserError, match="cannot build"):
            make({"_target_": "wavediff.diffusion.schedule.VP", **extra})


def test_groups_that_are_missing_or_damaged(make_config):
    config = make_config()
    del config["network"], config["representation"]
    with pytest.raises(UserError, match="lacks representation, network"):
        build_task(config)
    for damaged in (None, 3, "text", [], True):
        with pytest.raises(UserError, match="damaged"):
            build_task(make_config() | {"schedule": damaged})
        with pytest.raises(UserError, match="damaged"):
            build_task(damaged)
    with pytest.raises(UserError, match="cannot build"):
        build_task(make_config(network={"layers": "many"}))
    with pytest.raises(UserError, match="multiple"):
        build_task(make_config("stft", representation={"n_fft": 96, "hop_length": 32}))


def test_a_task_knows_its_configuration(make_config):
    config = make_config()
    assert build_task(config | {"trainer": {"lr": 1}}).config == config


def test_an_argument_that_a_function_to_be_called_later_does_not_take(make_config):
    sampler = make_config()["sampler"]
    times = sampler["times"] | {"betas": [0.1]}
    with pytest.raises(UserError, match=r"cannot build .*uniform: .*betas"):
        build_task(make_config(sampler={"times": times}))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("widths", [8, "a"], "a list, each of it a whole number"),
        ("widths", 8, "a list"),
        ("widths", None, "a list"),
        ("strides", [2.5], "a list, each of it a whole number"),
        ("channels", True, "a whole number"),
    ],
)
def test_lists_and_numbers_of_another_type(name, value, words):
    config = {
        "_target_": "wavediff.networks.unet.UNet",
        "widths": [8, 8],
        "strides": [2],
        name: value,
    }
    with pytest.raises(UserError, match=words):
        make(config)
