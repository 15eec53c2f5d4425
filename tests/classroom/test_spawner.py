"""A learner's process: whose it is, what its environment holds, and the watch over memory."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from importlib import import_module
from types import SimpleNamespace

import psutil
import pytest

pytest.importorskip("jupyterhub", reason="needs pip install -e '.[class]'")
spawner_module = import_module("medusa_lib.classroom.spawner")
LearnerSpawner, FIRST_UID = spawner_module.LearnerSpawner, spawner_module.FIRST_UID


@pytest.fixture
def spawner(tmp_path):
    """A function: the spawner of a learner of this name."""
    work = tmp_path / "learners"
    work.mkdir()
    for folder in (*reversed(tmp_path.parents), tmp_path):
        if folder.owner() == "root" and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)

    def build(name, **given):
        made = LearnerSpawner(work=str(work), lessons="/lessons", prepared="/ready", **given)
        made.user = SimpleNamespace(name=name)
        return made

    return build


def run_as(spawner, script):
    """What a shell prints that has become the learner."""
    ran = subprocess.run(
        ["/bin/sh", "-c", script],
        preexec_fn=spawner.make_preexec_fn(spawner.user.name),
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.stdout.split()


def test_a_learner_is_at_home_in_a_folder_that_nobody_else_reads(spawner) -> None:
    assert run_as(spawner("ann"), "pwd; umask") == [str(spawner("ann").home), "0077"]
    assert spawner("ann").home.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_by_root_each_learner_is_a_user_who_cannot_read_the_others_files(spawner) -> None:
    ann, bob = (spawner(name, many_users=True) for name in ("ann", "bob"))
    assert run_as(ann, "id -u; id -G; echo secret > mine; cat mine") == [
        str(FIRST_UID),
        str(FIRST_UID),
        "secret",
    ]
    stolen = f"id -u; cat {ann.home}/mine 2> /dev/null; ls {ann.home} 2> /dev/null; echo end"
    assert run_as(bob, stolen) == [str(FIRST_UID + 1), "end"]
    assert run_as(bob, f"kill -0 {os.getpid()} 2> /dev/null || echo refused") == ["refused"]
    assert run_as(ann, "id -u") == [str(FIRST_UID)]  # the same number each time


def test_the_environment_limits_threads_and_tells_the_way_in(spawner) -> None:
    ann = spawner("ann", mem_limit="700M", threads=1)
    env = ann.user_env({})
    assert {env[name] for name in spawner_module.ONE_THREAD} == {"1"}
    assert json.loads(env["MEDUSA_LEARNER"])["memory"] == 700 * 2**20
    assert env["HOME"] == env["TMPDIR"].removesuffix("/.tmp") == str(ann.home)


def test_of_a_family_that_holds_too_much_the_largest_child_is_ended(spawner) -> None:
    holds = (
        "import sys, time; kept = bytearray({} * 2**20); print('ready', flush=True); time.sleep(60)"
    )
    script = (
        "import subprocess, sys, time\n"
        "for size in (5, 150):\n"
        f"    child = [sys.executable, '-c', {holds!r}.format(size)]\n"
        "    subprocess.Popen(child, stdout=subprocess.PIPE).stdout.readline()\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    family = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        family.stdout.readline()
        ann = spawner("ann", mem_limit=400 * 2**20)
        ann.pid = family.pid
        children = psutil.Process(family.pid).children()
        assert asyncio.run(ann.poll()) is None
        assert all(child.status() != psutil.STATUS_ZOMBIE for child in children)
        ann.mem_limit = 60 * 2**20  # twice that for all together
        asyncio.run(ann.poll())
        time.sleep(0.5)
        small, large = sorted(children, key=lambda child: child.pid)
        assert large.status() == psutil.STATUS_ZOMBIE
        assert small.status() != psutil.STATUS_ZOMBIE
    finally:
        for process in spawner_module.family_of(family.pid)[::-1]:
            process.kill()
        family.wait()
        family.stdout.close()
