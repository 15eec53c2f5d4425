"""A class that is held for a test, and learners who work in it by their servers' own API."""

import configparser
import contextlib
import ctypes
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import nbformat
import psutil
import requests
import websocket
from jupyter_server.services.kernels.connection.base import (
    deserialize_msg_from_ws_v1,
    serialize_msg_to_ws_v1,
)

ROOT = Path(__file__).parents[2]
PROTOCOL = "v1.kernel.websocket.jupyter.org"  # what JupyterLab speaks
PR_SET_PDEATHSIG = 1
PATIENCE = 240  # seconds that a slow machine is given for one thing
# What nbval passes over when it compares: not text, or different each time.
NOT_COMPARED = {"image/png", "image/jpeg", "text/latex", "application/vnd.jupyter.widget-view+json"}
IGNORED = ("NBVAL_IGNORE_OUTPUT", "NBVAL_SKIP", "NBVAL_RAISES_EXCEPTION")
LOOKED_PAST = configparser.RawConfigParser()  # as nbval reads the same file
LOOKED_PAST.read_string((ROOT / "tests" / "pictures.cfg").read_text())


def three_free_ports():
    """The first of three ports in a row that nobody uses.

    They lie below those that Linux gives to outgoing connections (from 32768 on): one of these
    would else be taken, on a busy machine, before the hub listens there.
    """
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with contextlib.ExitStack() as held, contextlib.suppress(OSError):
            for number in range(port, port + 3):
                held.enter_context(socket.socket()).bind(("127.0.0.1", number))
            return port


def end_with_parent():
    """Have Linux end this process as Ctrl-C does when its parent is gone, however that ended."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)


class HeldClass:
    """`python -m medusa_lib.classroom` over a folder, ended with all it started on leaving.

    within: the words before the command, such as those of `open_to_users`.
    """

    def __init__(self, folder, learners, *options, within=()):
        self.folder, self.port = Path(folder), three_free_ports()
        self.url = f"http://127.0.0.1:{self.port}"
        self.learners = {name: f"{name}-{uuid.uuid4().hex[:10]}" for name in learners}
        self.list = self.folder.parent / "learners.csv"
        self.options, self.within, self.process = options, within, None

    def write_list(self):
        self.list.write_text("\n".join(f"{n},{p}" for n, p in self.learners.items()))
        self.list.chmod(0o600)

    def __enter__(self):
        self.write_list()
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self):
        command = [*self.within, sys.executable, "-m", "medusa_lib.classroom"]
        command += [f"--port={self.port}"]
        command += [f"--folder={self.folder}", f"--learners={self.list}", *self.options]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.list.parent,
            preexec_fn=end_with_parent,  # noqa: PLW1509 (takes no lock)
        )
        self.said = []
        for line in self.process.stdout:
            self.said.append(line)
            if "is open" in line:
                return
        raise RuntimeError("".join(self.said) + self.log())

    def log(self):
        logs = sorted(self.folder.glob("hub/*.log"))
        return "".join(f"\n--- {log.name}\n{log.read_text()[-6000:]}" for log in logs)

    def pid(self, part):
        return int((self.folder / "hub" / f"{part}.pid").read_text().split()[0])

    def end(self):
        self.process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(120)

    def __exit__(self, *_):
        if self.process is None:
            return
        try:
            self.end()
        finally:  # also where the class itself has failed to
            for process in self.all_processes():
                with contextlib.suppress(psutil.Error):
                    process.kill()
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()

    def all_processes(self):
        """Everything that runs for this class but the command itself."""
        marks = (f"--ServerApp.root_dir={self.folder}/", f"--port={self.port}", str(self.folder))
        found = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                mine = process.pid in (self.process.pid, os.getpid())
                words = " ".join(process.cmdline())
                told = process.environ()
                env = told.get("MEDUSA_CLASS") == str(self.folder)
                env |= f":{self.port + 1}/" in told.get("JUPYTERHUB_API_URL", "")
                if not mine and (env or any(mark in words for mark in marks)):
                    for one in (process, *process.children(recursive=True)):
                        found[one.pid] = one
        return list(found.values())

    def log_in(self, name, password=None):
        """By default with the password of the list."""
        return LoggedIn(self.url, name, password or self.learners[name])


def hub_answers(held):
    """True once the hub of a class takes requests."""
    with contextlib.suppress(requests.RequestException):
        return requests.get(f"{held.url}/hub/api", timeout=5).ok
    return False


def wait_until(true, seconds=120):
    """Look twice a second. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError("waited in vain")
        time.sleep(0.5)


