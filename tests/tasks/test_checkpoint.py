"""Checkpoints: whole, damaged and hostile ones."""

import json
import math
import pickle
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from wavediff.errors import UserError
from wavediff.tasks import names
from wavediff.tasks.checkpoint import DIGEST, FORMAT, digest, effort, load_task, save_task
from wavediff.tasks.enhancer import Enhancer
from wavediff.tasks.names import bundled_names, pretrained_folder
from wavediff.tasks.vocoder import Vocoder


@pytest.fixture
def saved(tmp_path, make_vocoder):
    """The path of a whole checkpoint."""
    vocoder = make_vocoder()
    path = tmp_path / "run" / "model.safetensors"
    save_task(path, vocoder.config, vocoder.network.state_dict(), {"step": 7})
    return path


def rewrite(path, *, tensors=None, **metadata):
    """Write the checkpoint again with other tensors or metadata; None removes an entry."""
    with safe_open(path, framework="pt") as file:
        old = file.metadata()
    if tensors is not None and DIGEST in old:
        metadata = {DIGEST: digest(tensors)} | metadata
    new = {k: v for k, v in (old | metadata).items() if v is not None}
    save_file(load_file(path) if tensors is None else tensors, path, new)


@pytest.mark.parametrize("place", [-1, -4000, -100_000])
def test_a_flipped_bit_in_the_weights_is_noticed(saved, place):
    whole = bytearray(saved.read_bytes())
    whole[place] ^= 1
    saved.write_bytes(whole)
    with pytest.raises(UserError, match=r"the weights in .*model\.safetensors are damaged"):
        load_task(saved)


def test_weights_without_a_digest_are_those_of_an_earlier_version(saved):
    rewrite(saved, **{DIGEST: None})
    load_task(saved)


@pytest.mark.parametrize("name", bundled_names())
def test_the_weights_of_bundled_models_are_verified(name, tmp_path):
    bundled = pretrained_folder() / name / "model.safetensors"
    whole = bytearray(bundled.read_bytes())
    whole[len(whole) // 2] ^= 64
    (tmp_path / "model.safetensors").write_bytes(whole)
    shutil.copy(bundled.with_suffix(".sha256"), tmp_path)
    with pytest.raises(UserError, match="are damaged"):
        load_task(tmp_path)


def test_round_trip(saved, make_vocoder):
    vocoder, again = make_vocoder(), load_task(saved.parent)
    assert again.config == vocoder.config
    assert again.extra == {"step": 7}
    state = again.network.state_dict()
    for name, value in vocoder.network.state_dict().items():
        assert torch.equal(state[name], value)
    assert [p.name for p in saved.parent.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("name", ["run", "run/own.safetensors"])
def test_a_model_is_saved_and_loaded_by_its_class(tmp_path, make_vocoder, make_mel, name):
    vocoder = make_vocoder()
    vocoder.save_pretrained(tmp_path / name)
    again, mel = Vocoder.from_pretrained(tmp_path / name), make_mel()[0]
    assert torch.equal(again(mel, seed=3), vocoder.eval()(mel, seed=3))
    with pytest.raises(UserError, match="is not an enhancer but a vocoder"):
        Enhancer.from_pretrained(tmp_path / name)


@pytest.mark.parametrize(
    ("extra", "total"),
    [
        ({}, {}),
        ({"step": 3, "seconds": 1.5}, {"step": 3, "seconds": 1.5}),
        ({"step": 3, "before": {"step": 4, "seconds": 2}}, {"step": 7, "seconds": 2}),
        ({"step": "3", "seconds": math.nan, "before": [1]}, {}),
        ({"step": -1, "seconds": math.inf, "before": {"step": None}}, {}),
        ({"step": 10**400, "seconds": 5, "before": {"seconds": 10**400}}, {"seconds": 5}),
    ],
)
def test_effort_adds_up_what_is_a_number(extra, total):
    assert effort(extra) == total


def test_half_precision_is_for_the_disk_only(saved):
    rewrite(saved, tensors={name: value.half() for name, value in load_file(saved).items()})
    assert {p.dtype for p in load_task(saved).network.parameters()} == {torch.float32}


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_in_it_is_not_run(tmp_path, zipped):
    path, mark = tmp_path / "model.pt", tmp_path / "mark"
    if zipped:
        torch.save({"model": Hostile(mark)}, path)
    else:
        path.write_bytes(pickle.dumps(Hostile(mark)))
    with pytest.raises(UserError, match=r"not a wavediff checkpoint.*wavediff import"):
        load_task(path)
    assert not mark.exists()


def test_a_configuration_that_names_code_is_not_run(saved, tmp_path, make_config):
    mark = tmp_path / "mark"
    for target in ("os.system", "wavediff.tasks.checkpoint.save_task"):
        hostile = {"_target_": target, "command": f"touch {mark}", "path": str(mark)}
        for group in ("mel", "network", "sampler"):
            rewrite(saved, config=json.dumps(make_config() | {group: hostile}))
            with pytest.raises(UserError, match=r"model\.safetensors: .*not part of wavediff"):
                load_task(saved)
    assert not mark.exists()


def test_a_configuration_that_asks_for_all_memory_gets_none(saved, make_config):
    config = make_config()
    rewrite(saved, config=json.dumps(config | {"network": 3}))
    with pytest.raises(UserError, match="damaged"):
        load_task(saved)
    for size in ({"width": 40_000}, {"width": 10**7}, {"layers": 10**9}):
        rewrite(saved, config=json.dumps(config | {"network": config["network"] | size}))
        with pytest.raises(UserError, match=r"asks for .* weights and more|sizes far beyond"):
            load_task(saved)


@pytest.mark.parametrize("size", [{"width": -4}, {"dilation_cycle": 0}, {"width": 4.5}])
def test_a_configuration_that_makes_no_sense(saved, make_config, size):
    config = make_config()
    rewrite(saved, config=json.dumps(config | {"network": config["network"] | size}))
    with pytest.raises(UserError, match=r"model\.safetensors: cannot build wavediff\.networks"):
        load_task(saved)


@pytest.mark.parametrize("steps", [0, "many", None])
def test_a_configuration_whose_sampler_makes_no_sense(saved, make_config, steps):
    config = make_config()
    config["sampler"]["times"]["steps"] = steps
    rewrite(saved, config=json.dumps(config))
    with pytest.raises(UserError, match=r"at least 1 step|steps=.* is not a whole number"):
        load_task(saved).with_sampler()


@pytest.mark.parametrize("cut", [0, 4, 100, -8])
def test_a_file_that_ends_early(saved, cut):
    saved.write_bytes(saved.read_bytes()[:cut])
    with pytest.raises(UserError, match="not a wavediff checkpoint"):
        load_task(saved)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"format": None}, "without a configuration of wavediff"),
        ({"format": "other"}, "without a configuration of wavediff"),
        ({"config": None}, "damaged"),
        ({"config": "{"}, "damaged"),
        ({"config": "[]"}, "damaged"),
        ({"config": "[" * 100_000}, "damaged"),
        ({"extra": "3"}, "damaged"),
        ({"config": "{}"}, "lacks task"),
    ],
)
def test_metadata_that_is_damaged(saved, metadata, words):
    rewrite(saved, **metadata)
    with pytest.raises(UserError, match=words):
        load_task(saved)
    assert FORMAT == "wavediff-1"


