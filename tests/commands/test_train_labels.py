"""`wavediff train` with labels: their number follows from the data, or the run is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from wavediff.cli import run
from wavediff.commands import vocode
from wavediff.commands.train import main
from wavediff.errors import UserError
from wavediff.tasks.checkpoint import load_task
from wavediff.tasks.labels import Labelled

SMALL = [
    "data=folder",
    "data.root=voices",
    "data.split=null",
    "run_dir=run",
    "trainer.batch_size=2",
    "trainer.max_steps=1",
    "trainer.validate_every=0",
    "trainer.threads=1",
    "trainer.progress=false",
]
VOCODER = ["recipe=tiny", "task.crop_frames=4", "network.width=8", "network.layers=2"]
CONVNEXT = ["network=convnext_frames", "network.width=16", "network.layers=2"]
UNET = ["network.widths=[8,8]", "network.strides=[2]"]
GENERATOR = ["recipe=tiny_generate", "network.width=8", "network.layers=2"]
AUTOENCODER = ["recipe=tiny_autoencoder", "task.crop_seconds=0.1"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for voice in ("amy", "bob", "zoe"):
        (tmp_path / "voices" / voice).mkdir(parents=True)
        noise = np.random.default_rng(0).standard_normal(22_050)
        soundfile.write(tmp_path / "voices" / voice / "1.wav", 0.1 * noise, 22_050)
    return tmp_path


@pytest.mark.parametrize(
    "recipe",
    [
        VOCODER,
        ["recipe=folder", "task.crop_frames=8", *UNET],
        ["recipe=folder", "task.crop_frames=8", *CONVNEXT],
        GENERATOR,
    ],
)
def test_the_number_of_labels_follows_from_the_data(here, capsys, recipe):
    assert run(main, [*recipe, *SMALL, "data.labels=true"]) == 0
    assert "train: 3 labels, as the data have" in capsys.readouterr().err
    task = load_task(here / "run")
    assert (task.labels, task.label_names) == (3, ["amy", "bob", "zoe"])


def test_a_voice_is_chosen_by_its_folder(here, capsys):
    assert run(main, [*VOCODER, *SMALL, "data.labels=true"]) == 0
    words = ["voices/amy/1.wav", "-o", "a.wav", "--checkpoint", "run"]
    assert run(vocode.main, words) == 2
    assert "one of amy, bob, zoe" in capsys.readouterr().err
    assert run(vocode.main, [*words, "--label", "zoe"]) == 0


def test_without_labels_there_is_one_voice(here):
    assert run(main, [*VOCODER, *SMALL]) == 0
    assert load_task(here / "run").labels == 0


def test_a_manifest_with_labels_is_the_same(here):
    rows = "".join(f"{name}/1.wav,{name}\n" for name in ("bob", "amy"))
    (here / "voices/list.csv").write_text(f"path,label\n{rows}")
    assert run(main, [*VOCODER, *SMALL, "data.root=voices/list.csv"]) == 0
    task = load_task(here / "run")
    assert (task.labels, task.label_names) == (2, ["amy", "bob"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*VOCODER, "data.labels=true", "network.labels=2"], "network.labels=3"),
        ([*VOCODER, "network.labels=2"], "the data have no labels: use data.labels=true"),
    ],
)
def test_labels_that_do_not_fit_the_network_are_refused(here, capsys, words, message):
    assert run(main, [*words, *SMALL]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert sum(line.startswith("error: ") for line in error.splitlines()) == 1


def test_a_network_that_takes_no_labels_is_refused():
    model = Labelled()
    model.network = torch.nn.Conv1d(1, 1, 1)
    model.denoiser = SimpleNamespace(network=model.network)
    assert model.labels_for(None) == 0
    with pytest.raises(UserError, match="the network Conv1d takes none"):
        model.labels_for(["amy", "bob"])


def test_more_labels_than_the_data_have_are_allowed(here):
    assert run(main, [*VOCODER, *SMALL, "data.labels=true", "network.labels=5"]) == 0
    assert load_task(here / "run").labels == 5


def test_a_resumed_run_keeps_its_labels(here, capsys):
    assert run(main, [*VOCODER, *SMALL, "data.labels=true"]) == 0
    more = ["data.labels=true", "trainer.max_steps=2"]
    assert run(main, [*VOCODER, *SMALL, *more]) == 0
    assert load_task(here / "run").extra["step"] == 2
    (here / "voices/zoe").rename(here / "voices/abe")
    assert run(main, [*VOCODER, *SMALL, "data.labels=true", "trainer.max_steps=3"]) == 2
    assert "(amy, bob, zoe -> abe, amy, bob)" in capsys.readouterr().err


def test_a_model_without_labels_says_that_it_uses_none(here, capsys):
    assert run(main, [*AUTOENCODER, *SMALL, "data.labels=true"]) == 0
    assert "the labels of the data are not used by an autoencoder" in capsys.readouterr().err


def test_weights_with_labels_are_trained_on(here, capsys):
    assert run(main, [*VOCODER, *SMALL, "data.labels=true"]) == 0
    more = ["data.labels=true", "run_dir=more", "init_from=run"]
    assert run(main, [*VOCODER, *SMALL, *more]) == 0
    assert load_task(here / "more").labels == 3
    assert run(main, [*VOCODER, *SMALL, "run_dir=plain"]) == 0
    words = ["run_dir=other", "init_from=plain", "optimizer.lr=1e-9"]
    assert run(main, [*VOCODER, *SMALL, "data.labels=true", *words]) == 0
    other, plain = (load_task(here / name).network.state_dict() for name in ("other", "plain"))
    assert set(other) - set(plain) == {"label_embedding.weight"}
    for name, value in other.items():
        torch.testing.assert_close(value, plain.get(name, 0 * value), atol=1e-6, rtol=1e-5)
    (here / "voices/zoe/1.wav").unlink()
    assert run(main, [*VOCODER, *SMALL, *more, "run_dir=fewer"]) == 0
    assert load_task(here / "fewer").labels == 3
