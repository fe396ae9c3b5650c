import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from wavediff.cli import run
from wavediff.commands.evaluate import main
from wavediff.commands.evaluate_arguments import METRIC_HELP, NO_REFERENCE_HELP
from wavediff.evaluation.metrics import METRICS
from wavediff.evaluation.no_reference import NO_REFERENCE

RATE = 16000
QUICK = "--measures=si_sdr,mr_stft,log_mel_error"


def evaluate(tmp_path, *options, measures=QUICK, jobs=1):
    argv = ["--reference", str(tmp_path / "ref"), "--estimate", str(tmp_path / "est")]
    return run(main, [*argv, f"--jobs={jobs}", *([measures] if measures else []), *options])


def write(path, audio, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate)


@pytest.fixture
def noise():
    return 0.1 * np.random.default_rng(0).standard_normal(RATE)


@pytest.fixture
def folders(tmp_path, noise):
    """Three pairs at an SI-SDR of 40, 20 and 0 dB, one of them flac beside wav, in a subfolder."""
    disturbance = np.random.default_rng(1).standard_normal(RATE)
    disturbance -= (disturbance @ noise) / (noise @ noise) * noise
    disturbance *= np.linalg.norm(noise) / np.linalg.norm(disturbance)
    for name, suffix, factor in (("a", ".flac", 0.01), ("b", ".wav", 0.1), ("sub/c", ".wav", 1)):
        write(tmp_path / "ref" / f"{name}.wav", noise)
        write(tmp_path / "est" / f"{name}{suffix}", noise + factor * disturbance)
    return tmp_path


