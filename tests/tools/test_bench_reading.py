"""tools/bench_reading.py on a few files."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "bench_reading.py"


@pytest.mark.slow
def test_both_kinds_are_measured(tmp_path):
    words = ["--files", "12", "--seconds", "1", "--size", "40K", "--repeats", "1"]
    done = subprocess.run(
        [sys.executable, str(TOOL), *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [row[0].strip() for row in rows[1:]] == ["folder", "shards", "folder", "shards"]
    assert all(float(value) > 0 for row in rows[1:] for value in row[2:])
    assert not list(tmp_path.iterdir())
