"""`wavediff listen analyse`: from files of answers to the report."""

import csv
import json

import listening_set
import numpy as np
import pytest
from listening_set import save, simulated

from wavediff.cli import run
from wavediff.commands import listen
from wavediff.evaluation.listening.plan import identity
from wavediff.evaluation.listening.report import FILES
from wavediff.evaluation.listening.store import Store
from wavediff.evaluation.listening.validate import check
from wavediff.evaluation.web import policy_hash


def analyse(folder, *options, code=0):
    found = run(listen.main, ["analyse", f"{folder}/answers", "-o", f"{folder}/report", *options])
    assert found == code


def results(folder):
    return json.loads((folder / "report" / "results.json").read_text())


def opinion(rng, ours=75.0, theirs=60.0, reference=100):
    quality = {"reference": reference, "low anchor": 20, "mid anchor": 45}
    quality |= {"ours": ours, "theirs": theirs}

    def answer(condition):
        noise = 0 if condition == "reference" else rng.normal(0, 4)
        return int(np.clip(round(quality[condition] + noise), 0, 100))

    return answer


@pytest.fixture
def mushra(tmp_path):
    """Ten listeners who prefer ours, and one who does not recognise the reference."""
    rng = np.random.default_rng(0)
    plan = listening_set.plan("mushra", 4)
    found = [simulated(plan, f"l{n}", opinion(rng), rng) for n in range(10)]
    found.append(simulated(plan, "sleepy", opinion(rng, reference=60), rng))
    save(tmp_path / "answers", plan, found)
    return tmp_path, plan, found