def test_table_csv_and_json(folders, capsys):
    code = evaluate(
        folders, "--per-file", f"--csv={folders}/out/f.csv", f"--json={folders}/out/all.json"
    )
    out, err = capsys.readouterr()
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert [line[0] for line in lines[1:4]] == ["a", "b", "sub/c"]
    assert [float(line[1]) for line in lines[1:4]] == pytest.approx([40, 20, 0], abs=0.1)
    summary = next(line for line in lines if line[:2] == ["SI-SDR", "(dB)"])
    # mean 20, s = 20, t(0.975, 2) = 4.3027
    assert float(summary[3]) == pytest.approx(20, abs=0.1)
    assert float(summary[4]) == pytest.approx(20 - 4.3027 * 20 / 3**0.5, abs=0.2)
    assert summary[-1] == "3"
    assert "3/3" in err  # progress

    rows = list(csv.DictReader((folders / "out/f.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == ["a", "b", "sub/c"]
    assert float(rows[1]["si_sdr"]) == pytest.approx(20, abs=0.1)
    result = json.loads((folders / "out/all.json").read_text())
    assert result["measures"]["si_sdr"]["mean"] == pytest.approx(20, abs=0.1)
    assert result["measures"]["si_sdr"]["n"] == 3
    assert result["measures"]["mr_stft"]["higher_is_better"] is False
    assert result["files"][0]["estimate"].endswith("a.flac")
    assert result["files"][2]["values"]["si_sdr"] == pytest.approx(0, abs=0.1)
    assert not [path for path in (folders / "out").iterdir() if path.name.startswith(".")]


@pytest.fixture
def enhanced(folders, noise):
    """A noisy input 10 dB below each estimate, and a manifest: a at 5 dB, b and sub/c at 10 dB."""
    disturbance = np.random.default_rng(1).standard_normal(RATE)
    disturbance -= (disturbance @ noise) / (noise @ noise) * noise
    disturbance *= np.linalg.norm(noise) / np.linalg.norm(disturbance)
    for name, factor in (("a", 0.01), ("b", 0.1), ("sub/c", 1)):
        noisy = noise + 10**0.5 * factor * disturbance
        write(folders / "noisy" / f"{name}.wav", 0.2 * noisy)
    text = "name,snr_db,kind\nb,10,fan\nsub/c.wav,10,rain\na,5,rain\nother,0,fan\n"
    (folders / "set.csv").write_text(text)
    return folders


def test_the_noisy_input_beside_the_estimate(enhanced, capsys):
    code = evaluate(
        enhanced,
        f"--noisy={enhanced}/noisy",
        "--per-file",
        f"--csv={enhanced}/f.csv",
        f"--json={enhanced}/all.json",
    )
    out, _ = capsys.readouterr()
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    heading, si_sdr = (line for line in lines if line[:1] == ["metric"] or line[:1] == ["SI-SDR"])
    assert heading[2:5] == ["noisy", "estimate", "improvement"]
    # 10 dB for each file, so that the interval of the improvement is nothing
    numbers = [float(text) for text in si_sdr[3:] if text != "to"]
    assert numbers == pytest.approx([10, 20, 10, 10, 10, 3], abs=0.05)
    per_file = next(line for line in lines if line[0] == "b")
    assert [float(x) for x in per_file[1:4]] == pytest.approx([10, 20, 10], abs=0.05)

    result = json.loads((enhanced / "all.json").read_text())
    assert result["measures"]["si_sdr"]["mean"] == pytest.approx(20, abs=0.05)
    assert result["measures"]["si_sdr"]["noisy"]["mean"] == pytest.approx(10, abs=0.05)
    assert result["measures"]["si_sdr"]["improvement"]["ci95"] == pytest.approx([10, 10], abs=0.1)
    # a distance that fell is an improvement too
    mel = result["measures"]["log_mel_error"]
    assert mel["improvement"]["mean"] == pytest.approx(mel["noisy"]["mean"] - mel["mean"])
    assert mel["improvement"]["mean"] > 0.5
    assert result["files"][0]["noisy"].endswith("noisy/a.wav")
    row = next(csv.DictReader((enhanced / "f.csv").read_text().splitlines()))
    assert float(row["noisy_si_sdr"]) == pytest.approx(30, abs=0.05)
    assert float(row["si_sdr"]) == pytest.approx(40, abs=0.05)
    assert float(row["si_sdr_improvement"]) == pytest.approx(10, abs=0.05)


def test_a_breakdown_from_a_manifest(enhanced, noise, capsys):
    write(enhanced / "ref/d.wav", noise)
    write(enhanced / "est/d.wav", noise[::-1])
    options = [f"--manifest={enhanced}/set.csv", f"--json={enhanced}/all.json"]
    assert evaluate(enhanced, *options, f"--noisy={enhanced}/noisy") == 0
    out, err = capsys.readouterr()
    assert "not in the manifest (1):\n  d" in err
    assert "references without a noisy input (1):" in err
    rows = [line.split() for line in out.splitlines() if line.startswith("SI-SDR")]
    assert [row[2] for row in rows[:2]] == ["5", "10"]  # as numbers, not as text
    assert [float(x) for x in rows[0][3:]] == pytest.approx([30, 40, 10, 1], abs=0.05)
    assert [float(x) for x in rows[1][3:]] == pytest.approx([0, 10, 10, 2], abs=0.05)
    result = json.loads((enhanced / "all.json").read_text())
    assert result["breakdown"]["snr_db"]["10"]["si_sdr"]["mean"] == pytest.approx(10, abs=0.05)
    assert result["files"][0]["manifest"] == {"snr_db": "5"}
    assert "manifest" not in result["files"][2]

    csv_option = f"--csv={enhanced}/f.csv"
    assert evaluate(enhanced, *options, "--by=kind,snr_db", csv_option) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    means = {row[2]: float(row[3]) for row in rows if row and row[0] == "SI-SDR" and len(row) == 5}
    assert means == pytest.approx({"fan": 20, "rain": 20, "5": 40, "10": 10}, abs=0.05)
    rows = list(csv.DictReader((enhanced / "f.csv").read_text().splitlines()))
    assert [row["kind"] for row in rows] == ["rain", "fan", "", "rain"]


def test_two_files_and_their_noisy_one(enhanced, capsys):
    argv = ["--reference", f"{enhanced}/ref/a.wav", "--estimate", f"{enhanced}/est/b.wav"]
    argv += ["--jobs=1", "--measures=si_sdr"]
    assert run(main, [*argv, f"--noisy={enhanced}/noisy/sub/c.wav"]) == 0
    line = capsys.readouterr().out.splitlines()[-1].split()
    assert [float(x) for x in line[3:6]] == pytest.approx([-10, 20, 30], abs=0.05)
    assert run(main, [*argv, f"--noisy={enhanced}/noisy"]) == 2
    assert "Give two folders or two audio files" in capsys.readouterr().err


def test_a_noisy_input_that_cannot_be_measured_or_read(enhanced, noise, capsys):
    write(enhanced / "noisy/a.wav", 0 * noise)
    (enhanced / "noisy/b.wav").write_text("no audio")
    options = [f"--noisy={enhanced}/noisy", f"--json={enhanced}/all.json"]
    assert evaluate(enhanced, *options, measures="--measures=si_sdr") == 2
    out, err = capsys.readouterr()
    assert "a: SI-SDR (dB): the noisy input is silent" in err
    assert "could not be read (1):" in err
    assert out.splitlines()[-1].endswith("1 of 3")
    record = json.loads((enhanced / "all.json").read_text())["files"][0]
    assert record["noisy_unmeasurable"] == {"si_sdr": "the noisy input is silent"}
    assert record["improvements"] == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read the manifest"),
        ("", "column name, snr_db is missing; the header is empty"),
        ("name,snr\na,5\n", "column snr_db is missing; the header is name, snr."),
        ("name,snr_db\na,5\na.wav,0\n", "two rows of a"),
        ("name,snr_db\nx,5\n", "none of the files is in the column name"),
        (b"name,snr_db\n\xff\xfe,5\n", "cannot read the manifest"),
    ],
)
def test_a_bad_manifest_is_one_sentence(text, message, enhanced, capsys):
    path = enhanced / "bad.csv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert evaluate(enhanced, f"--manifest={path}") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) == 1


def test_by_needs_a_manifest(folders, capsys):
    with pytest.raises(SystemExit, match="2"):
        evaluate(folders, "--by=snr_db")
    assert "--manifest" in capsys.readouterr().err


def test_noisy_names_that_do_not_match_are_one_sentence(enhanced, capsys):
    for path in (enhanced / "noisy").rglob("*.wav"):
        path.rename(path.with_stem("x" + path.stem))
    assert evaluate(enhanced, f"--noisy={enhanced}/noisy") == 2
    assert "Name the noisy inputs like their references" in capsys.readouterr().err


@pytest.mark.slow
def test_processes_give_the_same(folders, capsys):
    assert evaluate(folders) == 0
    one = capsys.readouterr().out
    assert evaluate(folders, jobs=2) == 0
    assert capsys.readouterr().out == one


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_the_workers_as_well(folders, number):
    words = [sys.executable, "-m", "wavediff", "evaluate", "--jobs", "2", QUICK]
    words += ["--reference", str(folders / "ref"), "--estimate", str(folders / "est")]
    words += ["--json", str(folders / "x.json")]
    with subprocess.Popen(words, stderr=subprocess.PIPE, start_new_session=True) as process:
        head = process.stderr.read(9)  # the bar, while the workers start
        time.sleep(0.5)
        os.killpg(process.pid, number)  # as a terminal does
        try:
            said = (head + process.communicate(timeout=30)[1]).decode()
        except subprocess.TimeoutExpired:  # a worker holds stderr
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode in ((130, -2) if number == signal.SIGINT else (143,))
    assert "Traceback" not in said
    listed = ["ps", "-o", "stat=", "-s", str(process.pid)]
    for _ in range(50):  # Python's tracker of shared memory ends once the command has
        states = subprocess.run(listed, capture_output=True, text=True).stdout.split()
        if all(state.startswith("Z") for state in states):
            break
        time.sleep(0.1)
    assert all(state.startswith("Z") for state in states)
    assert not list(folders.glob("*.json"))
    assert not list(folders.glob(".tmp-*"))


def test_two_files_are_a_pair(folders, capsys):
    argv = ["--reference", f"{folders}/ref/a.wav", "--estimate", f"{folders}/est/b.wav"]
    assert run(main, [*argv, "--jobs=1", "--measures=si_sdr"]) == 0
    assert "20.0" in capsys.readouterr().out


def test_all_measures_by_default(tmp_path, noise, capsys):
    for measure in METRICS.values():
        if measure.package:
            pytest.importorskip(measure.package)
    write(tmp_path / "ref/a.wav", noise)
    write(tmp_path / "est/a.wav", noise * 0.9)
    assert evaluate(tmp_path, measures=None) == 0
    out = capsys.readouterr().out
    assert all(measure.label in out for measure in METRICS.values())


def test_what_cannot_be_measured_is_listed_and_counted(folders, noise, capsys):
    write(folders / "ref/silent.wav", 0 * noise)
    write(folders / "est/silent.wav", noise)
    write(folders / "ref/zero.wav", noise)
    write(folders / "est/zero.wav", 0 * noise)
    code = evaluate(folders, f"--csv={folders}/f.csv", f"--json={folders}/all.json")
    out, err = capsys.readouterr()
    assert code == 0
    assert "silent: SI-SDR (dB), MR-STFT, log-mel error: the reference is silent" in err
    assert "zero: SI-SDR (dB): the estimate is silent" in err
    table = {line.split()[0]: line for line in out.splitlines()}
    assert table["SI-SDR"].endswith("3 of 5")
    assert table["MR-STFT"].endswith("4 of 5")
    result = json.loads((folders / "all.json").read_text())
    assert result["measures"]["si_sdr"]["n"] == 3
    assert result["measures"]["si_sdr"]["mean"] == pytest.approx(20, abs=0.1)
    files = {record["name"]: record for record in result["files"]}
    assert files["zero"]["unmeasurable"] == {"si_sdr": "the estimate is silent"}
    lines = (folders / "f.csv").read_text().splitlines()
    rows = {row["name"]: row for row in csv.DictReader(lines)}
    assert rows["zero"]["si_sdr"] == ""
    assert "si_sdr: the estimate is silent" in rows["zero"]["remarks"]


@pytest.mark.parametrize(
    ("samples", "why"),
    [
        (1, "only 1 sample (0.0625 ms) to compare, not 100 ms"),
        (10, "only 10 samples (0.625 ms)"),
        (1000, "only 1000 samples (62.5 ms)"),
    ],
)
@pytest.mark.parametrize("short", ["ref", "est"])
def test_what_is_too_short_is_not_perfect(tmp_path, noise, capsys, samples, why, short):
    for folder in ("ref", "est"):
        write(tmp_path / folder / "a.wav", noise[:samples] if folder == short else noise)
    names = "mcd,lsd,mr_stft,log_mel_error,si_sdr"
    assert evaluate(tmp_path, f"--json={tmp_path}/x.json", measures=f"--measures={names}") == 0
    said = capsys.readouterr().err
    assert f"a: MCD (dB), LSD (dB), MR-STFT, log-mel error, SI-SDR (dB): {why}" in said
    longer = "reference" if short == "est" else "estimate"
    assert f"% of the {longer} is not compared" in said
    record = json.loads((tmp_path / "x.json").read_text())["files"][0]
    assert record["values"] == {}
    assert set(record["unmeasurable"]) == set(names.split(","))


def test_silence_and_a_constant_have_no_distance(tmp_path, noise, capsys):
    for name, ref, est in (
        ("quiet", noise, 0 * noise),
        ("both", 0 * noise, 0 * noise),
        ("constant", 0 * noise + 0.2, noise),
    ):
        write(tmp_path / f"ref/{name}.wav", ref)
        write(tmp_path / f"est/{name}.wav", est)
    assert evaluate(tmp_path, measures="--measures=mcd,lsd") == 0
    output = capsys.readouterr()
    assert "quiet: MCD (dB): the estimate is silent" in output.err
    assert "both: MCD (dB), LSD (dB): the reference is silent" in output.err
    assert "constant: MCD (dB), LSD (dB): the reference is constant" in output.err
    assert "1 of 3" in output.out  # the distance of silence


@pytest.mark.parametrize(
    "text",
    [
        "name;snr_db\na;5\nsub/b;2,5\n",
        "name\tsnr_db\na.wav\t5\nsub/b\t2.5\n\n",
        "snr_db, name\n5, a\n2.5, sub/b\n7\n",
        '\ufeff"name";"snr_db"\r\n"a";"5"\r\n"sub/b";"2,5"\r\n',
    ],
)
def test_cells_of_a_manifest_are_separated_as_its_header_has_it(tmp_path, noise, capsys, text):
    for name in ("a", "sub/b"):
        write(tmp_path / f"ref/{name}.wav", noise)
        write(tmp_path / f"est/{name}.wav", 0.5 * noise)
    (tmp_path / "m.csv").write_bytes(text.encode())
    assert evaluate(tmp_path, f"--manifest={tmp_path}/m.csv", measures="--measures=lsd") == 0
    table = capsys.readouterr().out.replace("2,5", "2.5")
    assert table.index("2.5") < table.index("  5 ")


def test_nothing_measurable_still_makes_a_table(tmp_path, noise, capsys):
    write(tmp_path / "ref/a.wav", 0 * noise)
    write(tmp_path / "est/a.wav", noise)
    assert evaluate(tmp_path) == 0
    assert "0 of 1" in capsys.readouterr().out


def test_unmatched_files_are_listed(folders, noise, capsys):
    write(folders / "ref/only-here.wav", noise)
    write(folders / "est/extra.wav", noise)
    assert evaluate(folders) == 0
    err = capsys.readouterr().err
    assert "references without an estimate (1):" in err
    assert "only-here.wav" in err
    assert "estimates without a reference (1):" in err
    assert "extra.wav" in err


def test_lengths_and_rates_that_differ(tmp_path, noise, capsys):
    write(tmp_path / "ref/cut.wav", noise)
    write(tmp_path / "est/cut.wav", 0.5 * noise[: RATE // 2])
    write(tmp_path / "ref/near.wav", noise)
    write(tmp_path / "est/near.wav", 0.5 * noise[:-100])
    t = np.arange(2 * RATE) / (2 * RATE)
    tone = 0.3 * np.sin(2 * np.pi * 440 * t)
    write(tmp_path / "ref/rate.wav", tone[::2])
    write(tmp_path / "est/rate.wav", tone, 2 * RATE)
    assert evaluate(tmp_path, f"--json={tmp_path}/all.json") == 0
    err = capsys.readouterr().err
    assert "cut: the estimate is 0.50 s shorter than the reference" in err
    assert "near: " not in err
    assert "rate: the estimate was resampled from 32000 Hz to 16000 Hz" in err
    files = {f["name"]: f for f in json.loads((tmp_path / "all.json").read_text())["files"]}
    assert files["cut"]["seconds"] == 0.5
    assert files["cut"]["values"]["log_mel_error"] == pytest.approx(np.log(2), abs=0.02)
    assert files["rate"]["values"]["si_sdr"] > 30


def test_one_bad_file_does_not_stop_the_rest(folders, capsys):
    (folders / "est/b.wav").write_text("no audio")
    assert evaluate(folders, f"--json={folders}/all.json") == 2
    out, err = capsys.readouterr()
    assert "could not be read (1):" in err
    assert "b.wav" in err
    assert "Traceback" not in err
    assert "2 of 3" in out
    assert "b.wav" in json.loads((folders / "all.json").read_text())["files"][1]["error"]


def test_a_missing_package_leaves_its_measures_out_aloud(folders, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pesq", None)
    monkeypatch.setitem(sys.modules, "pystoi", None)
    monkeypatch.delitem(METRICS, "f0_rmse")  # slow
    assert evaluate(folders, measures=None) == 0
    out, err = capsys.readouterr()
    assert err.count("pip install 'wavediff[evaluate]'") == 6
    assert "PESQ" not in out
    assert "MR-STFT" in out
    assert evaluate(folders, measures="--measures=pesq_wb") == 2  # asked for by name
    assert capsys.readouterr().err.startswith("error: the package pesq is missing")


def test_names_that_differ_in_their_suffix_only(tmp_path, noise, capsys):
    for name in ("ref/a.wav", "ref/a.flac", "ref/b.wav", "ref/b.flac", "ref/c.wav"):
        write(tmp_path / name, noise)
    for name in ("est/a.flac.wav", "est/a.wav.wav", "est/b.flac", "est/c.wav", "est/c.flac"):
        write(tmp_path / name, 0.5 * noise)
    assert evaluate(tmp_path, "--json", str(tmp_path / "x.json"), measures="--measures=lsd") == 0
    files = json.loads((tmp_path / "x.json").read_text())["files"]
    pairs = {file["reference"][-8:]: file["estimate"][-14:] for file in files}
    assert pairs == {
        "f/a.flac": "est/a.flac.wav",
        "ef/a.wav": "/est/a.wav.wav",
        "f/b.flac": str(tmp_path / "est/b.flac")[-14:],
        "ef/c.wav": str(tmp_path / "est/c.wav")[-14:],
    }
    said = capsys.readouterr().err
    assert "without an estimate (1):\n  " + str(tmp_path / "ref/b.wav") in said
    assert "without a reference (1):\n  " + str(tmp_path / "est/c.flac") in said


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: (p / "est").rename(p / "moved"), "does not exist"),
        (lambda p: [f.rename(f.with_stem("x" + f.stem)) for f in (p / "est").rglob("*.*")], "name"),
        (lambda p: [f.unlink() for f in (p / "ref").rglob("*.wav")], "no files"),
    ],
)
def test_bad_folders_are_one_sentence(spoil, message, folders, capsys):
    spoil(folders)
    assert evaluate(folders) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_place_that_cannot_be_written_to_fails_first(folders, capsys):
    (folders / "file").touch()
    assert evaluate(folders, f"--csv={folders}/f.csv", f"--json={folders}/file/all.json") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: cannot write")
    assert not (folders / "f.csv").exists()


@pytest.mark.parametrize("option", ["--measures=pesk", "--measures=,", "--jobs=0", "--jobs=many"])
def test_bad_options(option, folders, capsys):
    with pytest.raises(SystemExit, match="2"):
        evaluate(folders, option)
    assert option.split("=")[0] in capsys.readouterr().err


def test_help_shows_examples(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    out = capsys.readouterr().out
    assert "examples:" in out
    assert list(METRIC_HELP) == list(METRICS)
    assert list(NO_REFERENCE_HELP) == list(NO_REFERENCE)
    assert all(name in out for name in [*METRICS, *NO_REFERENCE])


@pytest.fixture
def sets(tmp_path):
    """Forty noises in each of three folders: alike, alike, and ten times as loud."""
    rng = np.random.default_rng(5)
    for folder, level in (("real", 0.03), ("fake", 0.03), ("loud", 0.3)):
        for i in range(40):
            swing = rng.uniform(0.5, 1)
            write(tmp_path / folder / f"{folder}{i}.wav", level * swing * rng.standard_normal(2000))
    return tmp_path


def test_folders_are_compared_as_sets_without_pairs(sets, capsys):
    def distance(estimate: str, *options: str) -> float:
        folders = ["--reference", f"{sets}/real", "--estimate", f"{sets}/{estimate}"]
        assert run(main, [*folders, "--frechet", *options]) == 0
        return float(capsys.readouterr().out.split()[2])

    assert distance("real") < 1e-9
    near, far = distance("fake"), distance("loud", f"--json={sets}/all.json")
    assert near < 1
    # twenty bands whose mean is log(10) higher
    assert far == pytest.approx(20 * np.log(10) ** 2, rel=0.1)
    result = json.loads((sets / "all.json").read_text())
    assert result["frechet"] == pytest.approx(far, rel=1e-3)
    assert result["references"] == result["estimates"] == 40


def test_what_sets_cannot_have_is_told(sets, capsys):
    folders = ["--reference", f"{sets}/real", "--estimate", f"{sets}/fake", "--frechet"]
    with pytest.raises(SystemExit):
        run(main, [*folders, "--per-file"])
    assert "compares sets" in capsys.readouterr().err
    assert run(main, [*folders, f"{sets}/real/real0.wav"]) == 2
    assert "torch.jit.save" in capsys.readouterr().err
    (sets / "fake/fake0.wav").write_text("nothing")
    write(sets / "fake/fake1.wav", np.ones(1))
    assert run(main, folders) == 2
    said = capsys.readouterr().err
    assert "could not be read (2)" in said
    assert "fake1.wav is shorter than 100 ms" in said
    (sets / "one").mkdir()
    (sets / "real/real0.wav").rename(sets / "one/a.wav")
    assert run(main, ["--reference", f"{sets}/real", "--estimate", f"{sets}/one", "--frechet"]) == 2
    assert "at least 2 files" in capsys.readouterr().err
