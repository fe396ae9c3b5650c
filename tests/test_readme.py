"""The README's snippets run as pasted, its commands exist, and its links lead somewhere."""

import re
import runpy
import shlex
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas
import pytest
import soundfile
import torch
from torch import nn

import wavediff
from wavediff.cli import COMMANDS, main, run

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]
LINKED = [*PAGES, ROOT / "CHANGELOG.md", *sorted((ROOT / "recipes").glob("*/*.md"))]


def snippets(page: str, heading: str) -> list[str]:
    """The Python of the section of that heading."""
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[list[str]]:
    """The words of every `wavediff COMMAND ...` of a page, also within sentences and tables."""
    fenced = r"```(?:python|yaml)\n.*?```"  # whose comments are no commands
    lines = re.sub(r"\\\n\s*", "", re.sub(fenced, "", page, flags=re.DOTALL))
    found = re.findall(
        r"^(?:    )?(wavediff [a-z].*)$|`(wavediff [a-z][^`\n]*)`", lines, re.MULTILINE
    )
    words = [shlex.split(line or cell, comments=True)[1:] for line, cell in found]
    return [line[: line.index("|")] if "|" in line else line for line in words]


@pytest.fixture
def demo(tmp_path, monkeypatch) -> Path:
    """A folder with the files that the README uses, much shorter than `make demo` makes them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    rng = np.random.default_rng(0)
    time = np.arange(22_050 // 2) / 22_050
    voice = sum(np.sin(2 * np.pi * 190 * k * time) / k for k in range(1, 9))
    voice *= 0.2 * np.sin(2 * np.pi * 4 * time) ** 2
    soundfile.write("demo/original.wav", voice, 22_050)
    soundfile.write("demo/noisy.wav", voice + 0.05 * rng.standard_normal(len(time)), 22_050)
    years = np.arange(1700, 1900)
    sunspots = 50 + 40 * np.sin(2 * np.pi * years / 11) + rng.standard_normal(len(years))
    pandas.DataFrame({"year": years, "sunspots": sunspots}).to_csv("demo/sunspots.csv", index=False)
    return tmp_path


def test_a_recording_is_denoised(demo):
    (snippet,) = snippets(README, "Denoise a recording")
    exec(snippet, {})
    noisy, rate = soundfile.read(demo / "demo" / "noisy.wav")
    clean, same = soundfile.read(demo / "clean.wav")
    assert (len(clean), same) == (len(noisy), rate)
    assert 0 < np.square(clean).mean() < np.square(noisy).mean()


def test_a_recording_is_denoised_as_a_stream(demo):
    (snippet,) = snippets((ROOT / "docs" / "usage.md").read_text(encoding="utf-8"), "Enhancement")
    names: dict = {}
    exec(snippet, names)
    assert names["clean"].shape == names["noisy"].T.shape
    assert names["stream"].latency < 3


def test_mels_are_vocoded(demo):
    assert run(main, ["mel", "demo/original.wav", "-o", "mel.npy"]) == 0
    (snippet,) = snippets(README, "Vocode mels")
    exec(snippet, {})
    speech, _ = soundfile.read(demo / "speech.wav")
    assert speech.shape == (256 * np.load("mel.npy").shape[1],)
    assert np.abs(speech).max() > 0.05


def test_mels_are_vocoded_as_a_stream(demo):
    assert run(main, ["mel", "demo/original.wav", "-o", "mel.npy"]) == 0
    (snippet,) = snippets((ROOT / "docs" / "usage.md").read_text(encoding="utf-8"), "Vocoding")
    names: dict = {}
    exec(snippet, names)
    assert names["speech"].shape == (256 * names["mel"].shape[1],)
    assert np.abs(names["speech"] - names["vocoder"](names["mel"])).max() < 1e-3
    assert names["stream"].latency == pytest.approx(6.7, abs=0.05)


def test_a_table_is_forecast(demo, capsys):
    (snippet,) = snippets(README, "Forecast a table")
    exec(snippet, {})
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["year", "sunspots_q0.1", "sunspots_q0.5", "sunspots_q0.9"]
    assert len(table) == 1 + 22 + 2
    assert "seasonal naive" in table[-1]


def test_the_commands_of_the_entry_points_run(demo):
    for line in [
        "enhance demo/noisy.wav -o clean.wav --report clean.html",
        "mel demo/original.wav -o mel.npy",
        "vocode mel.npy -o speech.wav",
        "forecast demo/sunspots.csv --horizon 22 -o forecast.csv --plot forecast.png",
        "impute demo/sunspots.csv -o filled.csv",
    ]:
        words = line.split()
        assert words in commands(README)
        assert run(main, words) == 0
        files = [name for name in words[2:] if re.search(r"\.(wav|html|npy|csv|png)$", name)]
        assert all((demo / name).stat().st_size > 0 for name in files)


def test_the_core_trains_and_samples_by_a_sampler_of_the_reader(capsys):
    lines, sampler = snippets(README, "The core as a library")
    body = re.search(r"^@method.*?yield[^\n]*\n", sampler, re.DOTALL | re.MULTILINE)[0]
    assert len(body.splitlines()) <= 15
    torch.manual_seed(0)
    exec(lines + sampler, {})
    radius, spread = map(float, re.findall(r"\d\.\d\d", capsys.readouterr().out))
    assert radius == pytest.approx(2**0.5, abs=0.05)
    assert spread < 0.15


@pytest.mark.parametrize("shape", [(16, 2), (4, 3, 10), (2, 3, 8, 6)])
def test_the_eight_lines_run_on_any_rank(shape):
    lines = snippets(README, "The core as a library")[0]
    lines = lines[lines.index("from wavediff.diffusion import") :]
    drawn = "torch.randn(16, 2)"
    assert drawn in lines

    class Net(nn.Module):
        def forward(self, x, c_noise):
            return 0.1 * x

    names = {"torch": torch, "net": Net(), "x0": torch.randn(shape), "z": torch.randn(shape)}
    exec(lines.replace(drawn, f"torch.randn{shape}"), names)
    assert names["x"].shape == names["state"].x.shape == shape
    assert names["state"].i == 17
    assert names["loss"].isfinite()
    assert names["x"].isfinite().all()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_exists_with_its_options(page, capsys):
    helps: dict[str, str] = {}
    for command, *words in commands(page.read_text(encoding="utf-8")):
        assert command in COMMANDS, command
        if command not in helps:
            with suppress(SystemExit):
                main([command, "--help"])
            helps[command] = capsys.readouterr().out
        known = set(re.findall(r"(?<![\w-])--?\w[\w-]*", helps[command])) | {"-"}
        options = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert options <= known, f"wavediff {command} {' '.join(words)}"


@pytest.mark.parametrize(
    "words",
    [words for words in commands(README) if words[0] == "train" and "recipe=NAME" not in words],
    ids=" ".join,
)
def test_every_training_is_configured(words, demo, capsys):
    assert run(main, [*words, "--cfg", "job"]) == 0, capsys.readouterr().err


def overrides() -> list[list[str]]:
    """What docs/models.md says to write for each kind of model."""
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    cells = re.findall(r"`(\+?[\w/.]+=[^`]+)`", page)
    return [cell.split() for cell in cells]


@pytest.mark.parametrize("words", overrides(), ids=" ".join)
def test_every_kind_of_model_is_configured(words, demo, capsys):
    recipe = [] if words[0].startswith("recipe=") else ["recipe=tiny"]
    assert run(main, ["train", *recipe, *words, "--cfg", "job"]) == 0, capsys.readouterr().err


def test_every_recipe_is_listed():
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"\[(\w+)\]\(\.\./recipes|`(\w+)`", page))
    names = {path.stem for path in (ROOT / "conf" / "recipe").glob("*.yaml")}
    assert names <= {name for pair in listed for name in pair}


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    kept = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_map_has_the_floors_of_the_house():
    section = README.partition("\n## Map of the code\n")[2]
    floors = re.findall(r"^      (\w+)/", section, re.MULTILINE)
    assert floors == runpy.run_path(str(ROOT / "tests" / "test_house.py"))["FLOORS"]


def test_the_package_lists_its_public_names():
    assert dir(wavediff) == sorted(wavediff.__all__)
