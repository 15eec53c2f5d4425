"""`python -m medusa_lib.classroom --learners FILE`: hold a class on this machine."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path

from medusa_lib.classroom.landlock import landlock_version
from medusa_lib.classroom.learners import keep_learners
from medusa_lib.classroom.settings import (
    CONFIG,
    LESSONS,
    ClassSettings,
    check_settings,
    is_loopback,
    write_settings,
)

HOME = Path("~/medusa-class").expanduser()
EXTRA = "pip install -e '.[class]'"
NEEDED = ("jupyterhub", "configurable_http_proxy", "jupyterhub_idle_culler")
PREPARE = (
    "from medusa_lib import load_lm, speculate; import matplotlib.font_manager; lm = load_lm()"
)
PREPARE += "; [speculate(lm, 'Once', name, 8) for name in ('heads_tree', 'heads_chain', None)]"
MOST_TO_PREPARE = 300  # seconds
OPEN = "others on the network reach {}; "
WITHOUT_TLS = "passwords cross it in plain text: give --cert and --key, or put TLS in front"
ONE_ACCOUNT = (
    "this system has no Landlock and learners are one account, so that code in "
    "one's notebook can read the others' files and this hub's. For people who trust each other."
)


def build_class_parser() -> argparse.ArgumentParser:
    """The command line; defaults are those of ClassSettings."""
    parser = argparse.ArgumentParser(
        prog="python -m medusa_lib.classroom",
        description="A class on JupyterHub. SIGHUP restarts the hub, lessons run on meanwhile.",
        epilog="python -m medusa_lib.classroom progress FOLDER… shows who has solved what.",
    )
    add = parser.add_argument
    add("--learners", type=Path, metavar="FILE", help="CSV: name,password[,teacher]")
    add("--folder", type=Path, default=HOME, help="of the learners' work")
    add("--port", type=int, default=ClassSettings.port, help="the two ports after it are used too")
    add("--host", default=ClassSettings.host, help="0.0.0.0 lets others in; then give --cert too")
    add("--memory", type=int, default=ClassSettings.memory, help="MB of each kernel")
    add("--idle", type=int, default=ClassSettings.idle, help="minutes until a server stops")
    add("--lessons", type=Path, default=LESSONS, help="the folder to hand out")
    add("--cert", type=Path, help="certificate for TLS")
    add("--key", type=Path, help="its key")
    add("--config", type=Path, default=CONFIG, help="your copy of the hub's configuration")
    add("--write-config", type=Path, metavar="FILE", help="write that copy, and end")
    add("--demo", action="store_true", help="any name, no password; on this machine only")
    add("--one-account", action="store_true", help="also for root: learners are no users")
    add("--unprepared", action="store_true", help="do not compile beforehand")
    return parser


def warnings_of(told: ClassSettings) -> list[str]:
    """What the teacher should know of these settings."""
    said = []
    if told.demo:
        said.append("a demo: whoever is on this machine logs in under any name")
    if not is_loopback(told.host):
        said.append(OPEN.format(told.url) + (WITHOUT_TLS if told.cert is None else "TLS is on"))
    if told.learners and told.learners.exists() and told.learners.stat().st_mode & 0o077:
        said.append(f"{told.learners} can be read by others on this machine: chmod 600")
    if not told.many_users and not landlock_version():
        said.append(ONE_ACCOUNT)
    return said


def prepare_class(told: ClassSettings) -> None:
    """Once for all learners: compile the quick pass, list the fonts. Failing costs only time."""
    part = told.folder / "ready.part"
    shutil.rmtree(part, ignore_errors=True)
    cache = part / ".cache"
    env = {"NUMBA_CACHE_DIR": str(cache / "numba"), "MPLCONFIGDIR": str(cache / "matplotlib")}
    done = subprocess.run(
        [sys.executable, "-c", PREPARE],
        env={**os.environ, **env, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
        timeout=MOST_TO_PREPARE,
        capture_output=True,
        check=False,
    )
    if done.returncode == 0:
        shutil.rmtree(told.ready, ignore_errors=True)
        part.rename(told.ready)


def settings_from(args: argparse.Namespace) -> ClassSettings:
    """The settings, checked, with full paths. Raises ValueError for what will not do."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"a class must have {', '.join(missing)}, got none: {EXTRA}")
    values = {name: getattr(args, name) for name in ClassSettings.__dataclass_fields__}
    full = {name: v.resolve() for name, v in values.items() if isinstance(v, Path)}
    return check_settings(ClassSettings(**values | full))


def listen_to_signals() -> tuple[threading.Event, threading.Event]:
    """Events that Ctrl-C or SIGTERM, and SIGHUP, set: end, and restart the hub."""
    end, again = threading.Event(), threading.Event()
    for number, event in ((2, end), (15, end), (1, again)):
        signal.signal(signal.Signals(number), lambda *_, event=event: event.set())
    return end, again


def hold(told: ClassSettings, unprepared: bool) -> None:
    """Hold the class until a signal ends it. Raises ClassError, ValueError, OSError."""
    held = import_module("medusa_lib.classroom.supervise")  # needs the extra
    write_settings(told)
    if told.learners:
        keep_learners(told.learners, told.hub / "learners.json")
    for warning in warnings_of(told):
        print(f"Warning: {warning}.", file=sys.stderr, flush=True)
    if not unprepared and not told.ready.exists():
        print("Preparing, once …", flush=True)
        prepare_class(told)
    end, again = listen_to_signals()

    def asked() -> str:
        word = "end" if end.is_set() else "again" if again.is_set() else ""
        again.clear()
        return word

    def say(line: str) -> None:
        with contextlib.suppress(OSError):  # a terminal that is gone keeps nothing from ending
            print(line, flush=True)

    held.hold_class(told, say, asked)


def main(argv: list[str] | None = None) -> None:
    """Hold a class, or write the configuration; a mistake ends it with one line."""
    args = build_class_parser().parse_args(argv)
    try:
        if args.write_config:
            with args.write_config.open("x", encoding="utf-8") as file:
                file.write(CONFIG.read_text(encoding="utf-8"))
            return
        hold(settings_from(args), args.unprepared)
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"error: {error}")
