"""A learner's server: a folder of its own, limits, and a door closed to everybody else's files."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
from jupyterhub.spawner import LocalProcessSpawner
from traitlets import Bool, Integer, Unicode

from medusa_lib.classroom.enter import VARIABLE

FIRST_UID = 2_000_000  # far above accounts, and above what containers and systemd give away
SETTINGS_OF_LAB = Path(__file__).parent  # its labconfig/ says what learners' JupyterLab leaves out
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
MEGABYTE = 2**20


def own_memory(process: psutil.Process) -> int:
    """Bytes of a process, where what it shares counts in parts; 0 if it is gone."""
    try:
        full = process.memory_full_info()
    except psutil.Error:
        return 0
    return getattr(full, "pss", full.uss)


def family_of(pid: int) -> list[psutil.Process]:
    """A process and all that it has started, the oldest first; none if it is gone."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return []


def largest_child(pid: int, limit: int) -> psutil.Process | None:
    """If a process and its children hold more than `limit` bytes together: the largest child."""
    family = family_of(pid)
    sizes = [own_memory(process) for process in family]
    if len(family) < 2 or sum(sizes) <= limit:
        return None
    return max(zip(sizes[1:], family[1:], strict=True), key=lambda pair: pair[0])[1]


class LearnerSpawner(LocalProcessSpawner):
    """A server per learner on this machine, by an ordinary account or by root.

    many_users: each learner has a number of its own as user, without an account; otherwise all
    are one account, and Linux's Landlock keeps them apart (see enter.py). mem_limit: bytes
    for each process; all of a learner's together may hold twice that, else the largest is ended.
    """

    work = Unicode(config=True, help="the folder of the learners' folders")
    lessons = Unicode(config=True, help="the folder of the lessons to hand out")
    prepared = Unicode(config=True, help="what is prepared for every learner")
    many_users = Bool(config=True, help="each learner is a user of the system; needs root")
    threads = Integer(1, config=True, help="of each kernel")

    @property
    def home(self) -> Path:
        """The learner's folder."""
        return Path(self.work) / self.user.name

    def make_home(self) -> int:
        """Make the learner's folder, which nobody else reads → the user number that owns it."""
        self.home.mkdir(exist_ok=True, mode=0o700)
        if self.many_users and self.home.stat().st_uid < FIRST_UID:
            taken = [other.stat().st_uid for other in Path(self.work).iterdir()]
            uid = max(FIRST_UID, *(number + 1 for number in taken))
            os.chown(self.home, uid, uid)
        return self.home.stat().st_uid

    def make_preexec_fn(self, name: str) -> Callable[[], None]:
        """What the new process does first: go home and, by root, become the learner."""
        home, uid, many = self.home, self.make_home(), self.many_users

        def become() -> None:
            os.umask(0o077)
            if many:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            os.chdir(home)

        return become

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """The learner's own part of the environment."""
        home = str(self.home)
        told = {"home": home, "lessons": self.lessons, "ready": self.prepared}
        env[VARIABLE] = json.dumps({**told, "memory": int(self.mem_limit or 0)})
        env |= {"USER": self.user.name, "LOGNAME": self.user.name, "HOME": home}
        env |= {"SHELL": "/bin/bash", "TMPDIR": f"{home}/.tmp", "MALLOC_ARENA_MAX": "2"}
        env |= {"NUMBA_CACHE_DIR": f"{home}/.cache/numba", "TOKENIZERS_PARALLELISM": "false"}
        env |= {"MPLCONFIGDIR": f"{home}/.cache/matplotlib", "HF_HUB_OFFLINE": "1"}
        env |= {"JUPYTER_CONFIG_PATH": str(SETTINGS_OF_LAB)}
        return env | dict.fromkeys(ONE_THREAD, str(self.threads))

    async def poll(self) -> int | None:
        """As every spawner's, and the watch over what all of a learner's processes hold."""
        status = await super().poll()
        if status is None and self.mem_limit:
            limit = 2 * int(self.mem_limit)
            child = largest_child(self.pid, limit)
            if child is not None:
                held = f"{self.user.name} holds more than {limit // MEGABYTE} MB"
                self.log.warning("%s: the largest process, %d, is ended", held, child.pid)
                child.send_signal(signal.SIGKILL)
        return status

    async def stop(self, now: bool = False) -> None:
        """As every spawner's, and no kernel is left behind."""
        family = family_of(self.pid) if self.pid else []
        await super().stop(now)
        for process in family:
            if process.is_running():
                process.kill()

    def move_certs(self, paths: dict[str, str]) -> dict[str, str]:
        """Certificates stay where they are: there are no accounts to move them to."""
        return paths

    def get_args(self) -> list[str]:
        """The single-user server's options."""
        root = os.geteuid() == 0 and not self.many_users  # root without any privilege: enter.py
        allowed = ["--ServerApp.allow_root=True"] if root else []
        return [f"--ServerApp.root_dir={self.home}", *allowed, *super().get_args()]

    @property
    def entrance(self) -> list[str]:
        """The command that settles a learner and then becomes the server."""
        return [sys.executable, "-m", "medusa_lib.classroom.enter"]

    def __init__(self, **given: object) -> None:
        super().__init__(**given)
        self.cmd = self.entrance
