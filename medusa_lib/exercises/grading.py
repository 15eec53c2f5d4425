"""How exercises are graded: an attempt is called, and what is wrong with it is said in words."""

from __future__ import annotations

import contextlib
import copy
import math
import os
import sys
from collections.abc import Callable, Iterable
from numbers import Real

import torch

# Of one case: the right answer; then wrong ones (or types of them), each with what to say about it.
Answers = tuple[object, Iterable[tuple[object, str]]]
NOT_ATTEMPTED = "not attempted yet: replace the `...`, run that cell, then this one"
CORRECT = "correct"
NOT_YET = "not yet: "


def check(verdict: Callable[[Callable], str | None], attempt: Callable) -> str:
    """Run one exercise's check → "correct", "not attempted yet …", or what is wrong, in words.

    `verdict(attempt)` returns None if all is right, else a sentence. A stub that returns `...`
    counts as not attempted; an exception inside the attempt is reported, never raised. Always one
    line. Under nbgrader, which gives a cell its points unless it raises, anything but "correct"
    is raised as NoPointsError, and what an attempt warns of goes to stdout: a cell that writes to
    stderr gets no points either.
    """
    graded = "NBGRADER_EXECUTION" in os.environ  # nbgrader sets it while it runs a notebook
    with contextlib.redirect_stderr(sys.stdout) if graded else contextlib.nullcontext():
        report = _report(verdict, attempt)
    if graded and report != CORRECT:
        raise NoPointsError(report)
    return report


def _report(verdict: Callable[[Callable], str | None], attempt: Callable) -> str:
    """What `check` says."""
    try:
        problem = verdict(attempt)
    except NotAttemptedError:
        return NOT_ATTEMPTED
    except AttemptError as error:
        problem = str(error)
    except Exception as error:  # an answer of a kind that no comparison expects
        problem = f"your answer could not be compared ({error}); look at its type"
    return CORRECT if problem is None else NOT_YET + " ".join(problem.splitlines())


def read_reports(text: str) -> list[tuple[str, str]]:
    """The reports of `check` in a printed text, in order: the state of each, and what is wrong.

    The state is "correct", "not yet" or "not attempted"; only "not yet" says what is wrong.
    """
    found = []
    for line in text.splitlines():
        if line == CORRECT:
            found.append(("correct", ""))
        elif line.startswith(NOT_YET):
            found.append(("not yet", line.removeprefix(NOT_YET)))
        elif line.startswith(NOT_ATTEMPTED.partition(":")[0]):  # the rest was different once
            found.append(("not attempted", ""))
    return found


class NoPointsError(Exception):
    """How nbgrader learns that an exercise is not solved: its text is the report of `check`."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of a traceback, in which a grader's lines give answers."""
        return [str(self)]


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


def same(answer: object, value: object, tolerance: float = 1e-6) -> bool:
    """Whether an answer is this value, or of this type; a float need only be close."""
    if isinstance(value, type):
        return isinstance(answer, value)
    if isinstance(answer, bool) and not isinstance(value, bool):
        return False
    if isinstance(value, float):
        return math.isclose(answer, value, rel_tol=tolerance, abs_tol=1e-9)
    if isinstance(value, list) and isinstance(answer, list) and len(answer) == len(value):
        return all(same(a, v, 1e-4) for a, v in zip(answer, value, strict=True))
    return answer == value


def other_kind(answer: object, wanted: object) -> str | None:
    """What to say if a text or a number is wanted and the answer is none; else None."""
    if isinstance(wanted, str) and not isinstance(answer, str):
        return f"return the whole text, a str, not a {type(answer).__name__}"
    if isinstance(wanted, float) and (isinstance(answer, bool) or not isinstance(answer, Real)):
        return f"return one number, yours was {answer!r}"
    return None


def no_list(answer: object, of: str, length: int | None = None) -> str | None:
    """What to say about an answer that is no list (of this length); None if it is one."""
    fits = isinstance(answer, list) and length in (None, len(answer))
    return None if fits else f"return a list of {of}, yours was {answer!r}"


def is_ids(wanted: object) -> bool:
    """True for a list of whole numbers: for these a tuple will do, for all else it is refused."""
    return isinstance(wanted, list) and all(type(each) is int for each in wanted)


def grade(
    attempt: Callable,
    cases: Iterable[tuple],
    answers: Callable[..., Answers],
    at: str = "",
    otherwise: str = "it is {wanted}, yours was {answer!r}",
    refuse: Callable[..., str | None] = lambda *_: None,
) -> str:
    """Ask an attempt about each case, until one answer is wrong → what `check` says.

    answers(*inputs): what is right, and the mistakes with a name. `otherwise` is said about any
    other answer, `at` before both; in these templates `{}` is each input in turn. refuse(answer,
    *inputs): what to say about an answer of a wrong kind, else None.
    """

    def verdict(f: Callable) -> str | None:
        for inputs in cases:
            wanted, mistakes = answers(*inputs)
            answer = run_attempt(f, *copy.deepcopy(inputs))
            if isinstance(answer, tuple) and is_ids(wanted):
                answer = list(answer)
            answer = answer if isinstance(wanted, str) else as_list(answer)
            if refused := other_kind(answer, wanted) or refuse(answer, *inputs):
                return refused
            if not same(answer, wanted):
                known = (said for value, said in mistakes if same(answer, value))
                said = next(known, otherwise.format(*inputs, wanted=wanted, answer=answer))
                return at.format(*inputs) + said
        return None

    return check(verdict, attempt)
