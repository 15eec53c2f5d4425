"""Hold a real class and see what it carries: `python tests/classroom/load.py --learners 8`.

Real hub, real servers, real kernels, on this machine's own address only; all of it is stopped at
the end, also after a failure. `--readme README.md` writes the table there. The longer run, where
learners come one after the other as in life: `--learners 20 --stagger 10`.
"""

import argparse
import contextlib
import json
import re
import signal
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import requests
import websocket

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / "helpers"), str(ROOT)]

import class_client  # noqa: E402
from class_client import HeldClass, hub_answers, run_notebook, wait_until  # noqa: E402

LESSONS = ("STEP3_sampling", "STEP6_loops")
BLOCK = re.compile(r"(<!-- class: .*? -->\n).*?(\n<!-- /class -->)", re.S)
MACHINE, SYSTEM = 16.0, 2.0  # GB of the machine to plan for, and of these for the system
CODE = """
import os, pathlib, signal
def tried(what):
    try:
        what()
    except (OSError, PermissionError) as error:
        return type(error).__name__
    return "reached"
"""


@dataclass
class Load:
    """What was found. Lists have one entry a learner; memory is (private, shared's part) in MB.

    stagger: seconds between two learners. together: MB that all held at their fullest.
    """

    learners: int
    lessons: tuple[str, ...]
    stagger: float = 0.0
    together: float = 0.0
    starts: list[float] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    work: dict[str, list[float]] = field(default_factory=dict)
    differing: list[str] = field(default_factory=list)
    memory: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    reached: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    traces: list[str] = field(default_factory=list)


class Pupil:
    """A learner of the load test, in a thread of their own."""

    def __init__(self, held: HeldClass, name: str, load: Load):
        self.held, self.name, self.load = held, name, load
        self.who = held.log_in(name).take_token()
        self.load.starts.append(self.who.start_server())

    def learn(self, lesson):
        """Run a lesson in a fresh kernel, compare, save."""
        path, began = f"notebooks/{lesson}.ipynb", time.monotonic()
        notebook = self.who.read(path)
        self.kernel = self.who.open_kernel(path)
        self.note_pid()
        wrong = run_notebook(self.kernel, notebook)
        self.load.differing += [f"{self.name} {lesson} cell {number}" for number in wrong]
        notebook.cells.append({"cell_type": "markdown", "metadata": {}, "source": self.mark})
        self.who.save(path, notebook)
        self.load.seconds.setdefault(lesson, []).append(time.monotonic() - began)
        used = psutil.Process(self.pid).cpu_times()
        self.load.work.setdefault(lesson, []).append(used.user + used.system)

    def note_pid(self):
        self.pid = int(self.kernel.say("import os; print(os.getpid())"))

    @property
    def mark(self):
        return f"my own note, {self.name}"

    def close_kernel(self):
        self.kernel.socket.close()
        self.who.server("DELETE", f"/kernels/{self.kernel.id}")

    def server_pid(self):
        return psutil.Process(self.pid).ppid()

    def keeps_work(self, lesson, when):
        """Note it if what was saved is not there."""
        cells = self.who.read(f"notebooks/{lesson}.ipynb").cells
        if cells[-1].source != self.mark:
            self.load.lost.append(f"{self.name}'s {lesson} after {when}")


def memory_of(process):
    """MB that a process holds alone, and its part of what it shares."""
    full = process.memory_full_info()
    return full.uss / 2**20, (full.pss - full.uss) / 2**20


def take_memory(held, pupils, load, lesson):
    """Note what each kind of process holds now."""
    kernels = {pupil.pid: pupil for pupil in pupils}
    servers = {pupil.server_pid() for pupil in pupils}
    found = {}
    for process in held.all_processes():
        kind = "hub, proxy, culler"
        if process.pid in kernels:
            kind = f"kernel after {lesson.partition('_')[0]}"
        elif process.pid in servers:
            kind = "server"
        with contextlib.suppress(psutil.Error):
            found.setdefault(kind, []).append(memory_of(process))
    load.memory |= found
    load.together = max(load.together, sum(sum(both) for kind in found.values() for both in kind))


