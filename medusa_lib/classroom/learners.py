"""The teacher's list of learners, and the passwords, of which only hashes are kept."""

from __future__ import annotations

import base64
import csv
import hashlib
import hmac
import json
import os
import re
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
LEAST = 8  # letters of a password
COST = {"n": 2**14, "r": 8, "p": 1}  # of scrypt: 16 MB and some 50 ms for each guess
TEACHER = "teacher"
HEADER = ["name", "password"]


@dataclass(frozen=True)
class ListedLearner:
    """One who may log in. kept: salt and hash of the password; teacher: may see who is there."""

    kept: str
    teacher: bool = False

    def knows(self, password: str) -> bool:
        """True for the right password."""
        salt, _, known = self.kept.partition("$")
        found = hash_password(password, base64.b64decode(salt)).partition("$")[2]
        return hmac.compare_digest(found, known)


def hash_password(password: str, salt: bytes | None = None) -> str:
    """Salt and scrypt hash of a password, as text; a fresh salt if none is given."""
    salt = secrets.token_bytes(16) if salt is None else salt
    made = hashlib.scrypt(password.encode(), salt=salt, **COST)
    return "$".join(base64.b64encode(part).decode() for part in (salt, made))


def check_row(row: list[str], place: str) -> tuple[str, str, bool]:
    """A row of the list → name, password, whether a teacher. Raises ValueError, which names it."""
    name, password, role = (*(cell.strip() for cell in row), "", "", "")[:3]
    if len(row) > 3 or role not in ("", TEACHER):
        raise ValueError(f"{place} must have a name, a password, and {TEACHER!r} or nothing")
    if not NAME.fullmatch(name):
        shown = f"{place}: name must be letters a-z, digits, - and _, at most 31, and begin with"
        raise ValueError(f"{shown} a letter, got {name!r}")
    if len(password) < LEAST:
        raise ValueError(f"{place}: the password of {name} must have at least {LEAST} letters")
    return name, password, role == TEACHER


def read_list(path: Path) -> dict[str, tuple[str, bool]]:
    """A CSV file `name,password[,teacher]` → name → password, whether a teacher.

    A first row `name,password` and empty rows are passed over. Raises ValueError for a bad row, a
    name twice or no name at all, OSError for a file that cannot be read.
    """
    found: dict[str, tuple[str, bool]] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            if not any(row) or (number == 1 and [cell.strip() for cell in row[:2]] == HEADER):
                continue
            name, *rest = check_row(row, f"{path}, line {number}")
            if name in found:
                raise ValueError(f"{path}, line {number}: names must differ, got {name!r} again")
            found[name] = (rest[0], rest[1])
    if not found:
        raise ValueError(f"{path} must name at least one learner, got none")
    return found


def read_learners(kept: Path) -> dict[str, ListedLearner]:
    """The learners whose hashes are kept in a file; none where there is no file."""
    if not kept.exists():
        return {}
    stored = json.loads(kept.read_text(encoding="utf-8"))
    return {name: ListedLearner(**values) for name, values in stored.items()}


def write_private(path: Path, text: str) -> None:
    """Write a file that only this account reads, in one go."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    part.replace(path)


def keep_learners(given: Path, kept: Path) -> dict[str, ListedLearner]:
    """Take the teacher's list over: hashes go to `kept`, passwords nowhere → the learners.

    Who is no longer in the list can no longer log in; their work stays. Raises as read_list does.
    """
    before, now = read_learners(kept), {}
    for name, (password, teacher) in read_list(given).items():
        old = before.get(name)
        same = old is not None and old.knows(password)
        now[name] = ListedLearner(old.kept if same else hash_password(password), teacher)
    write_private(kept, json.dumps({name: asdict(one) for name, one in now.items()}, indent=1))
    return now
