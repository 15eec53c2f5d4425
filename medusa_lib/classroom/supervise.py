"""Keep the hub and its proxy running, each in a process of its own, and end all of it at the end.

Whichever stops is started again; learners' servers run on meanwhile, since they are nobody's
children here.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from medusa_lib.classroom.proxy import TOKEN_VARIABLE
from medusa_lib.classroom.settings import FOLDER_VARIABLE, ClassSettings

PATIENCE = 120.0  # seconds for the hub to come up
TO_END = 60.0  # seconds for all servers to save and stop
AT_ONCE = 8  # servers that are asked to stop
LOOK = 0.5  # seconds between two looks at the processes
MOST_STARTS = 5  # within a minute; then something is wrong that starting again does not mend


class ClassError(RuntimeError):
    """The class cannot be held; the message says why and where to look."""


def ask_hub(told: ClassSettings, path: str, method: str = "GET") -> object:
    """One request to the hub's REST API. Raises OSError if nobody answers, or with a refusal."""
    token = {"Authorization": f"token {told.secret('service_token')}"}
    request = urllib.request.Request(f"{told.hub_url}/hub/api{path}", method=method, headers=token)
    with urllib.request.urlopen(request, timeout=30) as reply:
        text = reply.read()
    return json.loads(text) if text else None


class Kept:
    """A process that is started again whenever it stops; its pid lies in the hub's folder."""

    def __init__(self, name: str, command: list[str], told: ClassSettings) -> None:
        self.name, self.command, self.told = name, command, told
        self.log = told.hub / f"{name}.log"
        self.starts: list[float] = []
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def note(self) -> Path:
        """Where its pid is noted, with the time at which it began."""
        return self.told.hub / f"{self.name}.pid"

    def start(self) -> None:
        """Start it. Raises ClassError if it keeps stopping."""
        now = time.monotonic()
        self.starts = [then for then in self.starts if now - then < 60] + [now]
        if len(self.starts) > MOST_STARTS:
            raise ClassError(f"the {self.name} keeps stopping, its last words are in {self.log}")
        token = {TOKEN_VARIABLE: self.told.secret("proxy_token")}
        env = {**os.environ, **token, FOLDER_VARIABLE: str(self.told.folder)}
        with self.log.open("ab") as log:
            said = {"stdout": log, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
            self.process = subprocess.Popen(
                self.command, cwd=self.told.hub, env=env, start_new_session=True, **said
            )
        began = psutil.Process(self.process.pid).create_time()
        self.note.write_text(f"{self.process.pid} {began}", encoding="utf-8")

    def stopped(self) -> bool:
        """True if it has ended by itself."""
        return self.process is not None and self.process.poll() is not None

    def end(self) -> None:
        """End it, or what a command that was killed has left of it, and wait until it is gone."""
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            pid, began = self.note.read_text(encoding="utf-8").split()
            process = psutil.Process(int(pid))
            if abs(process.create_time() - float(began)) < 0.01:
                family = [process, *process.children(recursive=True)]
                process.terminate()
                _, alive = psutil.wait_procs([process], timeout=20)
                for left in [*alive, *(one for one in family[1:] if is_service(one))]:
                    left.kill()
        if self.process is not None:
            self.process.wait(20)
        self.note.unlink(missing_ok=True)


def is_service(process: psutil.Process) -> bool:
    """True for a helper that the hub started: these end with it, learners' servers do not."""
    try:
        return process.is_running() and "jupyterhub_idle_culler" in process.cmdline()
    except psutil.Error:
        return False


def end_helpers(told: ClassSettings) -> None:
    """End what a hub that was killed has left: its helpers, which no other hub would end."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            address = process.environ().get("JUPYTERHUB_API_URL", "")
            if address.startswith(told.hub_url + "/") and is_service(process):
                process.kill()


def build_parts(told: ClassSettings) -> tuple[Kept, Kept]:
    """The proxy and the hub of a class, not yet started."""
    ports = [f"--port={told.port}", f"--api-port={told.port + 2}", f"--ip={told.host}"]
    keys = [f"--cert={told.cert}", f"--key={told.key}"] if told.cert else []
    errors = f"--error-target={told.hub_url}/hub/error"
    start = [sys.executable, "-m"]
    proxy = [*start, "medusa_lib.classroom.proxy", *ports, *keys, errors]
    hub = [*start, "jupyterhub", f"--config={told.config}"]
    return Kept("proxy", proxy, told), Kept("hub", hub, told)


def wait_for_hub(told: ClassSettings, hub: Kept) -> None:
    """Return once the hub answers. Raises ClassError if it stops, or does not for long."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and not hub.stopped():
        with contextlib.suppress(OSError):
            ask_hub(told, "/users")
            return
        time.sleep(0.3)
    raise ClassError(f"the hub did not start; its last words are in {hub.log}")


@contextlib.contextmanager
def sole(told: ClassSettings) -> Iterator[None]:
    """Be the only command that holds this class. Raises ClassError if there is another."""
    with (told.hub / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ClassError(f"a class is running in {told.folder} already") from None
        yield


def servers_of(told: ClassSettings) -> list[psutil.Process]:
    """The learners' servers of this class, whoever started them."""
    root, found = f"--ServerApp.root_dir={told.work}{os.sep}", []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(word.startswith(root) for word in process.cmdline()):
                found.append(process)
    return found


def end_by_hub(told: ClassSettings) -> None:
    """Have the hub stop every learner's server. Raises OSError if it does not answer."""

    def stop(user: dict[str, str]) -> None:
        with contextlib.suppress(OSError):
            ask_hub(told, f"/users/{user['name']}/server", "DELETE")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(stop, ask_hub(told, "/users?state=active")))
    end = time.monotonic() + TO_END
    while servers_of(told) and time.monotonic() < end:
        time.sleep(LOOK)


def end_servers(told: ClassSettings) -> None:
    """Stop every learner's server, by the hub where it answers, and whatever is left then."""
    with contextlib.suppress(OSError):
        end_by_hub(told)
    left = servers_of(told)
    family = [child for one in left for child in [one, *one.children(recursive=True)]]
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    for process in psutil.wait_procs(family, timeout=10)[1]:
        process.kill()


def keep_running(parts: tuple[Kept, Kept], asked: Callable[[], str]) -> None:
    """Start again whichever stops, until the word asked is "end"; "again" restarts the hub."""
    proxy, hub = parts
    while (word := asked()) != "end":
        if word == "again":
            hub.end()
        if proxy.stopped():
            proxy.start()
            with contextlib.suppress(OSError):
                ask_hub(hub.told, "/proxy", "POST")  # the table of paths is written anew
        if hub.stopped():
            end_helpers(hub.told)
            hub.start()
        time.sleep(LOOK)


def hold_class(told: ClassSettings, say: Callable[[str], object], asked: Callable[[], str]) -> None:
    """Hold a class until the word asked is "end"; then stop all of it. Raises ClassError."""
    parts = proxy, hub = build_parts(told)
    with sole(told):
        for part in (hub, proxy):
            part.end()
        end_helpers(told)
        try:
            for part in parts:
                part.start()
            wait_for_hub(told, hub)
            say(f"The class is open at {told.url} (logs: {told.hub}). Ctrl-C ends it.")
            keep_running(parts, asked)
        finally:
            say("Ending the class: servers are stopped, work is kept.")
            end_servers(told)
            for part in (hub, proxy):
                part.end()
            end_helpers(told)
