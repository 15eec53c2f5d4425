"""Let other users of the system reach this Python where it lies in a folder that is closed to them.

Only a process and what it starts see the folder open: they have a table of mounts of their own.
"""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from medusa_lib.classroom import settings


def closed_ways():
    """Folders that others cannot enter, the outermost first → what must be reached in each."""
    needed = [Path(sys.executable), Path(sys.prefix), settings.LESSONS, Path(settings.__file__)]
    found = {}
    for path in [way for one in needed for way in (one.absolute(), one.resolve())]:
        for folder in reversed(path.parents):
            if not folder.stat().st_mode & 0o001:
                found.setdefault(folder, set()).add(path.relative_to(folder).parts[0])
    return dict(sorted(found.items(), key=lambda pair: len(pair[0].parts)))


def open_to_users(scratch):
    """The words before a command that is to see all this open → none if it is open anyway.

    None where this system does not allow it. scratch: an empty folder, needed while it runs.
    """
    steps = ["set -e"]
    for number, (folder, names) in enumerate(closed_ways().items()):
        aside, here = shlex.quote(str(scratch / str(number))), shlex.quote(str(folder))
        steps += [f"mkdir {aside}", f"mount --rbind {here} {aside}"]
        steps += [f"mount -t tmpfs -o mode=755 none {here}"]
        for name in map(shlex.quote, sorted(names)):
            steps += [f"mkdir {here}/{name}", f"mount --rbind {aside}/{name} {here}/{name}"]
    if len(steps) == 1:
        return []
    within = ["unshare", "--mount", "/bin/sh", "-c", "\n".join([*steps, 'exec "$@"']), "sh"]
    tried = shutil.which("unshare") and subprocess.run(
        [*within, "true"], capture_output=True, check=False
    )
    for aside in scratch.iterdir():
        aside.rmdir()
    return within if tried and tried.returncode == 0 else None
