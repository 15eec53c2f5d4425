"""BEYOND1's exercises."""

from __future__ import annotations

from collections.abc import Callable

from medusa_lib.exercises.grading import Answers, grade


def _keep(branch: list[int], choices: list[int]) -> Answers:
    wrong = (i for i, (b, c) in enumerate(zip(branch, choices, strict=False)) if b != c)
    accepted = next(wrong, len(branch))
    bonus = "the bonus is missing: the pass says one token more"
    correction = "the correction is missing: the model's own token goes in at the mismatch"
    head = branch[:accepted]
    return choices[: accepted + 1], (
        (head, bonus if head == branch else correction),
        (branch[: accepted + 1], "that adds the rejected draft; correct it"),
        ([*head, choices[-1]], "the last row follows the whole branch, rejected or not"),
        (choices, "stop after the correction: later rows follow a rejected token"),
    )


def check_keep(attempt: Callable) -> str:
    """BEYOND1. attempt(branch, choices) → the tokens that this loop adds to the text."""
    cases = (  # branch, the model's choice in each row of one pass (one more than the branch)
        ([5, 6, 7], [5, 9, 7, 8]),
        ([5, 6, 7], [5, 6, 7, 8]),
        ([5, 6, 7], [4, 6, 7, 8]),
        ([], [3]),
        ([4, 4], [4, 4, 4]),
        ([1, 2, 3, 4], [1, 2, 9, 4, 6]),
    )
    at, otherwise = "branch {}, choices {}: ", "{wanted} is to be kept, yours was {answer!r}"
    return grade(attempt, cases, _keep, at, otherwise)


def _cache_after(held: int, unseen: int, drafted: int, accepted: int) -> Answers:
    wanted, before = held + unseen + accepted, held + unseen + drafted
    return wanted, (
        (before, "that is before the rollback: the rejected ones go"),
        (wanted + 1, "one too many: the last token was chosen, but not fed yet"),
        (held + accepted, "the unseen tokens were fed too, and they stay"),
        (before - accepted, "cut the rejected tokens, not the accepted"),
    )


def check_cache_after(attempt: Callable) -> str:
    """BEYOND1. attempt(held, unseen, drafted, accepted) → tokens held after the rollback."""
    cases = ((10, 1, 4, 2), (10, 1, 4, 4), (0, 6, 3, 0), (20, 1, 0, 0), (7, 1, 5, 1))
    at = "held {}, unseen {}, drafted {}, accepted {}: "
    return grade(attempt, cases, _cache_after, at)