def try_doors(held, other, victim, load):
    """Everything that `other` may try to reach what is `victim`'s; what opens is noted."""
    paths = ("contents/notebooks", "kernels", "sessions", f"kernels/{victim.kernel.id}")
    own = other.kernel.say("import os; print(os.environ['JUPYTERHUB_API_TOKEN'])")
    direct = next(
        conn.laddr.port
        for conn in psutil.Process(victim.server_pid()).net_connections("tcp")
        if conn.status == psutil.CONN_LISTEN
    )
    base = f"/user/{victim.name}/api"
    tokens = {"token": other.who.token, "server's token": own, "nothing": "x"}
    for said, token in tokens.items():
        headers = {"Authorization": f"token {token}"}
        addresses = [f"{held.url}{base}/{path}" for path in paths]
        addresses += [f"http://127.0.0.1:{direct}{base}/{paths[0]}"]
        addresses += [f"{held.url}/hub/api/users/{victim.name}", f"{held.url}/hub/api/users"]
        addresses += [f"http://127.0.0.1:{held.port + 2}/api/routes"]
        for address in addresses:
            reply = requests.get(address, headers=headers, timeout=60)
            if reply.ok and victim.name in reply.text + address:
                load.reached.append(f"{other.name} by {said}: {address}")
    try_cookie(held, other, victim, load, paths)
    try_socket(held, other, victim, load)


def try_cookie(held, other, victim, load, paths):
    """The same in the other's browser, where the other is logged in, also to their own server."""
    browser = other.who.browser
    browser.get(f"{held.url}/user/{other.name}/lab", timeout=60)
    own = browser.get(f"{held.url}/user/{other.name}/api/kernels", timeout=60)
    if not own.ok:
        load.reached.append(f"{other.name}'s own cookie did not open their own server")
    for path in ("lab", *(f"api/{path}" for path in paths)):
        reply = browser.get(f"{held.url}/user/{victim.name}/{path}", timeout=60)
        if reply.ok and reply.url.startswith(f"{held.url}/user/{victim.name}/"):
            load.reached.append(f"{other.name} by cookie: {path}")


def look_for_nbgrader(held, pupil, load):
    """Neither its menu nor its pages are there for a learner, whatever is installed."""
    own = f"{held.url}/user/{pupil.name}"
    page = pupil.who.browser.get(f"{own}/lab", timeout=60).text
    config = json.loads(re.search(r'id="jupyter-config-data"[^>]*>(.*?)</script>', page, re.S)[1])
    if "@jupyter/nbgrader" not in config["disabledExtensions"]:
        load.traces.append("its extension of JupyterLab")
    for path in ("formgrader", "assignments", "courses", "nbgrader_version"):
        if pupil.who.browser.get(f"{own}/{path}", timeout=60).status_code != 404:
            load.traces.append(path)


def try_socket(held, other, victim, load):
    """A websocket to the other's kernel."""
    base = held.url.replace("http", "ws", 1)
    where = f"{base}/user/{victim.name}/api/kernels/{victim.kernel.id}/channels"
    with contextlib.suppress(websocket.WebSocketException):
        header = [f"Authorization: token {other.who.token}"]
        websocket.create_connection(where, header=header, timeout=60).close()
        load.reached.append(f"{other.name} by websocket")


def try_files(held, other, victim, load):
    """Code in the other's notebook, after the victim's files, processes and the hub's secrets."""
    home, pid = held.folder / "learners" / victim.name, victim.server_pid()
    tries = {
        "a file": f"open({str(home / 'notebooks/STEP3_sampling.ipynb')!r}).read()",
        "a folder": f"os.listdir({str(home)!r})",
        "writing": f"open({str(home / 'notebooks/new')!r}, 'w')",
        "the hub's secrets": f"open({str(held.folder / 'hub/service_token')!r}).read()",
        "the hub's database": f"open({str(held.folder / 'hub/jupyterhub.sqlite')!r}, 'rb').read()",
        "the list": f"open({str(held.list)!r}).read()",
        "the environment": f"open('/proc/{pid}/environ').read()",
        "a signal": f"os.kill({pid}, signal.SIGCONT)",
        "the lessons": f"open({str(ROOT / 'notebooks/new')!r}, 'w')",
    }
    for said, code in tries.items():
        answer = other.kernel.say(f"{CODE}\nprint(tried(lambda: {code}))")
        if answer != "PermissionError":
            load.reached.append(f"{other.name}'s code: {said}: {answer}")


