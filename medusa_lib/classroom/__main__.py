"""`python -m medusa_lib.classroom`: hold a class; `… progress FOLDER…`: who has solved what."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = ("serve", "progress")


def main(argv: list[str] | None = None) -> None:
    """Run a sub-command; without one, hold a class."""
    words = sys.argv[1:] if argv is None else argv
    named = words[:1] and words[0] in COMMANDS
    command, rest = (words[0], words[1:]) if named else ("serve", words)
    import_module(f"medusa_lib.classroom.{command}").main(rest)


if __name__ == "__main__":
    main()
