"""A real cluster: the same table from one process and two, after a kill, a stop and a lost one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from tree import ROOT

from medusa_lib.sweep import load
from medusa_lib.sweep.cluster import ClusterError, cluster_runner
from medusa_lib.sweep.models import named_lm
from medusa_lib.sweep.parquet import PART, ParquetKeeper
from medusa_lib.sweep.plan import SweepPlan, read_grids
from medusa_lib.sweep.runs import SweepRow, measured_point
from medusa_lib.sweep.tasks import in_process, run_tasks

NEEDS = "needs pip install -e '.[sweep]'"
for package in ("distributed", "pyarrow", "pandas"):
    pytest.importorskip(package, reason=NEEDS)

GRID = """
model = ["random-gpt2-1", "random-llama-1"]
drafter = ["none", "ngram", "self", "medusa_tiny"]
temperature = [0.0, 0.8]
seed = { first = 1, count = 2 }
prompt = { shipped = 2 }
new_tokens = 16
"""
RUNS = 2 * 4 * 2 * 2 * 2
LONGER = GRID.replace("count = 2", "count = 900")  # too long to be done while a test looks
PATIENCE = 300  # seconds for what takes a few on an idle machine


def write_grid(folder: Path, text: str) -> Path:
    path = folder / "grid.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> SweepPlan:
    path = write_grid(tmp_path_factory.mktemp("grid"), GRID)
    return SweepPlan.of(read_grids(path), named_lm)


def sweep_into(folder: Path, plan: SweepPlan, runner=in_process, on_task=lambda tally: None):
    with ParquetKeeper(folder, SweepRow) as keeper:
        do = partial(measured_point, named_lm)
        return run_tasks(do, plan.tasks(), keeper, runner, on_task)


@pytest.fixture(scope="module")
def alone(plan, tmp_path_factory):
    """The table as this process alone makes it."""
    folder = tmp_path_factory.mktemp("alone")
    assert sweep_into(folder, plan).made == RUNS
    return load(folder, timing=False)


@pytest.fixture(scope="module")
def runner():
    """Two processes of our own."""
    with cluster_runner(processes=2, batch=3) as made:
        yield made


def test_two_processes_make_the_same_table_though_one_is_killed(
    runner, plan, alone, tmp_path
) -> None:
    client, killed = runner.args[0], []

    def kill_one(tally) -> None:
        if tally.made > 10 and not killed:
            killed.append(next(iter(client.run(os.getpid).values())))
            os.kill(killed[0], signal.SIGKILL)

    tally = sweep_into(tmp_path, plan, runner, kill_one)
    assert killed
    assert (tally.made, tally.failures) == (RUNS, [])
    assert load(tmp_path, timing=False).equals(alone), "not the same, bit for bit"
    again = sweep_into(tmp_path, plan)
    assert (again.made, again.known) == (0, RUNS), "rows that are done were done again"


def test_a_task_that_fails_on_a_worker_is_named_and_the_others_are_done(
    runner, plan, tmp_path
) -> None:
    odd = SweepPlan(plan.grids, {**plan.identities, "random-llama-1": "another"})
    tally = sweep_into(tmp_path, odd, runner)
    assert tally.made == len(tally.failures) == RUNS // 2
    assert "model must be the same everywhere, another, got" in tally.failures[0]


def python(*words: object, out: Path | None = None) -> subprocess.Popen:
    """Python in a process group of its own, as a terminal starts it; its words go to a file."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    where = subprocess.DEVNULL if out is None else out.open("w")
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        env={**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=where,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def wait_for(true, what: str) -> None:
    last = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < last, f"{what} did not come"
        time.sleep(0.05)


def end(process: subprocess.Popen) -> None:
    """End a process with all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def disturbed(tmp_path: Path, words: list[object], disturb) -> tuple[int, str]:
    """Start the longer sweep, disturb it when the first row is there → (status, what it said)."""
    out, log = tmp_path / "out", tmp_path / "log"
    grid = write_grid(tmp_path, LONGER)
    sweeping = python("-m", "medusa_lib.sweep", grid, "--out", out, *words, out=log)
    try:
        wait_for(lambda: list(out.glob(PART)) or sweeping.poll() is not None, "the first row")
        disturb(sweeping)
        sweeping.wait(PATIENCE)
    finally:
        end(sweeping)
    return sweeping.returncode, " ".join(log.read_text().split())


def assert_it_goes_on(folder: Path, plan: SweepPlan, alone) -> None:
    """What is there counts, and with what is missing it is the same table."""
    tally = sweep_into(folder, plan)
    assert tally.known > 0, "what was done is lost"
    assert tally.made + tally.known == RUNS
    frame = load(folder, timing=False)
    ours = frame[frame["key"].isin(alone["key"])].reset_index(drop=True)
    assert ours.equals(alone)


def test_ctrl_c_stops_cleanly_and_it_goes_on(plan, alone, tmp_path) -> None:
    def ctrl_c(sweeping) -> None:
        os.killpg(sweeping.pid, signal.SIGINT)

    status, said = disturbed(tmp_path, ["--processes", 1, "--batch", 2], ctrl_c)
    assert status == 130, said
    assert f"stopped; the same command goes on from {tmp_path / 'out'}" in said
    assert "Traceback" not in said
    assert_it_goes_on(tmp_path / "out", plan, alone)


@pytest.fixture
def scheduler(tmp_path):
    """A scheduler with a worker, as a user starts them: (its address, its process)."""
    place = tmp_path / "scheduler.json"
    where = ("--scheduler-file", place, "--no-dashboard")
    started = [python("-m", "dask", "scheduler", "--port", 0, *where)]
    try:
        wait_for(place.exists, "the scheduler")
        started.append(python("-m", "dask", "worker", "--nthreads", 1, *where))
        yield json.loads(place.read_text())["address"], started[0]
    finally:
        for process in started:
            end(process)


def test_a_lost_scheduler_is_named_and_nothing_is_lost(scheduler, plan, alone, tmp_path) -> None:
    address, process = scheduler
    words = ["--scheduler", address, "--batch", 2]
    status, said = disturbed(tmp_path, words, lambda sweeping: end(process))
    assert status == 1, said
    assert "error: the scheduler is gone; what was done is kept." in said
    assert f"The same command goes on from {tmp_path / 'out'}" in said
    assert "Traceback" not in said
    assert_it_goes_on(tmp_path / "out", plan, alone)


def test_a_scheduler_that_is_not_there_is_named(monkeypatch) -> None:
    monkeypatch.setattr("medusa_lib.sweep.cluster.CONNECT_SECONDS", 0.5)
    with pytest.raises(ClusterError, match="no worker answers at tcp://127.0.0.1:9 "):
        with cluster_runner("tcp://127.0.0.1:9"):
            pass
