"""The process that does the jobs of ``wavediff app``."""

import os
import time
from contextlib import suppress
from functools import partial

import app_jobs
import pytest

from wavediff.commands.app_worker import FULL, Worker, finished
from wavediff.errors import UserError


@pytest.fixture(scope="module")
def worker():
    made = Worker()
    yield made
    made.close()


def alive(pid):
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_jobs_run_one_after_the_other_in_one_process(worker):
    assert finished(worker.run(partial(app_jobs.count, 5), 20)) == 10
    first, second = (finished(worker.run(app_jobs.number_of_process, 20)) for _ in range(2))
    assert first == second != os.getpid()
    with pytest.raises(UserError, match=r"^a\.wav is bad: give another$"):
        finished(worker.run(app_jobs.refuse, 20))
    with pytest.raises(UserError, match=r"^this failed unexpectedly \(ValueError: oh\)$"):
        finished(worker.run(app_jobs.fail, 20))
    with pytest.raises(UserError, match=FULL):
        finished(worker.run(app_jobs.run_out, 20))
    assert finished(worker.run(app_jobs.number_of_process, 20)) == first


def test_a_job_that_takes_too_long_is_ended(worker):
    pid = finished(worker.run(app_jobs.number_of_process, 20))
    shares, begun = [], time.monotonic()
    with pytest.raises(UserError, match=r"longer than the 0\.5 s that a job may take"):
        shares.extend(worker.run(app_jobs.sleep, 0.5))
    assert time.monotonic() - begun < 10
    assert shares[-1] == 0.5
    assert not alive(pid)
    assert finished(worker.run(partial(app_jobs.count, 3), 20)) == 3


def test_what_happens_to_the_process_ends_one_job_only(worker, tmp_path):
    with pytest.raises(UserError, match="ended unexpectedly"):
        finished(worker.run(app_jobs.leave, 20))
    assert finished(worker.run(partial(app_jobs.count, 3), 20)) == 3
    with pytest.raises(UserError, match=FULL):
        finished(worker.run(app_jobs.be_killed, 20))
    running = worker.run(partial(app_jobs.write, tmp_path / "a"), 60)
    while not (tmp_path / "a").exists():
        next(running)
    running.close()  # as Stop does
    pid = finished(worker.run(app_jobs.number_of_process, 20))
    assert alive(pid)
    worker.close()
    assert not alive(pid)
