"""What a learner's process can reach, and what it may hold."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from medusa_lib.classroom.landlock import SIGNALS, landlock_version

MEMORY = 700 * 2**20
SETTLE = """
import os, sys
from pathlib import Path
from medusa_lib.classroom.enter import settle_in
home, lessons, ready, other = map(Path, sys.argv[1:5])
settle_in(home, lessons, ready, {memory})
def tried(what):
    try:
        what()
    except (OSError, MemoryError) as error:
        return type(error).__name__
    return "done"
"""


@pytest.fixture
def places(tmp_path):
    """Folders: the learner's, the lessons, what is prepared, another learner's."""
    for name in ("home", "lessons", "ready", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    return [tmp_path / name for name in ("home", "lessons", "ready", "other")]


def settled(places, *asked):
    """What each question prints in a process that has settled as a learner's."""
    script = SETTLE.format(memory=MEMORY) + "\n".join(f"print({one})" for one in asked)
    ran = subprocess.run(
        [sys.executable, "-c", script, *map(str, places)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


def test_lessons_and_what_is_prepared_are_there(places) -> None:
    assert settled(places, "(home / 'notebooks/file').read_text()") == ["lessons"]
    assert (places[0] / "file").read_text() == "home"


def test_a_process_that_wants_too_much_memory_is_told_and_lives_on(places) -> None:
    asked = ["tried(lambda: bytearray(2**30))", "tried(lambda: bytearray(2**20))"]
    assert settled(places, *asked) == ["MemoryError", "done"]


@pytest.mark.skipif(not landlock_version(), reason="needs Linux's Landlock")
@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("(home / 'new').write_text('x')", "done"),
        ("(lessons / 'file').read_text()", "done"),
        ("(lessons / 'file').write_text('x')", "PermissionError"),
        ("(other / 'file').read_text()", "PermissionError"),
        ("(other / 'new').write_text('x')", "PermissionError"),
        ("(other / 'file').unlink()", "PermissionError"),
        ("os.listdir(other)", "PermissionError"),
        ("[(home / 'w').symlink_to(other / 'file'), (home / 'w').read_text()]", "PermissionError"),
        ("os.link(other / 'file', home / 'mine')", "OSError"),  # as between two disks
        ("open(f'/proc/{os.getppid()}/environ').read()", "PermissionError"),
        ("open('/tmp/shared', 'w')", "PermissionError"),
        ("__import__('json').dumps(1)", "done"),
    ],
)
def test_a_learners_process_reaches_its_own_and_the_lessons_alone(places, asked, answer) -> None:
    assert settled(places, f"tried(lambda: {asked})") == [answer]
    assert (places[3] / "file").read_text() == "other"


@pytest.mark.skipif(not landlock_version(), reason="needs Linux's Landlock")
def test_nor_does_what_it_starts(places) -> None:
    asked = "os.system(f'cat {other}/file 2> /dev/null') != 0"
    assert settled(places, asked) == ["True"]


@pytest.mark.skipif(landlock_version() < SIGNALS, reason="needs Landlock's version 6")
def test_a_learners_process_sends_no_signals_out(places) -> None:
    asked = ["tried(lambda: os.kill(os.getppid(), 18))", "tried(lambda: os.kill(os.getpid(), 18))"]
    assert settled(places, *asked) == ["PermissionError", "done"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_keeps_no_privilege(places) -> None:
    asked = [
        "tried(lambda: os.setuid(12345))",
        "tried(lambda: os.chown(home / 'file', 1, 1))",
        "tried(lambda: os.chroot(home))",
        "os.system('" + sys.executable + ' -c "import os; os.setuid(12345)" 2> /dev/null\') != 0',
    ]
    assert settled(places, *asked) == ["PermissionError"] * 3 + ["True"]
