"""STEP5's exercises."""

from __future__ import annotations

from collections.abc import Callable

from medusa_lib.exercises.grading import as_list, check, run_attempt

VERIFIED = (  # branch, greedy's tokens, accepted; the order tells typical mistakes apart
    ([5, 6, 7], [5, 6, 7], 3),
    ([5, 6, 7], [8, 6, 7], 0),
    ([5, 6, 7], [5, 9, 7], 1),
    ([4, 4], [4, 5], 1),
    ([1, 2, 3, 4], [1, 2, 9, 4], 2),
)


def check_count_accepted(attempt: Callable) -> str:
    """STEP5. attempt(branch, greedy) → number of accepted draft tokens."""

    def verdict(f: Callable) -> str | None:
        for branch, greedy, wanted in VERIFIED:
            answer = as_list(run_attempt(f, list(branch), list(greedy)))
            if answer == wanted and not isinstance(answer, bool):
                continue
            matches = sum(b == g for b, g in zip(branch, greedy, strict=True))
            if answer == matches:
                return "a match after the first mismatch does not count: stop at the mismatch"
            if answer == wanted + 1:
                return "one too many: the corrected token is emitted, but it is not accepted"
            if isinstance(answer, list):
                return "return how many were accepted, an int, not the tokens"
            return f"for branch {branch} and greedy {greedy} it is {wanted}, yours was {answer!r}"
        return None

    return check(verdict, attempt)


def check_emitted(attempt: Callable) -> str:
    """STEP5. attempt(branch, greedy) → the tokens that this loop adds to the text."""

    def verdict(f: Callable) -> str | None:
        for branch, greedy, accepted in VERIFIED:
            wanted = greedy[: accepted + 1]
            answer = as_list(run_attempt(f, list(branch), list(greedy)))
            answer = list(answer) if isinstance(answer, tuple) else answer
            if answer == wanted:
                continue
            if answer == greedy[:accepted]:
                return "the correction is missing: greedy's token goes in at the mismatch"
            if answer == branch[: accepted + 1]:
                return "that emits the rejected draft; greedy's token takes its place"
            if answer == branch:
                return "that is the whole branch; only what greedy agrees with is kept"
            if answer == greedy:
                return "stop after the correction: what comes later was drafted on a wrong token"
            return f"for branch {branch} and greedy {greedy}: {wanted}, yours was {answer!r}"
        return None

    return check(verdict, attempt)