def test_weights_that_do_not_fit(saved):
    tensors = load_file(saved)
    name = "output_projection.bias"
    rewrite(saved, tensors=tensors | {name: torch.zeros(3)})
    with pytest.raises(UserError, match=rf"do not fit .*{name}"):
        load_task(saved)
    rewrite(saved, tensors={k: v for k, v in tensors.items() if k != name})
    with pytest.raises(UserError, match=rf"do not fit .*{name}"):
        load_task(saved)


def test_what_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"holds no model\.safetensors"):
        load_task(tmp_path)
    with pytest.raises(UserError, match="no checkpoint 'vocoder-xx'"):
        load_task("vocoder-xx")


def test_bundled_models_by_name(tmp_path, monkeypatch, saved):
    monkeypatch.setattr(names, "pretrained_folder", lambda: tmp_path)
    assert names.bundled_names() == ["run"]
    assert load_task("run").extra == {"step": 7}


@pytest.mark.parametrize(
    ("place", "size"),
    [
        ("mel.n_mels", 10**6),
        ("mel.n_mels", 2000),
        ("mel.n_fft", 10**9),
        ("mel.n_fft", 100_000),
        ("mel.hop_length", 10**9),
        ("mel.sample_rate", 10**12),
        ("mel.power", 1000.0),
        ("mel.n_mels", 6.0),
        ("representation.n_fft", 10**6),
        ("representation.n_fft", 10**20),
        ("schedule.beta_max", "8"),
        ("sampler.times.steps", 10**9),
        ("sampler.times.steps", 200_000),
        ("network.layers", 10**7),
        ("task.crop_frames", 10**9),
        ("task.crop_frames", True),
        ("task.mel_iterations", -1),
    ],
)
def test_a_size_that_no_model_has_is_refused(saved, make_config, place, size):
    config = make_config()
    *groups, key = place.split(".")
    node = config
    for group in groups:
        node = node[group]
    node[key] = size
    rewrite(saved, config=json.dumps(config))
    with pytest.raises(UserError) as caught:
        load_task(saved).with_sampler()
    assert len(str(caught.value)) < 1001


@pytest.mark.parametrize("levels", [60, 900, 100_000])
def test_values_that_are_nested_deeply(saved, levels):
    deep = '{"a": ' + "[" * levels + "]" * levels + "}"
    for metadata in ({"config": deep}, {"extra": deep}):
        whole = saved.read_bytes()
        rewrite(saved, **metadata)
        with pytest.raises(UserError, match="is damaged: copy the file again"):
            load_task(saved)
        saved.write_bytes(whole)


def test_a_prediction_that_is_none(saved, make_config):
    network = {"_target_": "wavediff.networks.unet.UNet", "_partial_": True}
    rewrite(saved, config=json.dumps(make_config() | {"prediction": network}))
    with pytest.raises(UserError, match=r"UNet is no prediction: choose one of .*edm"):
        load_task(saved)


@pytest.mark.parametrize("steps", [10**9, 200_000, 0, -1, True, "50"])
def test_steps_of_a_schedule_that_no_model_has(saved, make_config, steps):
    config = make_config()
    config["schedule"] = {"_target_": "wavediff.diffusion.schedule.linear", "steps": steps}
    rewrite(saved, config=json.dumps(config))
    with pytest.raises(UserError, match=r"steps|size"):
        load_task(saved)
