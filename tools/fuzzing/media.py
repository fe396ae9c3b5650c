"""Recordings, mels and latents that are damaged or odd."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.random import Generator
from safetensors.torch import save

from fuzzing.damage import VALUES, damage_file
from fuzzing.material import STEPS, Case, Material, output_of


def audio_case(rng: Generator, folder: Path, material: Material) -> Case:
    """A damaged or unusual recording."""
    suffix, subtype = [
        (".wav", "PCM_16"), (".wav", "FLOAT"), (".wav", "PCM_U8"), (".wav", "DOUBLE"),
        (".wav", "GSM610"), (".wav", "IMA_ADPCM"), (".wav", "ULAW"), (".flac", "PCM_16"),
        (".flac", "PCM_24"), (".ogg", "VORBIS"), (".ogg", "OPUS"), (".mp3", "MPEG_LAYER_III"),
        (".aiff", "PCM_16"), (".w64", "PCM_16"), (".caf", "PCM_16"), (".au", "PCM_16"),
    ][rng.integers(16)]  # fmt: skip
    path = folder / f"in{suffix}"
    rate = int(rng.choice([16_000, 8000, 44_100, 48_000]))
    channels = 1 if subtype == "GSM610" else int(rng.choice([1, 1, 2]))
    if subtype == "GSM610":
        rate = 8000
    sound = 0.1 * rng.normal(size=(int(rng.choice([1, 7, 400, 8000, 16_000])), channels))
    damage = ""
    if rng.random() < 0.3 and subtype in ("FLOAT", "DOUBLE"):
        damage = str(rng.choice(["nan", "inf", "1e20", "1e300"]))
        with np.errstate(over="ignore"):
            sound[rng.integers(len(sound))] = float(damage)
    elif rng.random() < 0.2:
        damage = str(rng.choice(["constant", "zero", "loud", "tiny"]))
        sound = {"constant": 0 * sound + 0.7, "zero": 0 * sound, "loud": sound * 100}.get(
            damage, sound * 1e-30
        )
    if subtype == "OPUS":
        rate = 48_000
    if subtype == "ULAW":  # libsndfile crashes beyond full scale
        sound = sound.clip(-1, 1)
    soundfile.write(path, sound, rate, subtype=subtype)
    if not damage or rng.random() < 0.3:
        damage = f"{damage} {damage_file(rng, path)}"
    if rng.random() < 0.1:
        path = path.rename(folder / f"in{rng.choice(['.wav', '.flac', '.mp3', '.ogg', '.npy'])}")
    words, output = _audio_command(rng, material, path.name)
    return Case(words, f"{suffix} {subtype}: {damage}", output)


def _audio_command(rng: Generator, material: Material, name: str) -> tuple[list[str], str | None]:
    run, prior = material.run, str(material.run("generator"))
    out = f"out{rng.choice(['.wav', '.wav', '.flac', '.ogg', '.mp3', '.opus', '.aiff', '.w64'])}"
    words = [
        ["enhance", name, "-o", out, "--checkpoint", str(run("enhancer")), *STEPS],
        ["mel", name, "-o", "out.npy"],
        ["vocode", name, "-o", "out.wav", "--checkpoint", str(run("vocoder")), *STEPS],
        ["encode", name, "-o", "out.npz", "--checkpoint", str(run("autoencoder"))],
        ["declip", name, "-o", out, "--checkpoint", prior, "--threshold", "0.1", *STEPS],
        ["extend", name, "-o", out, "--checkpoint", prior, "--cutoff", "2000", *STEPS],
        ["inpaint", name, "-o", out, "--checkpoint", prior, "--gap", "0.1:0.2", *STEPS],
        ["likelihood", name, "--checkpoint", prior, "--probes", "1", *STEPS],
        ["evaluate", "--reference", name, "--estimate", name, "--metrics", "si_sdr", "--jobs", "1"],
    ][rng.integers(9)]  # fmt: skip
    return words, output_of(words)


def mel_case(rng: Generator, folder: Path, material: Material) -> Case:
    """An array that is not quite a mel."""
    mel = np.load(material.folder / "mel.npy")
    suffix = str(rng.choice([".npy", ".pt", ".safetensors"]))
    path = folder / f"mel{suffix}"
    if rng.random() < 0.3:
        _write_mel(path, mel)
        damage = damage_file(rng, path)
    elif suffix == ".pt":
        damage = str(rng.choice(list(PT)))
        torch.save(PT[damage](torch.from_numpy(mel)), path)
    else:
        damage = str(rng.choice(list(ARRAYS)))
        changed = ARRAYS[damage](mel)
        if suffix == ".safetensors" and changed.dtype.kind not in "fiub":
            suffix, path = ".npy", folder / "mel.npy"
        if damage == "terabytes":
            path = folder / "mel.npy"
            head = io.BytesIO()
            np.lib.format.write_array_header_1_0(
                head, {"descr": "<f4", "fortran_order": False, "shape": (80, 10**10)}
            )
            path.write_bytes(head.getvalue() + bytes(1000))
        else:
            _write_mel(path, changed)
    words = ["vocode", path.name, "-o", "out.wav", *STEPS]
    if rng.random() < 0.7:
        words += ["--checkpoint", str(material.run("vocoder"))]
    return Case(words, f"{suffix}: {damage}", "out.wav")


ARRAYS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "transposed": lambda mel: mel.T,
    "no dimension": lambda mel: mel.sum(),
    "one dimension": lambda mel: mel[0],
    "four dimensions": lambda mel: mel[None, None],
    "two mels": lambda mel: np.stack([mel, mel]),
    "empty": lambda mel: mel[:, :0],
    "one frame": lambda mel: mel[:, :1],
    "nan": lambda mel: np.where(mel > -5, np.nan, mel),
    "infinite": lambda mel: np.where(mel > 0, np.inf, mel),
    "huge": lambda mel: mel * 1e30,
    "positive": lambda mel: np.exp(mel),
    "constant": lambda mel: 0 * mel,
    "integers": lambda mel: mel.astype(np.int16),
    "bytes": lambda mel: (mel * 20).astype(np.uint8),
    "half": lambda mel: mel.astype(np.float16),
    "double": lambda mel: mel.astype(np.float64),
    "complex": lambda mel: mel.astype(np.complex64),
    "boolean": lambda mel: mel > 0,
    "text": lambda mel: mel.astype("U9"),
    "objects": lambda mel: np.array([None, {}], dtype=object),
    "fields": lambda mel: np.zeros(80, dtype=[("a", "f4"), ("b", "i4")]),
    "dates": lambda mel: np.zeros((80, 9), dtype="M8[s]"),
    "terabytes": lambda mel: mel,
}  # fmt: skip
PT: dict[str, Callable[[torch.Tensor], Any]] = {
    "dict": lambda mel: {"mel": mel},
    "two": lambda mel: {"a": mel, "b": mel},
    "list": lambda mel: [mel, mel],
    "nested dict": lambda mel: {"mel": {"mel": mel}},
    "sparse": lambda mel: mel.to_sparse(),
    "csr": lambda mel: mel.to_sparse_csr(),
    "quantised": lambda mel: torch.quantize_per_tensor(mel, 0.1, 0, torch.qint8),
    "nested": lambda mel: torch.nested.nested_tensor([mel, mel[:, :5]]),
    "meta": lambda mel: mel.to("meta"),
    "stride 0": lambda mel: mel[:1, :1].expand(80, 10**9),
    "one value": lambda mel: torch.zeros(1).expand(80, 3),
    "parameter": lambda mel: torch.nn.Parameter(mel),
    "complex": lambda mel: mel.to(torch.complex64),
    "number": lambda mel: 3.0,
    "text": lambda mel: "mel",
    "none": lambda mel: None,
    "bfloat16": lambda mel: mel.to(torch.bfloat16),
    "float8": lambda mel: mel.to(torch.float8_e4m3fn),
    "boolean": lambda mel: mel > 0,
    "conjugate": lambda mel: torch.view_as_complex(torch.stack([mel, mel], -1)).conj(),
    "path": lambda mel: {"/etc/passwd": mel},
}  # fmt: skip


def _write_mel(path: Path, mel: np.ndarray) -> None:
    if path.suffix == ".npy":
        np.save(path, mel)
    elif path.suffix == ".pt":
        torch.save(torch.from_numpy(np.ascontiguousarray(mel)), path)
    else:
        path.write_bytes(save({"mel": torch.from_numpy(np.array(mel, order="C"))}))


def latent_case(rng: Generator, folder: Path, material: Material) -> Case:
    """A latent with damaged bytes, arrays or entries of its archive."""
    path = folder / "latent.npz"
    shutil.copy(material.folder / "latent.npz", path)
    how = str(rng.choice(["bytes", "arrays", "archive"]))
    if how == "bytes":
        damage = damage_file(rng, path)
    elif how == "arrays":
        with np.load(path) as file:
            arrays = dict(file)
        key = str(rng.choice(list(arrays)))
        value = VALUES[rng.integers(len(VALUES))]
        damage = f"{key}: {str(value)[:40]!r}"
        if rng.random() < 0.2:
            del arrays[key]
        elif key == "latent" and rng.random() < 0.8:
            name = str(
                rng.choice([name for name in ARRAYS if name not in ("terabytes", "objects")])
            )
            damage = f"latent: {name}"
            arrays[key] = ARRAYS[name](arrays[key])
        elif isinstance(value, str | bool | int | float) and abs(hash(value)) < 2**62:
            arrays[key] = np.asarray(value)
        np.savez(path, **arrays)
    else:
        data = bytearray(path.read_bytes())
        central = data.find(b"PK\x01\x02")
        field, size = [(8, 2), (10, 2), (20, 4), (24, 4), (42, 4), (6, 2)][rng.integers(6)]
        value = int(rng.choice([0, 1, 9, 97, 2**16 - 1, 2**31, 2**32 - 1])) & (2 ** (8 * size) - 1)
        data[central + field : central + field + size] = value.to_bytes(size, "little")
        path.write_bytes(bytes(data))
        damage = f"field {field} is {value}"
    words = ["decode", path.name, "-o", "out.wav", "--checkpoint", str(material.run("autoencoder"))]
    if rng.random() < 0.2:
        with suppress(Exception), zipfile.ZipFile(path, "a") as archive:
            archive.writestr("../../escaped.npy", b"x")
    return Case(words, f"{how}: {damage}", "out.wav")
