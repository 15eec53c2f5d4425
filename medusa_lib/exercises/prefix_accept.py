"""STEP5's exercises."""

from __future__ import annotations

from collections.abc import Callable

from medusa_lib.exercises.grading import Answers, grade

VERIFIED = (  # branch, greedy's tokens; the order tells typical mistakes apart
    ([5, 6, 7], [5, 6, 7]),
    ([5, 6, 7], [8, 6, 7]),
    ([5, 6, 7], [5, 9, 7]),
    ([4, 4], [4, 5]),
    ([1, 2, 3, 4], [1, 2, 9, 4]),
)


def _count_accepted(branch: list[int], greedy: list[int]) -> Answers:
    matches = [b == g for b, g in zip(branch, greedy, strict=True)]
    wanted = [*matches, False].index(False)
    return wanted, (
        (sum(matches), "a match after the first mismatch does not count: stop at the mismatch"),
        (wanted + 1, "one too many: the corrected token is emitted, but it is not accepted"),
        (list, "return how many were accepted, an int, not the tokens"),
    )


def check_count_accepted(attempt: Callable) -> str:
    """STEP5. attempt(branch, greedy) → number of accepted draft tokens."""
    otherwise = "for branch {} and greedy {} it is {wanted}, yours was {answer!r}"
    return grade(attempt, VERIFIED, _count_accepted, otherwise=otherwise)


def _emitted(branch: list[int], greedy: list[int]) -> Answers:
    accepted, _ = _count_accepted(branch, greedy)
    return greedy[: accepted + 1], (
        (greedy[:accepted], "the correction is missing: greedy's token goes in at the mismatch"),
        (branch[: accepted + 1], "that emits the rejected draft; greedy's token takes its place"),
        (branch, "that is the whole branch; only what greedy agrees with is kept"),
        (greedy, "stop after the correction: what comes later was drafted on a wrong token"),
    )


def check_emitted(attempt: Callable) -> str:
    """STEP5. attempt(branch, greedy) → the tokens that this loop adds to the text."""
    otherwise = "for branch {} and greedy {}: {wanted}, yours was {answer!r}"
    return grade(attempt, VERIFIED, _emitted, otherwise=otherwise)