def break_things(held, pupils, load, lesson):
    """Kill a kernel, a server and, in mid-lesson, the hub; what was saved must be there."""
    first, last = pupils[0], pupils[-1]
    first.kernel.say("kept = 1")
    first.kernel.die()
    if first.kernel.say("print('kept' in globals())") != "False":
        load.lost.append("a killed kernel did not come back empty")
    first.note_pid()
    first.keeps_work(lesson, "a killed kernel")

    psutil.Process(last.server_pid()).send_signal(signal.SIGKILL)
    last.kernel.socket.close()
    wait_until(lambda: not last.who.own_server().get("ready"))
    last.who.start_server()
    last.keeps_work(lesson, "a killed server")


def restart_hub(held, pupils, load, lesson):
    """Kill the hub while one learns; the lesson goes on, others log in as soon as it is back."""
    pupil, before = pupils[0], held.pid("hub")
    pupil.close_kernel()
    server = pupil.who.server("GET", "/status")["started"]
    running = threading.Thread(target=pupil.learn, args=[lesson])
    running.start()
    time.sleep(2)
    psutil.Process(before).kill()
    wait_until(lambda: held.pid("hub") != before and hub_answers(held))
    running.join()
    if pupil.who.server("GET", "/status")["started"] != server:
        load.lost.append("the hub's restart restarted a server")
    for one in pupils:
        if not held.log_in(one.name).is_in:
            load.lost.append(f"{one.name}'s login after the hub's restart")
        one.keeps_work(lesson, "the hub's restart")


def run_load(folder, learners, lessons, *options, stagger=0.0):
    """The whole test in a folder → what was found."""
    names = [f"learner{number}" for number in range(1, learners + 1)]
    load = Load(learners, lessons, stagger)
    with HeldClass(Path(folder) / "class", names, "--one-account", *options) as held:
        try:
            work_together(held, names, load)
        except BaseException:
            print(held.log()[-8000:], file=sys.stderr)
            raise
    left = [process.cmdline() for process in held.all_processes()]
    load.lost += [f"still running at the end: {words}" for words in left]
    return load


def staggered(pool, do, them, seconds):
    """Do it for each, for each so many seconds after the one before → what comes of it."""

    def do_later(number, one):
        time.sleep(number * seconds)
        return do(one)

    return list(pool.map(do_later, range(len(them)), them))


def work_together(held, names, load):
    lessons, wait = load.lessons, load.stagger
    with ThreadPoolExecutor(len(names)) as pool:
        pupils = staggered(pool, lambda name: Pupil(held, name, load), names, wait)
        for lesson in lessons:
            if lesson != lessons[0]:
                list(pool.map(Pupil.close_kernel, pupils))
            staggered(pool, lambda pupil, lesson=lesson: pupil.learn(lesson), pupils, wait)
            take_memory(held, pupils, load, lesson)
    for other, victim in zip(pupils, [*pupils[1:], pupils[0]], strict=True):
        try_doors(held, other, victim, load)
        try_files(held, other, victim, load)
    look_for_nbgrader(held, pupils[0], load)
    break_things(held, pupils, load, lessons[0])
    restart_hub(held, pupils, load, lessons[0])


def middle(values):
    return f"{statistics.median(values):.0f} (at most {max(values):.0f})"


def carried(load, one):
    """(MB of a learner with an open lesson, MB that all share, learners that MACHINE has room for)

    one: kind of process → MB alone, its part of what is shared.
    """
    fixed = sum(map(sum, load.memory["hub, proxy, culler"]))
    kernel = max((kind for kind in one if kind.startswith("kernel")), key=lambda kind: one[kind])
    each = one["server"][0] + one[kernel][0]
    shared = load.learners * (one["server"][1] + one[kernel][1])
    return each, shared, int(((MACHINE - SYSTEM) * 1024 - fixed - shared) / each)


def served(load):
    """(Learners that the cores serve at a lesson's pace, that lesson's minutes, its seconds)."""
    found = []
    for lesson in load.lessons:
        text = (ROOT / "notebooks" / f"{lesson}.ipynb").read_text(encoding="utf-8")
        minutes = int(re.search(r"about (\d+) minutes", text)[1])
        took = statistics.median(load.work[lesson])
        found.append((int(psutil.cpu_count() * 60 * minutes / took), minutes, took))
    return min(found)


