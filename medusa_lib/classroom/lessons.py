"""Hand out the lessons: a learner's own copy, in which nothing of theirs is ever overwritten."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from pathlib import Path

NOTE = ".handed_out.json"  # what each file was like when it was handed out


def fingerprint(path: Path) -> str:
    """What tells two contents of a file apart."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def lesson_files(source: Path) -> list[Path]:
    """All files of a folder but hidden ones, as paths from it on.

    Raises ValueError if there are none.
    """
    found = [path.relative_to(source) for path in sorted(source.rglob("*")) if path.is_file()]
    shown = [path for path in found if not any(part.startswith(".") for part in path.parts)]
    if not shown:
        raise ValueError(f"lessons must be a folder with files, got {str(source)!r}")
    return shown


def read_note(folder: Path) -> dict[str, str]:
    """File → its fingerprint when it was handed out; nothing for a note that cannot be read."""
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def put(source: Path, target: Path, replace: bool) -> bool:
    """Copy a file in one go, so that nobody ever sees half of one → whether it was.

    Without `replace`, a file that has come to be there meanwhile stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, part)
    try:
        if replace:
            os.replace(part, target)
        else:
            os.link(part, target)  # unlike a rename, never takes the place of another file
    except FileExistsError:
        return False
    finally:
        part.unlink(missing_ok=True)
    return True


def hand_out(source: Path, folder: Path) -> list[str]:
    """Bring a learner's copy up to date → the files that were written.

    New lessons, and those that the learner has deleted, are copied; those that the course has
    changed and the learner has not are brought up to date; all others are left alone. Raises
    ValueError for a source without files.
    """
    note, written = read_note(folder), []
    for name in lesson_files(source):
        new, target = fingerprint(source / name), folder / name
        own = fingerprint(target) if target.is_file() else None
        if own == new:
            note[str(name)] = new
        elif own in (None, note.get(str(name))) and put(source / name, target, own is not None):
            note[str(name)] = new
            written.append(str(name))
    part = folder / f"{NOTE}.part"
    part.write_text(json.dumps(note, indent=1), encoding="utf-8")
    part.replace(folder / NOTE)
    return written


def copy_missing(source: Path, folder: Path) -> None:
    """Copy what is prepared for every learner, such as compiled code, where there is none yet."""
    for path in sorted(source.rglob("*")):
        target = folder / path.relative_to(source)
        with contextlib.suppress(OSError):
            if path.is_file() and not target.exists():
                put(path, target, replace=False)
