"""BEYOND2's exercise."""

from __future__ import annotations

from collections.abc import Callable

from medusa_lib.exercises.grading import Answers, grade, no_list


def _lookup(ids: list[int], n: int, span: int) -> Answers:
    ends = [end for end in range(n, len(ids)) if ids[end - n : end] == ids[-n:]] or [len(ids)]
    first, wanted = (ids[end : end + span] for end in (ends[0], ends[-1]))
    return wanted, (
        (first, "that is the earliest place, not the latest"),
        (ids[ends[-1] :], f"that is more than span = {span} tokens"),
        (ids[-n:] + wanted, "return only what follows, without the n tokens themselves"),
        ((wanted * span)[:span], "stop where the list ends, do not begin again"),
        (wanted[1:], "the token right after the match is missing"),
        ([], "the last n tokens match themselves; look only at earlier places"),
    )


def check_ngram_lookup(attempt: Callable) -> str:
    """BEYOND2. attempt(ids, n, span) → what followed the last n ids at their latest other place."""
    cases = (
        ([1, 2, 3, 9, 1, 2, 4, 8, 1, 2], 2, 2),
        ([5, 6, 7, 5], 1, 2),
        ([7, 1, 7, 2, 3, 7], 1, 2),
        ([3, 3, 3], 1, 4),
        ([1, 2, 3], 2, 4),
        ([4, 1, 2, 4], 2, 3),
    )
    return grade(
        attempt,
        cases,
        _lookup,
        at="ids {}, n {}, span {}: ",
        refuse=lambda answer, _ids, _n, span: no_list(answer, f"at most {span} ids"),
    )
