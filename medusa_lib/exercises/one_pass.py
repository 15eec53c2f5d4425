"""BEYOND1's exercises."""

from __future__ import annotations

from collections.abc import Callable

from medusa_lib.exercises.grading import as_list, check, run_attempt

CHOSEN = (  # branch, the model's choice in each row of one pass (one more than the branch)
    ([5, 6, 7], [5, 9, 7, 8]),
    ([5, 6, 7], [5, 6, 7, 8]),
    ([5, 6, 7], [4, 6, 7, 8]),
    ([], [3]),
    ([4, 4], [4, 4, 4]),
    ([1, 2, 3, 4], [1, 2, 9, 4, 6]),
)


def check_keep(attempt: Callable) -> str:
    """BEYOND1. attempt(branch, choices) → the tokens that this loop adds to the text."""

    def verdict(f: Callable) -> str | None:
        for branch, choices in CHOSEN:
            wrong = (i for i, (b, c) in enumerate(zip(branch, choices, strict=False)) if b != c)
            accepted = next(wrong, len(branch))
            wanted = choices[: accepted + 1]
            answer = as_list(run_attempt(f, list(branch), list(choices)))
            answer = list(answer) if isinstance(answer, tuple) else answer
            if answer == wanted:
                continue
            head, full = branch[:accepted], accepted == len(branch)
            mistakes = (
                (branch if full else ..., "the bonus is missing: the pass says one token more"),
                (head, "the correction is missing: the model's own token goes in at the mismatch"),
                (branch[: accepted + 1], "that adds the rejected draft; correct it"),
                ([*head, choices[-1]], "the last row follows the whole branch, rejected or not"),
                (choices, "stop after the correction: later rows follow a rejected token"),
                (answer, f"{wanted} is to be kept, yours was {answer!r}"),
            )
            said = next(said for value, said in mistakes if value == answer or value is answer)
            return f"branch {branch}, choices {choices}: {said}"
        return None

    return check(verdict, attempt)


def check_cache_after(attempt: Callable) -> str:
    """BEYOND1. attempt(held, unseen, drafted, accepted) → tokens held after the rollback."""
    cases = ((10, 1, 4, 2), (10, 1, 4, 4), (0, 6, 3, 0), (20, 1, 0, 0), (7, 1, 5, 1))

    def verdict(f: Callable) -> str | None:
        for held, unseen, drafted, accepted in cases:
            wanted = held + unseen + accepted
            answer = as_list(run_attempt(f, held, unseen, drafted, accepted))
            if answer == wanted and not isinstance(answer, bool):
                continue
            mistakes = (
                (held + unseen + drafted, "that is before the rollback: the rejected ones go"),
                (
                    wanted + 1,
                    "one too many: the last token was chosen, but not fed yet",
                ),
                (held + accepted, "the unseen tokens were fed too, and they stay"),
                (held + unseen + drafted - accepted, "cut the rejected tokens, not the accepted"),
                (answer, f"it is {wanted}, yours was {answer!r}"),
            )
            said = next(said for value, said in mistakes if value == answer or value is answer)
            numbers = f"held {held}, unseen {unseen}, drafted {drafted}, accepted {accepted}"
            return f"{numbers}: {said}"
        return None

    return check(verdict, attempt)