def limits(load, one):
    """What a learner costs, and which of memory and cores ends first."""
    each, shared, room = carried(load, one)
    at_pace, minutes, took = served(load)
    what, cores = "Memory is" if room <= at_pace else "Cores are", psutil.cpu_count()
    together = f"{load.together / 1024:.1f}"
    return (
        f"A learner with one open lesson holds {each:.0f} MB alone, all together share "
        f"{shared:.0f} MB; at their fullest all {load.learners} held {together} GB. "
        f"A machine of {MACHINE:.0f} GB, {SYSTEM:.0f} of them for the system, has room for "
        f"**{room} learners** with one open lesson each. {cores} cores serve {at_pace} "
        f"who take a lesson's {minutes} minutes for its {took:.0f} seconds of a processor. {what} "
        "what limits their number; cores limit how long they wait when all press Run at once."
    )


def table(load):
    """What was found, as Markdown."""
    one = {
        kind: [sum(part) / len(found) for part in zip(*found, strict=True)]
        for kind, found in load.memory.items()
    }
    fixed = load.memory["hub, proxy, culler"]
    came = f"one every {load.stagger:.0f} seconds" if load.stagger else "all at the same moment"
    took = [
        f"| {lesson.partition('_')[0]} | {middle(load.seconds[lesson])} "
        f"| {statistics.median(load.work[lesson]):.0f} |"
        for lesson in load.lessons
    ]
    rows = [
        f"{load.learners} learners on {psutil.cpu_count()} cores, {came}, each through "
        f"{' and '.join(lesson.partition('_')[0] for lesson in load.lessons)}: "
        f"{verdict(load)}",
        "",
        "| memory, MB | alone | its part of what is shared |",
        "| --- | ---: | ---: |",
        *(
            f"| {kind}, each learner's | {a:.0f} | {b:.0f} |"
            for kind, (a, b) in one.items()
            if kind != "hub, proxy, culler"
        ),
        f"| hub, proxy, culler, once | {sum(a for a, _ in fixed):.0f} "
        f"| {sum(b for _, b in fixed):.0f} |",
        "",
        f"| {came} | seconds, median | of a processor's time |",
        "| --- | ---: | ---: |",
        f"| until the server is there | {middle(load.starts)} | – |",
        *took,
        "",
        limits(load, one),
    ]
    return "\n".join(rows)


def verdict(load):
    wrong = [*load.differing, *load.reached, *load.lost, *load.traces]
    if wrong:
        return f"**{len(wrong)} faults**, the first: {wrong[0]}."
    return (
        "all outputs are the stored ones; nobody reached another's server or files; a killed "
        "kernel and a killed server came back with the work, and the hub, killed in mid-lesson, "
        "lost nothing."
    )


def write_block(path, text):
    """Write the table between its marks. Raises ValueError for a file without them."""
    old = path.read_text(encoding="utf-8")
    if not BLOCK.search(old):
        raise ValueError(f"{path} must have the marks <!-- class: … --> and <!-- /class -->")
    new = BLOCK.sub(lambda found: f"{found[1]}\n{text}\n{found[2]}", old)
    path.write_text(new, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--learners", type=int, default=8)
    parser.add_argument("--stagger", type=float, default=0, help="seconds between two learners")
    parser.add_argument("--lessons", nargs="+", default=LESSONS)
    about = "let each learner's kernel compile for itself, to see what preparing saves"
    parser.add_argument("--unprepared", action="store_true", help=about)
    parser.add_argument("--readme", type=Path, help="write the table there")
    args = parser.parse_args()
    # the more learners wait for the same cores, the longer each waits for one thing
    class_client.PATIENCE = max(class_client.PATIENCE, 60 * args.learners)
    with tempfile.TemporaryDirectory() as folder:
        options = ["--unprepared"] if args.unprepared else []
        lessons = tuple(args.lessons)
        load = run_load(folder, args.learners, lessons, *options, stagger=args.stagger)
    print(table(load))
    for fault in (*load.differing, *load.reached, *load.lost, *load.traces):
        print("fault:", fault)
    if args.readme:
        write_block(args.readme, table(load))
    sys.exit(bool(load.differing or load.reached or load.lost or load.traces))


if __name__ == "__main__":
    main()
