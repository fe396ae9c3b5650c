"""Shards that are fetched: by HTTP, from commands, and unpacked."""

import gzip
import http.server
import io
import shutil
import tarfile
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wavediff.commands.pack import main as pack
from wavediff.data import webdataset as module
from wavediff.data.build import build_data
from wavediff.data.webdataset import webdataset
from wavediff.errors import UserError

RATE = 16000


class Server(http.server.SimpleHTTPRequestHandler):
    asked: list[str]
    faults: list[int]  # statuses of the next answers

    def do_GET(self):
        self.asked.append(self.path)
        if self.faults and self.path.endswith(".tar"):
            self.send_error(self.faults.pop())
        else:
            super().do_GET()

    def log_message(self, *words):
        pass


@pytest.fixture
def serve(tmp_path):
    """serve(folder) -> its URL, and the class of the handler."""
    servers = []

    def start(folder: Path):
        kind = type("Handler", (Server,), {"asked": [], "faults": []})
        handler = partial(kind, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}", kind

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """24 recordings, in/, and shards of four of them, shards/."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "in").mkdir()
    for i in range(24):
        noise = np.random.default_rng(i).uniform(-1, 1, 1600)
        soundfile.write(folder / "in" / f"{i:02d}.wav", noise, RATE)
    assert pack([str(folder / "in"), "-o", str(folder / "shards"), "--clips", "4"]) == 0
    return folder


@pytest.fixture
def packed(source, tmp_path):
    """A copy of the shards."""
    return shutil.copytree(source / "shards", tmp_path / "shards")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)


def names(root, tmp_path, window=2, count=24, **more):
    """The clips of an epoch in order, by the sums of their samples."""
    settings = {"split": None, "normalize": None, "gain_db": None, "min_seconds": 0}
    settings |= {"max_seconds": 30, "balance": "clips", "cache": False, "workers": 0, "mix": None}
    target = {"_target_": "wavediff.data.webdataset.webdataset", "root": root, "window": window}
    given = settings | target | {"cache_dir": str(tmp_path / "cache")} | more
    crops = build_data(given, 1600, RATE)[0]
    return [round(crops[i]["audio"].sum().item(), 3) for i in range(count)]


@pytest.mark.parametrize(
    "place",
    ["/shards.json", pytest.param("/shard-{000000..000005}.tar", marks=pytest.mark.slow)],
)
def test_shards_behind_urls_give_what_those_on_the_disk_give(packed, tmp_path, serve, place):
    if "{" in place:
        pytest.importorskip("braceexpand")
    url, kind = serve(packed)
    assert names(f"{url}{place}", tmp_path) == names(str(packed), tmp_path)
    shards = [path for path in kind.asked if path.endswith(".tar")]
    assert len(set(shards)) == 6
    kept = list((tmp_path / "cache").glob("*.tar"))
    assert len(kept) <= 6
    assert names(f"{url}{place}", tmp_path, window=1) != names(str(packed), tmp_path)


@pytest.mark.slow
def test_only_so_many_fetched_shards_are_kept(packed, tmp_path, serve):
    url, _ = serve(packed)
    first = names(f"{url}/shards.json", tmp_path, window=1)
    assert len(list((tmp_path / "cache").glob("*.tar"))) <= 3 + 1  # one is fetched ahead
    assert names(f"{url}/shards.json", tmp_path, window=1) == first


@pytest.mark.slow
def test_a_server_that_fails_for_a_while_is_asked_again(packed, tmp_path, serve):
    url, kind = serve(packed)
    kind.faults += [503, 429, 500]
    assert names(f"{url}/shards.json", tmp_path) == names(str(packed), tmp_path)


def test_a_server_that_cannot_be_reached_ends_the_run(packed, tmp_path, serve):
    url, kind = serve(packed)
    kind.faults += [503] * 1000
    with pytest.raises(UserError, match=r"HTTP 503: .*the same command resumes"):
        names(f"{url}/shards.json", tmp_path)
    with pytest.raises(UserError, match="cannot fetch"):
        webdataset("http://127.0.0.1:9/shards.json", cache_dir=str(tmp_path / "cache"))


def test_a_shard_that_the_server_does_not_have_is_skipped_and_counted(
    packed, tmp_path, serve, capsys
):
    url, _ = serve(packed)
    (packed / "shard-000003.tar").unlink()
    (packed / "shard-000004.tar").write_bytes(b"damaged" * 1000)
    found = names(f"{url}/shards.json", tmp_path, count=17)
    assert len(set(found[:16])) == 16
    told = capsys.readouterr().err
    assert "2 shards damaged or unusable in epoch 1" in told
    assert "HTTP 404" in told or "differs from its checksum" in told


def test_a_manifest_names_no_command_and_no_other_place(packed, tmp_path):
    text = (packed / "shards.json").read_text()
    for name in (f"pipe:touch {tmp_path}/executed; cat a.tar", "../a.tar", "/etc/a.tar"):
        (packed / "shards.json").write_text(text.replace("shard-000000.tar", name))
        with pytest.raises(UserError, match="is not a file beside it"):
            webdataset(str(packed))
    (packed / "shards.json").write_text(text.replace('"complete": true', '"complete": false'))
    with pytest.raises(UserError, match="are not complete"):
        webdataset(str(packed))
    (packed / "shards.json").write_text(text)
    (packed / "shard-000002.tar").unlink()
    with pytest.raises(UserError, match=r"lists shard-000002.tar, which does not exist"):
        webdataset(str(packed))
    assert not (tmp_path / "executed").exists()


def test_commands_write_shards(packed, tmp_path):
    commands = [f"pipe:cat {packed}/shard-00000{k}.tar" for k in range(6)]
    assert names(commands, tmp_path) == names(str(packed), tmp_path)
    with pytest.raises(UserError, match=r"exit code 3, not there"):
        names("pipe:echo not there >&2; exit 3", tmp_path)


@pytest.mark.slow
def test_compressed_shards(packed, tmp_path):
    for path in packed.glob("*.tar"):
        with open(path, "rb") as file, gzip.open(tmp_path / f"{path.name}.gz", "wb") as out:
            out.write(file.read())
    assert names(f"{tmp_path}/*.tar.gz", tmp_path) == names(str(packed), tmp_path)
    content = (tmp_path / "shard-000001.tar.gz").read_bytes()
    (tmp_path / "shard-000001.tar.gz").write_bytes(content[: len(content) * 3 // 5])
    found = names(f"{tmp_path}/*.tar.gz", tmp_path)
    assert 20 < len(set(found)) < 24  # what could be unpacked is used


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ("none/*.tar", "there are no such files"),
        ("s3://bucket/a.tar", "'pipe:aws s3 cp s3://bucket/a.tar -'"),
        ("", "is not a path"),
        ([], "data.root is empty"),
        ([3], "data.root=3 is not a path"),
    ],
)
def test_places_that_are_not_read(tmp_path, root, words):
    with pytest.raises(UserError) as raised:
        webdataset(root, cache_dir=str(tmp_path))
    assert words in str(raised.value)


def test_the_webdataset_package_reads_what_is_packed(source, packed):
    """By tarfile here; the slow test asks the package itself."""
    with tarfile.open(packed / "shard-000000.tar") as archive:
        members = {info.name: archive.extractfile(info).read() for info in archive}
    assert len(members) == 8
    for name, content in members.items():
        if name.endswith(".flac"):
            original, _ = soundfile.read(source / "in" / f"{Path(name).stem}.wav", dtype="int16")
            assert np.array_equal(soundfile.read(io.BytesIO(content), dtype="int16")[0], original)


@pytest.mark.slow
def test_the_webdataset_package_itself_reads_what_is_packed(packed):
    library = pytest.importorskip("webdataset")
    urls = [str(path) for path in sorted(packed.glob("*.tar"))]
    samples = list(library.WebDataset(urls, shardshuffle=False))
    assert len(samples) == 24
    assert {sample["__key__"] for sample in samples} == {f"{i:02d}" for i in range(24)}
    assert all(sample["flac"][:4] == b"fLaC" for sample in samples)


@pytest.mark.slow
@pytest.mark.parametrize("streaming", [True, False])
def test_datasets_of_hugging_face(source, tmp_path, streaming):
    datasets = pytest.importorskip("datasets")
    from wavediff.data.hf import hf

    files = sorted((source / "in").glob("*.wav"))
    rows = {"audio": [str(file) for file in files], "speaker": [f"s{i % 3}" for i in range(24)]}
    table = datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio(decode=False))
    content = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    table = table.remove_columns("audio").add_column("audio", content)
    for k in range(3):
        part = table.select(range(8 * k, 8 * k + 8))
        part.to_parquet(str(tmp_path / "table" / f"{k}.parquet"))
    given = {"_target_": "wavediff.data.hf.hf", "root": "parquet", "label": "speaker"}
    given |= {"files": f"{tmp_path}/table/*.parquet", "streaming": streaming}
    settings = {"split": None, "normalize": None, "gain_db": None, "min_seconds": 0}
    settings |= {"max_seconds": 30, "balance": "clips", "cache": False, "workers": 0, "mix": None}
    cache = {"cache_dir": str(tmp_path / "cache"), "window": 2}
    crops = build_data(settings | given | cache, 1600, RATE)[0]
    sums = {round(soundfile.read(f, dtype="float32")[0].sum().item(), 3): i % 3
            for i, f in enumerate(files)}  # fmt: skip
    items = [crops[i] for i in range(24)]
    found = {round(item["audio"].sum().item(), 3): item["label"] for item in items}
    assert {round(k, 2): v for k, v in found.items()} == {round(k, 2): v for k, v in sums.items()}
    assert crops.label_names == ["s0", "s1", "s2"]
    with pytest.raises(UserError, match="has no column 'sound'"):
        hf("parquet", files=f"{tmp_path}/table/*.parquet", column="sound")
    with pytest.raises(UserError, match="cannot be opened"):
        hf(str(tmp_path / "nothing"), streaming=streaming)
