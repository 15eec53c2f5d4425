"""Close a process off from all files but some, without being root: Linux's Landlock.

It holds for the process itself and for all that it starts, for good. Standard library only.
Source: the Linux kernel's userspace-api/landlock.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

CREATE, ADD, RESTRICT = 444, 445, 446  # system calls, with the same numbers everywhere
NO_NEW_PRIVILEGES = 38  # of prctl; without it only root may restrict itself
ASK_VERSION, PATH_BENEATH = 1, 1
LIST = 1 << 3  # see the names in a folder, not what is in the files
READ = 1 << 0 | 1 << 2 | LIST  # run a file, read one
FILE_ONLY = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14  # what may be allowed for something not a folder
KINDS_OF_FILES = {1: 13, 2: 14, 3: 15}  # version → how many rights it knows; more with none left
SIGNALS = 6  # the first version that also keeps signals inside


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def _call(number: int, *arguments: object) -> int:
    """One system call. Raises OSError with the kernel's reason."""
    library = ctypes.CDLL(None, use_errno=True)
    answer = library.syscall(number, *arguments)
    if answer < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return answer


def landlock_version() -> int:
    """The version of Landlock that this system has, from 1; 0 for none."""
    if not sys.platform.startswith("linux"):
        return 0
    try:
        return _call(CREATE, None, 0, ASK_VERSION)
    except OSError:
        return 0


def _allow(rules: int, path: Path, rights: int) -> None:
    """Allow `rights` for a file, or for a folder and all beneath it; what is not there is not."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= FILE_ONLY
        _call(ADD, rules, PATH_BENEATH, ctypes.byref(_Beneath(rights, place)), 0)
    finally:
        os.close(place)


def close_off(
    readable: Iterable[Path], writable: Iterable[Path], listed: Iterable[Path] = ()
) -> bool:
    """From now on, only these are reached, and only `writable` ones changed.

    listed: folders that show their names, and their folders' names, but no content.
    Processes outside can be neither read nor, from version 6 on, sent signals. False, and nothing
    done, where the system has no Landlock. Raises OSError if it has and refuses.
    """
    version = landlock_version()
    if not version:
        return False
    all_rights = (1 << KINDS_OF_FILES.get(version, 15)) - 1
    scoped = 3 if version >= SIGNALS else 0  # 1: abstract sockets, 2: signals
    ruleset = _Ruleset(all_rights, 0, scoped)
    size = 24 if version >= SIGNALS else 8
    rules = _call(CREATE, ctypes.byref(ruleset), ctypes.c_size_t(size), 0)
    for paths, rights in ((listed, LIST), (readable, READ), (writable, all_rights)):
        for path in paths:
            _allow(rules, path, rights)
    ctypes.CDLL(None).prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    _call(RESTRICT, rules, 0)
    os.close(rules)
    return True