class LoggedIn:
    """A learner at a browser: a session with cookies, and a token for the API."""

    def __init__(self, url, name, password):
        self.url, self.name, self.browser = url, name, requests.Session()
        self.browser.get(f"{url}/hub/login", timeout=PATIENCE)
        form = {"username": name, "password": password, "_xsrf": self.xsrf("/hub/")}
        self.answer = self.browser.post(f"{url}/hub/login?next=/hub/home", form, timeout=PATIENCE)
        self.headers = {}

    @property
    def is_in(self):
        return self.answer.ok and self.answer.url.endswith("/hub/home")

    def xsrf(self, path):
        return next(c.value for c in self.browser.cookies if c.name == "_xsrf" and c.path == path)

    def take_token(self):
        """A token of the learner's own, as the hub's page for tokens makes it."""
        made = self.browser.post(
            f"{self.url}/hub/api/users/{self.name}/tokens",
            json={"note": "test", "expires_in": 3600},
            headers={"X-XSRFToken": self.xsrf("/hub/"), "Referer": f"{self.url}/hub/token"},
            timeout=PATIENCE,
        )
        made.raise_for_status()
        self.token = made.json()["token"]
        self.headers = {"Authorization": f"token {self.token}"}
        return self

    def hub(self, method, path, **given):
        return requests.request(
            method, f"{self.url}/hub/api{path}", headers=self.headers, timeout=PATIENCE, **given
        )

    def start_server(self):
        """Ask for the server until it runs → seconds."""
        began = time.monotonic()
        while not (server := self.own_server()).get("ready"):
            if not server:  # also where an earlier one is not quite gone
                self.hub("POST", f"/users/{self.name}/server")
            if time.monotonic() - began > PATIENCE:
                raise TimeoutError(f"no server for {self.name}")
            time.sleep(0.3)
        return time.monotonic() - began

    def own_server(self):
        """What the hub knows of the learner's server; nothing if there is none."""
        return self.hub("GET", f"/users/{self.name}").json()["servers"].get("", {})

    def server(self, method, path, **given):
        """A request to the learner's own server. Raises for a refusal."""
        url = f"{self.url}/user/{self.name}/api{path}"
        reply = requests.request(method, url, headers=self.headers, timeout=PATIENCE, **given)
        reply.raise_for_status()
        return reply.json() if reply.content else None

    def read(self, path):
        content = self.server("GET", f"/contents/{path}")["content"]
        return nbformat.from_dict(content) if path.endswith(".ipynb") else content

    def save(self, path, content):
        kind = "notebook" if path.endswith(".ipynb") else "file"
        body = {"type": kind, "content": content} | ({"format": "text"} if kind == "file" else {})
        self.server("PUT", f"/contents/{path}", json=body)

    def open_kernel(self, path):
        body = {"path": path, "name": "", "type": "notebook", "kernel": {"name": "python3"}}
        return Kernel(self, self.server("POST", "/sessions", json=body)["kernel"]["id"])


class Kernel:
    """One kernel, spoken to over the websocket that a browser uses."""

    def __init__(self, learner, kernel_id):
        self.learner, self.id, self.session = learner, kernel_id, uuid.uuid4().hex
        self.connect()

    def connect(self, headers=None):
        base = self.learner.url.replace("http", "ws", 1)
        where = f"{base}/user/{self.learner.name}/api/kernels/{self.id}/channels"
        given = self.learner.headers if headers is None else headers
        self.socket = websocket.create_connection(
            f"{where}?session_id={self.session}",
            header=[f"{name}: {value}" for name, value in given.items()],
            subprotocols=[PROTOCOL],
            timeout=PATIENCE,
        )
        assert self.socket.subprotocol == PROTOCOL

    def send(self, kind, content):
        header = {"msg_id": uuid.uuid4().hex, "msg_type": kind, "version": "5.3"}
        header |= {"username": "", "session": self.session, "date": "2026-01-01T00:00:00Z"}
        parts = [json.dumps(part).encode() for part in (header, {}, {}, content)]
        self.socket.send_binary(serialize_msg_to_ws_v1(parts, "shell"))
        return header["msg_id"]

    def receive(self):
        channel, parts = deserialize_msg_from_ws_v1(self.socket.recv())
        header, parent, metadata, content = (json.loads(part) for part in parts[:4])
        message = {"header": header, "parent_header": parent, "metadata": metadata}
        return channel, message | {"msg_type": header["msg_type"], "content": content}

    def run(self, code):
        """Run a cell → its outputs, as a notebook stores them."""
        asked = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
        asked["stop_on_error"] = False
        mine, outputs, left = self.send("execute_request", asked), [], {"reply", "idle"}
        while left:
            channel, message = self.receive()
            if message["parent_header"].get("msg_id") != mine:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "execute_reply":
                left.discard("reply")
            elif kind == "status" and content["execution_state"] == "idle":
                left.discard("idle")
            elif kind in ("stream", "display_data", "execute_result", "error"):
                outputs.append(nbformat.v4.output_from_msg(message))
        return outputs

    def say(self, code):
        """What a cell prints."""
        return "".join(out.get("text", "") for out in self.run(code)).strip()

    def die(self):
        """Kill the kernel and wait until the server has started another in its place."""
        self.send("execute_request", {"code": "import os; os.kill(os.getpid(), 9)", "silent": True})
        while True:
            _, message = self.receive()
            if message["content"].get("execution_state") == "restarting":
                break
        time.sleep(1)


def told_apart(text):
    """What nbval compares of an output's text: not a picture's last digits, say."""
    for name in LOOKED_PAST.sections():
        one = LOOKED_PAST[name]
        text = re.sub(one["regex"], one["replace"], text)
    return re.sub(r"\s+$", "", text)


def comparable(outputs):
    """What nbval compares of a cell's outputs: each kind's text, streams put together."""
    found = {}
    for out in outputs:
        kind = out["output_type"]
        if kind == "stream":
            found.setdefault("stream", []).append(out["text"])
        elif kind == "error":
            found.setdefault("error", []).append(f"{out['ename']}: {out['evalue']}")
        else:
            for mime, value in out["data"].items():
                if mime not in NOT_COMPARED:
                    text = "".join(value) if isinstance(value, list) else value
                    found.setdefault(mime, []).append(text)
    return {kind: told_apart("".join(map(str, texts))) for kind, texts in found.items()}


def run_notebook(kernel, notebook):
    """Run all cells → the numbers of those whose outputs are not the stored ones."""
    differing, codes = [], [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(codes, start=1):
        found = kernel.run(cell.source)
        tags = cell.metadata.get("tags", [])
        passed = any(
            mark in cell.source or mark.lower().replace("_", "-") in tags for mark in IGNORED
        )
        if not passed and comparable(found) != comparable(cell.outputs):
            differing.append(number)
        cell.outputs = found
    return differing
