"""What a class is set to, handed from the command to the hub's configuration through a file."""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from medusa_lib.classroom.learners import write_private

FOLDER_VARIABLE = "MEDUSA_CLASS"  # the class's folder, to the hub's configuration
LESSONS = Path(__file__).resolve().parents[2] / "notebooks"
CONFIG = Path(__file__).with_name("jupyterhub_config.py")
SECRETS = ("proxy_token", "service_token")
LEAST_MEMORY = 600  # MB; importing torch and transformers alone takes more than half of it


@dataclass(frozen=True)
class ClassSettings:
    """A class on this machine.

    folder: the learners' work and the hub's own files. learners: the teacher's list, or None.
    host, port: where browsers go; the next two ports are the hub's and the proxy's own, on this
    machine only. memory: MB that a learner's processes may hold, each, and twice that together.
    idle: minutes after which a server stops. demo: any name, no password. one_account: all learners
    are the account that holds the class, also where that is root. cert, key: for TLS.
    """

    folder: Path
    learners: Path | None = None
    lessons: Path = LESSONS
    host: str = "127.0.0.1"
    port: int = 8000
    memory: int = 1500
    idle: int = 60
    demo: bool = False
    one_account: bool = False
    cert: Path | None = None
    key: Path | None = None
    config: Path = field(default=CONFIG)

    @property
    def many_users(self) -> bool:
        """True where each learner is a user of the system, as only root can arrange."""
        return os.geteuid() == 0 and not self.one_account

    @property
    def hub(self) -> Path:
        """The hub's own folder: its database, its secrets, its logs."""
        return self.folder / "hub"

    @property
    def work(self) -> Path:
        """The folder of the learners' folders."""
        return self.folder / "learners"

    @property
    def ready(self) -> Path:
        """What every learner's folder starts with: compiled code, the list of fonts."""
        return self.folder / "ready"

    @property
    def url(self) -> str:
        """Where browsers go."""
        return f"{'https' if self.cert else 'http'}://{bracketed(self.host)}:{self.port}/"

    @property
    def hub_url(self) -> str:
        """Where the hub itself listens, for this machine only."""
        return f"http://127.0.0.1:{self.port + 1}"

    @property
    def proxy_url(self) -> str:
        """Where the proxy takes the hub's orders."""
        return f"http://127.0.0.1:{self.port + 2}"

    def secret(self, name: str) -> str:
        """One of SECRETS, made at the class's first start."""
        return (self.hub / name).read_text(encoding="utf-8")


def bracketed(host: str) -> str:
    """A host as it stands in an address: IPv6 has brackets."""
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """True for an address that only this machine reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def closed_to_others(paths: Iterable[Path]) -> Path | None:
    """The first folder on the way to one of these that other users cannot enter."""
    ways = [place for path in paths for place in [*reversed(path.resolve().parents), path]]
    return next((way for way in ways if way.is_dir() and not way.stat().st_mode & 0o001), None)


def check_reach(told: ClassSettings) -> None:
    """Raises ValueError where learners, as users of the system, could not even start Python."""
    needed = [Path(sys.executable), Path(sys.prefix), told.lessons, told.folder.parent]
    closed = closed_to_others([*needed, Path(__file__).parent]) if told.many_users else None
    if closed is not None:
        raise ValueError(
            f"{closed} must be open to other users (or start the class from an ordinary account, "
            f"or take --one-account), got mode {closed.stat().st_mode & 0o777:o}"
        )


def check_settings(told: ClassSettings) -> ClassSettings:
    """The settings, if a class can be held with them. Raises ValueError, which says what is wrong.

    A demo without passwords is refused on an address that others reach.
    """
    numbers = {"port": (1, 65533), "memory": (LEAST_MEMORY, 10**7), "idle": (1, 10**5)}
    for name, (least, most) in numbers.items():
        if not least <= getattr(told, name) <= most:
            said = f"--{name} must be an int in [{least}, {most}]"
            raise ValueError(f"{said}, got {getattr(told, name)}")
    if not told.lessons.is_dir():
        raise ValueError(f"--lessons must be a folder of notebooks, got {str(told.lessons)!r}")
    if (told.cert is None) != (told.key is None):
        raise ValueError("--cert must have --key beside it, and the other way round, got one")
    if told.demo and not is_loopback(told.host):
        raise ValueError(f"--host must be 127.0.0.1 with --demo, got {told.host!r}")
    if told.demo and told.learners:
        raise ValueError("--demo must have no --learners beside it, got both")
    if not told.demo and not told.learners and not (told.hub / "learners.json").exists():
        raise ValueError("--learners must be a file name,password (or take --demo), got none")
    check_reach(told)
    return told


def write_settings(told: ClassSettings) -> None:
    """Make the class's folders, which only this account reads, and note what it is set to."""
    told.hub.mkdir(parents=True, exist_ok=True, mode=0o700)
    told.hub.chmod(0o700)
    told.work.mkdir(exist_ok=True, mode=0o711)
    values = {name: str(v) if isinstance(v, Path) else v for name, v in asdict(told).items()}
    write_private(told.hub / "class.json", json.dumps(values, indent=1))
    for name in SECRETS:
        if not (told.hub / name).exists():
            write_private(told.hub / name, secrets.token_hex(32))


def read_settings(folder: Path | None = None) -> ClassSettings:
    """What a class is set to. folder: None for the one that MEDUSA_CLASS names."""
    folder = Path(os.environ[FOLDER_VARIABLE]) if folder is None else folder
    values = json.loads((folder / "hub" / "class.json").read_text(encoding="utf-8"))
    paths = ("folder", "learners", "lessons", "cert", "key", "config")
    values |= {name: Path(values[name]) for name in paths if values[name]}
    return ClassSettings(**values)
