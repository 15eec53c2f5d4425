"""What a teacher does with a class: `python -m medusa_lib.classroom progress FOLDER…`."""

from __future__ import annotations

import sys

from medusa_lib.classroom import nbgrader_course, progress

COMMANDS = {"progress": progress.main, "nbgrader": nbgrader_course.main}


def main(argv: list[str] | None = None) -> int:
    """Hand the rest of the command line to the command that its first word names."""
    command, *rest = (sys.argv[1:] if argv is None else argv) or [""]
    if command not in COMMANDS:
        known = ", ".join(COMMANDS)
        print(f"error: the command must be one of {known}, got {command!r}", file=sys.stderr)
        return 2
    return COMMANDS[command](rest)


if __name__ == "__main__":
    sys.exit(main())
