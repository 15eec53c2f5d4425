"""What a learner's server does before it is one: limits, a closed door, the lessons.

Runs as the learner, so a file that the learner put in the way reaches nothing of anybody else's.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
from pathlib import Path

from medusa_lib.classroom.landlock import close_off
from medusa_lib.classroom.lessons import copy_missing, hand_out

VARIABLE = "MEDUSA_LEARNER"  # the spawner's word to this file, as JSON
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt", "/run", "/proc")
SYSTEM += ("/sys", "/nix", "/snap", "/var/lib", "/var/cache")
DEVICES = "/dev"
IS_IT_ALLOWED, NEVER_ALLOW = 23, 24  # of prctl, about one privilege after the other
VERSION_3 = 0x20080522  # of the kernel's lists of privileges
NOTEBOOKS = "notebooks"  # the learner's folder of lessons


def python_folders() -> list[Path]:
    """Where this Python and its packages are, without a folder that merely holds a project."""
    roots = [Path(root).resolve() for root in (sys.prefix, sys.base_prefix, sys.exec_prefix)]
    packages = [Path(place).resolve() for place in sys.path if place.endswith("-packages")]
    return [*roots, *packages, Path(__file__).resolve().parents[1]]


def limit_memory(limit: int) -> None:
    """Bytes that each process may hold for itself; beyond it Python raises MemoryError.

    Counted are data and anonymous memory, not files that are mapped: libraries and weights that
    all learners share cost nobody anything. No core files are written.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if limit:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def drop_privileges() -> None:
    """Give up what root may do beyond its own files, for this process and all that it starts."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    number = 0
    while prctl(IS_IT_ALLOWED, number, 0, 0, 0) >= 0:
        prctl(NEVER_ALLOW, number, 0, 0, 0)
        number += 1
    header, nothing = (ctypes.c_uint32 * 2)(VERSION_3, 0), (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, nothing) < 0:
        raise OSError(ctypes.get_errno(), "privileges could not be given up")


def settle_in(home: Path, lessons: Path, ready: Path, memory: int) -> None:
    """Make this process the learner's: `home` is all that it can change from now on."""
    for folder in (NOTEBOOKS, ".tmp"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    limit_memory(memory)
    if os.geteuid() == 0:
        drop_privileges()
    readable = [*map(Path, SYSTEM), *python_folders(), lessons, ready]
    projects = [Path(place) for place in sys.path if place]  # Python looks what is in them
    close_off(readable, [home, Path(DEVICES)], projects)
    hand_out(lessons, home / NOTEBOOKS)
    if ready.is_dir():
        copy_missing(ready, home)


def main() -> None:
    """Settle, then become JupyterHub's single-user server."""
    told = json.loads(os.environ.pop(VARIABLE))
    places = (Path(told[name]) for name in ("home", "lessons", "ready"))
    settle_in(*places, told["memory"])
    program = [sys.executable, "-m", "jupyterhub.singleuser", *sys.argv[1:]]
    os.execv(sys.executable, program)


if __name__ == "__main__":
    main()
