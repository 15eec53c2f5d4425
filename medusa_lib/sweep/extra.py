"""What only a sweep over processes needs: packages that a learner does not install."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

EXTRA = "pip install -e '.[sweep]'"


class MissingExtraError(RuntimeError):
    """A package of the extra is not installed; the message says how to get it."""


def needed(name: str) -> ModuleType:
    """The module of that name. Raises MissingExtraError if it is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != name.partition(".")[0]:
            raise
        raise MissingExtraError(f"this needs {name}: {EXTRA}") from None
