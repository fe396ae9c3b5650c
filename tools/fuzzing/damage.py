"""Faults of bytes and of nested values."""

from __future__ import annotations

import copy
import json
import struct
import sys
from pathlib import Path
from typing import Any

from numpy.random import Generator

# what people, scripts and the malicious put in the place of a value
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2, 3, 7, 1e-30, -0.5, 0.5, 1e9, 1e30, 10**20, 2**31, 2**40,
    -(2**63), 1_000_000, 100_000, 65_536, float("nan"), float("inf"), -float("inf"), "", "abc", "1",
    "null", "-1", "1e9", "../../x", "/etc/passwd", "\ud800", "\x00", "é" * 3, "x" * 5000, [], [0],
    [1, 2, 3], [[]], [None], {}, {"a": 1}, {"_target_": "os.system"},
    {"_target_": "wavediff.networks.unet.UNet"}, [1e9] * 3, {"name": "v"}, "edm",
    "wavediff.diffusion.ddim.DDIM",
]  # fmt: skip


def damaged(rng: Generator, data: bytes) -> tuple[bytes, str]:
    """Bytes with a fault of a disk, a copy or a network, and its name."""
    size = len(data)
    kind = rng.choice(
        ["flip", "flip", "head", "head", "cut", "hole", "longer", "empty", "noise", "words"]
    )
    if kind == "empty" or not size:
        return b"", "empty"
    if kind == "cut":
        return data[: rng.integers(size)], "cut"
    if kind == "longer":
        return data + rng.bytes(int(rng.integers(1, 5000))), "longer"
    if kind == "noise":
        return rng.bytes(min(size, 10_000)), "noise"
    changed = bytearray(data)
    if kind == "hole":
        start = int(rng.integers(size))
        end = min(size, start + int(rng.integers(1, 4096)))
        changed[start:end] = bytes(end - start)
    elif kind == "words":  # sizes and counts of a header
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(max(1, min(size, 120) - 4)))
            word = int(rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 65536]))
            changed[at : at + 4] = struct.pack("<I", word)
    else:
        reach = min(size, 256) if kind == "head" else size
        for _ in range(rng.integers(1, 20)):
            changed[rng.integers(reach)] = rng.integers(256)
    return bytes(changed), str(kind)


def damage_file(rng: Generator, path: Path) -> str:
    data, kind = damaged(rng, path.read_bytes())
    path.write_bytes(data)
    return kind


def mutated(rng: Generator, tree: Any) -> tuple[Any, str]:
    """A copy of nested dictionaries and lists with one to three places changed, and where."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)  # of this process alone, for deep trees
    try:
        return _mutated(rng, copy.deepcopy(tree))
    finally:
        sys.setrecursionlimit(limit)


def _mutated(rng: Generator, tree: Any) -> tuple[Any, str]:
    where = []
    for _ in range(rng.integers(1, 4)):
        found = places(tree)
        if not found:
            break
        parent, key, name = found[rng.integers(len(found))]
        value = VALUES[rng.integers(len(VALUES))]
        how = rng.choice(["value", "value", "value", "value", "delete", "rename", "swap", "deep"])
        if how == "delete":
            del parent[key]
        elif how == "rename" and isinstance(parent, dict):
            parent[f"{key}x"] = parent.pop(key)
        elif how == "swap":
            other, place, _ = found[rng.integers(len(found))]
            parent[key] = copy.deepcopy(other[place])
        elif how == "deep":
            parent[key] = _deep(int(rng.choice([10, 300, 2000])))
        else:
            how = repr(value)[:40]
            parent[key] = copy.deepcopy(value)
        where.append(f"{name}: {how}")
    return tree, ", ".join(where)


def places(tree: Any, name: str = "") -> list[tuple[Any, Any, str]]:
    keys: Any = (
        tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    )
    found = []
    for key in keys:
        found.append((tree, key, f"{name}.{key}"))
        found += places(tree[key], f"{name}.{key}")
    return found


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def as_json(value: Any) -> str:
    try:
        return json.dumps(value)
    except (RecursionError, ValueError):
        return "[" * 5000 + "]" * 5000