def test_a_mushra_test_is_screened_and_analysed(mushra, capsys):
    folder, plan, _ = mushra
    analyse(folder)
    out, err = capsys.readouterr()
    assert "sleepy: rates the hidden reference below 90 in 4 of 4 trials" in err
    assert out.startswith("mushra: 10 listeners, 4 trials\n")
    table = {line.split("  ")[0].strip(): line for line in out.splitlines()}
    assert "100.00" in table["reference"]
    assert "yes" in table["ours - theirs"]
    assert "Wilcoxon" in out
    assert sorted(path.name for path in (folder / "report").iterdir()) == sorted(FILES)
    found = results(folder)
    assert found["test"] == identity(plan.encoded())
    assert list(found["excluded"]) == ["sleepy"]
    means = {c["name"]: c for c in found["conditions"]}
    assert means["ours"]["mean"] == pytest.approx(75, abs=2)
    assert means["ours"]["ci95"][0] < means["ours"]["mean"] < means["ours"]["ci95"][1]
    first = found["comparisons"][0]
    assert (first["a"], first["b"], first["n"]) == ("ours", "theirs", 10)
    assert first["estimate"] == pytest.approx(15, abs=3)
    assert first["p"] == pytest.approx(2 / 2**10)  # all ten prefer ours
    assert first["p_holm"] == pytest.approx(3 * 2 / 2**10)
    assert first["significant"] is True
    page = (folder / "report" / "index.html").read_text()
    assert "sleepy" in page
    assert "data:image/png;base64," in page
    style = page.partition("<style>")[2].partition("</style>")[0]
    assert f"style-src '{policy_hash(style)}'" in page
    assert "://" not in page  # nothing is loaded
    assert (folder / "report" / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_the_csv_has_every_rating_for_other_programs(mushra):
    folder, plan, found = mushra
    analyse(folder)
    with open(folder / "report" / "answers.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 11 * 4 * 5
    assert sum(row["excluded"] != "" for row in rows) == 4 * 5
    answer = found[0]["answers"][0]
    trial = next(t for t in plan.trials if t.id == answer["trial"])
    mine = [r for r in rows if (r["listener"], r["position"]) == ("l0", "1")]
    expected = {trial.condition(s): str(rating) for s, rating in answer["ratings"].items()}
    assert {row["condition"]: row["rating"] for row in mine} == expected


def test_nobody_is_excluded_where_that_is_asked_for(mushra, capsys):
    folder, *_ = mushra
    analyse(folder, "--no-screening")
    assert "mushra: 11 listeners" in capsys.readouterr().out
    assert results(folder)["excluded"] == {}


def test_bad_files_are_listed_and_the_rest_is_analysed(mushra, capsys):
    folder, plan, found = mushra
    (folder / "answers" / "empty.json").write_text("")
    (folder / "answers" / "other.json").write_text("{}")
    cheat = {**found[0], "session": "0" * 32, "manifest": plan.base64()}
    cheat["answers"] = [{**cheat["answers"][0], "seconds": -1}, *cheat["answers"][1:]]
    (folder / "answers" / "cheat.json").write_text(json.dumps(cheat))
    analyse(folder, code=2)
    out, err = capsys.readouterr()
    assert "10 listeners" in out
    failed = [line for line in err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 3
    assert "cheat.json: trial" in err
    assert "seconds is not a number" in err


def test_of_a_listener_and_a_session_the_first_answers_count(mushra, capsys):
    folder, plan, found = mushra
    rng = np.random.default_rng(1)
    again = simulated(plan, "l0", opinion(rng, ours=0), rng) | {"started": "2026-02-01T12:00:00Z"}
    save(folder / "answers" / "later", plan, [again, found[1]])
    analyse(folder)
    out, err = capsys.readouterr()
    assert "10 listeners" in out
    assert "answered again, of whom the first answers count (1):\n  l0" in err
    ours = next(c for c in results(folder)["conditions"] if c["name"] == "ours")
    assert ours["by_listener"]["l0"] > 60


def test_a_database_and_files_together(mushra, tmp_path, capsys):
    folder, plan, found = mushra
    file = tmp_path / "served.sqlite"
    store = Store(file, plan, 100)
    rng = np.random.default_rng(2)
    more = [simulated(plan, f"m{n}", opinion(rng), rng) for n in range(3)]
    for session in [*more, found[0]]:
        store.add(check(session, plan, identity(plan.encoded())))
    store.close()
    words = ["analyse", str(file), f"{folder}/answers", "-o", f"{folder}/report"]
    assert run(listen.main, words) == 0
    assert "mushra: 13 listeners" in capsys.readouterr().out


def test_a_preference_test(tmp_path, capsys):
    rng = np.random.default_rng(3)
    plan = listening_set.plan("ab", 10, checks=4)

    def answer(conditions, x):
        good = "reference" if "low anchor" in conditions else "ours"
        return conditions.index(good)

    found = [simulated(plan, f"l{n}", answer, rng) for n in range(3)]
    found.append(simulated(plan, "guess", lambda c, x: int(c[0] in ("reference", "ours")), rng))
    save(tmp_path / "answers", plan, found)
    analyse(tmp_path)
    out, err = capsys.readouterr()
    assert "guess: 4 of 4 attention trials wrong" in err
    (comparison,) = results(tmp_path)["comparisons"]
    assert (comparison["n"], comparison["estimate"]) == (30, 1)
    assert comparison["p"] == pytest.approx(2 / 2**30)
    assert "100.0 %" in out
    assert "exact binomial" in out


def test_one_listener_has_no_interval_and_names_are_no_formulas(tmp_path):
    rng = np.random.default_rng(4)
    plan = listening_set.plan("mos", 6, ("$ours$", "=theirs"))
    found = simulated(plan, "<b>=1+1", lambda condition: 1 + (condition == "$ours$"), rng)
    found["comment"] = "<script>alert(1)</script>"
    save(tmp_path / "answers", plan, [found])
    analyse(tmp_path)
    means = {c["name"]: c for c in results(tmp_path)["conditions"]}
    assert means["$ours$"]["ci95"] is None
    page = (tmp_path / "report" / "index.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "'=theirs" in (tmp_path / "report" / "answers.csv").read_text()


def test_answers_of_two_tests_are_refused(mushra, capsys):
    folder, *_ = mushra
    rng = np.random.default_rng(5)
    other = listening_set.plan("mushra", 5)
    save(folder / "answers" / "other", other, [simulated(other, "x", opinion(rng), rng)])
    analyse(folder, code=2)
    assert "answers of several tests" in capsys.readouterr().err
    assert not (folder / "report").exists()


def test_where_everybody_is_excluded_there_is_no_report(tmp_path, capsys):
    rng = np.random.default_rng(6)
    plan = listening_set.plan("mushra", 4)
    save(tmp_path / "answers", plan, [simulated(plan, "a", opinion(rng, reference=50), rng)])
    analyse(tmp_path, code=2)
    out, err = capsys.readouterr()
    assert out == ""
    assert "all 1 listeners are excluded" in err
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"x", "has no .json"),
        ("a.json", b"[1]", "not a JSON object"),
        ("a.json", b'{"a": NaN}', "NaN is not a number"),
        ("a.json", b'{"a": 1, "a": 2}', "a key is there twice"),
        ("a.json", b"[" * 100_000, "there are no answers"),
        ("a.sqlite", b"SQLite format 3\x00" + b"x" * 100, "cannot use"),
    ],
)
def test_what_is_not_answers_is_refused_in_a_sentence(name, content, message, tmp_path, capsys):
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / name).write_bytes(content)
    analyse(tmp_path, code=2)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) == 1
