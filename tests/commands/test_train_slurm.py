"""`wavediff train --multirun hydra/launcher=submitit_slurm`, where Slurm is three small scripts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.errors import HydraException

from wavediff.commands.composing import sentence_of
from wavediff.tasks.checkpoint import load_task

# sbatch keeps the script and runs its two tasks, srun runs a command, sacct says what ended
SBATCH = """
cp "$1" submitted.sh
export SLURM_ARRAY_JOB_ID=77 SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0
export SLURM_JOB_NUM_NODES=1 SLURM_JOB_NODELIST=localhost
(
  for task in 0 1; do
    SLURM_JOB_ID=$((78 + task)) SLURM_ARRAY_TASK_ID=$task bash "$1"
    echo "77_$task|COMPLETED|localhost" >> ended
  done
) > slurm.log 2>&1 &
echo "Submitted batch job 77"
"""
SRUN = """
while [ "${1#-}" != "$1" ]; do
  case "$1" in --output | --error) shift 2 ;; *) shift ;; esac
done
exec "$@"
"""
SACCT = """
echo "JobID|State|NodeList"
cat ended 2>/dev/null || true
"""

FEW_STEPS = [
    "recipe=tiny", "data.count=4", "data.seconds=0.6", "task.crop_frames=4", "network.width=8",
    "data.split={every: 4, test: null, validation: 3}", "network.layers=2", "data.root=data",
    "trainer.batch_size=2", "trainer.max_steps=2", "trainer.validate_every=0", "trainer.threads=1",
    "trainer.progress=false", "run_dir=runs/x",
]  # fmt: skip


def slurm(folder: Path) -> None:
    """The three commands of Slurm in ``bin``."""
    (folder / "bin").mkdir()
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "sacct": SACCT}.items():
        (folder / "bin" / name).write_text(f"#!/bin/bash\n{text}")
        (folder / "bin" / name).chmod(0o755)


@pytest.mark.slow
def test_a_sweep_is_an_array_of_jobs(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    slurm(tmp_path)
    # the second of the two has a learning rate that is refused
    words = ["--multirun", "hydra/launcher=submitit_slurm", "hydra.launcher.partition=long"]
    words += ["hydra.launcher.timeout_min=90", "hydra.launcher.cpus_per_task=2"]
    words += ["hydra.launcher.gpus_per_node=1", "optimizer.lr=1e-3,-1"]
    done = subprocess.run(
        [sys.executable, "-m", "wavediff", "train", *FEW_STEPS, *words],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    script = (tmp_path / "submitted.sh").read_text()
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", script, re.MULTILINE))
    wanted = {"partition": "long", "time": "90", "cpus-per-task": "2", "gpus-per-node": "1"}
    assert wanted.items() <= asked.items()
    assert asked["array"].startswith("0-1")
    assert "-m submitit.core._submit" in script
    assert done.returncode == 2, done.stderr
    assert re.search("^error: .*lr", done.stderr, re.MULTILINE)
    runs = list((tmp_path / "runs" / "x").glob("*/model.safetensors"))
    assert [path.parent.name for path in runs] == ["optimizer.lr=0.001"]
    assert load_task(runs[0]).config["network"]["width"] == 8


def test_without_the_launcher_the_sentence_names_it():
    options = "Available options in 'hydra/launcher':\n\tbasic\n"
    error = HydraException(f"Could not find 'hydra/launcher/submitit_slurm'\n\n{options}")
    assert sentence_of(error) == (
        'Slurm needs hydra-submitit-launcher: pip install "wavediff[slurm]"'
    )
    other = HydraException(f"Could not find 'hydra/launcher/submitit_slum'\n\n{options}")
    assert sentence_of(other).endswith("choose from basic")
