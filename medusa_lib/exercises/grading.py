"""How exercises are graded: an attempt is called, and what is wrong with it is said in words."""

from __future__ import annotations

from collections.abc import Callable

import torch

NOT_ATTEMPTED = "not attempted yet: replace the `...` and run the cell again"
CORRECT = "correct"


def check(verdict: Callable[[Callable], str | None], attempt: Callable) -> str:
    """Run one exercise's check → "correct", "not attempted yet …", or what is wrong, in words.

    `verdict(attempt)` returns None if all is right, else a sentence. A stub that returns `...`
    counts as not attempted; an exception inside the attempt is reported, never raised.
    """
    try:
        problem = verdict(attempt)
    except NotAttemptedError:
        return NOT_ATTEMPTED
    except AttemptError as error:
        problem = str(error)
    except Exception as error:  # an answer of a kind that no comparison expects
        problem = f"your answer could not be compared ({error}); look at its type"
    return CORRECT if problem is None else f"not yet: {problem}"


class NotAttemptedError(Exception):
    """The stub still returns `...`."""


class AttemptError(Exception):
    """An attempt raised, or returned nothing; the text says so."""


def run_attempt(attempt: Callable, *args: object) -> object:
    """Call an attempt on arguments; `...` as its result means that it was not attempted."""
    try:
        result = attempt(*args)
    except Exception as error:
        raise AttemptError(f"your code raised {type(error).__name__}: {error}") from error
    if result is None:
        raise AttemptError("your function returned None: is a `return` missing?")
    if result is ...:
        raise NotAttemptedError
    return result


def as_list(value: object) -> object:
    """A tensor as a plain list or number, so that answers of either kind compare alike."""
    return value.tolist() if isinstance(value, torch.Tensor) else value
