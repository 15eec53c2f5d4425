"""`python -m medusa_lib.classroom`: hold a class; `… progress FOLDER…`: who has solved what."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = {"serve": "serve", "progress": "progress", "nbgrader": "nbgrader_course"}


def main(argv: list[str] | None = None) -> int | None:
    """Run the command that the first word names; without one, hold a class."""
    words = sys.argv[1:] if argv is None else argv
    named = bool(words) and words[0] in COMMANDS
    module = COMMANDS[words[0]] if named else "serve"
    # Read only now: the command that holds a class must not pay for the others' plots.
    return import_module(f"medusa_lib.classroom.{module}").main(words[1:] if named else words)


if __name__ == "__main__":
    sys.exit(main())
