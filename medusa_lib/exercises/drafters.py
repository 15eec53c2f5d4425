"""BEYOND2's exercises."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real

from medusa_lib.exercises.grading import as_list, check, run_attempt


def _lookup(ids: list[int], n: int, span: int, ends: range) -> list[int]:
    found = next((end for end in ends if ids[end - n : end] == ids[-n:]), None)
    return [] if found is None else ids[found : found + span]


def check_ngram_lookup(attempt: Callable) -> str:
    """BEYOND2. attempt(ids, n, span) → what followed the last n ids at their latest other place."""
    cases = (
        ([1, 2, 3, 9, 1, 2, 4, 8, 1, 2], 2, 2, [4, 8]),
        ([5, 6, 7, 5], 1, 2, [6, 7]),
        ([7, 1, 7, 2, 3, 7], 1, 2, [2, 3]),
        ([3, 3, 3], 1, 4, [3]),
        ([1, 2, 3], 2, 4, []),
        ([4, 1, 2, 4], 2, 3, []),
    )

    def verdict(f: Callable) -> str | None:
        for ids, n, span, wanted in cases:
            answer = as_list(run_attempt(f, list(ids), n, span))
            answer = list(answer) if isinstance(answer, tuple) else answer
            if answer == wanted and isinstance(answer, list):
                continue
            if not isinstance(answer, list):
                return f"return a list of at most {span} ids, yours was {answer!r}"
            latest = range(len(ids) - 1, n - 1, -1)
            mistakes = (
                (_lookup(ids, n, span, latest[::-1]), "that is the earliest place, not the latest"),
                (_lookup(ids, n, len(ids), latest), f"that is more than span = {span} tokens"),
                (ids[-n:] + wanted, "return only what follows, without the n tokens themselves"),
                (wanted[1:], "the token right after the match is missing"),
                ([], "the last n tokens match themselves; look only at earlier places"),
            )
            at = f"ids {ids}, n {n}, span {span}"
            said = next((said for value, said in mistakes if answer == value), None)
            return f"{at}: {said or f'it is {wanted}, yours was {answer!r}'}"
        return None

    return check(verdict, attempt)


def check_break_even_cost(attempt: Callable) -> str:
    """BEYOND2. attempt(alpha, span) → the draft cost c at which drafting neither pays nor loses."""

    def verdict(f: Callable) -> str | None:
        for alpha, span in ((0.5, 2), (0.8, 4), (0.3, 1), (0.0, 3), (1.0, 5)):
            tokens = sum(alpha**i for i in range(span + 1))
            wanted, answer = (tokens - 1) / span, as_list(run_attempt(f, alpha, span))
            if not isinstance(answer, Real):
                return f"return one number, yours was {answer!r}"
            if math.isclose(answer, wanted, rel_tol=1e-6, abs_tol=1e-9):
                continue
            mistakes = (
                (tokens / span, "the verifying pass costs 1; take it off before you divide"),
                (tokens - 1, "that is the cost of the whole branch; one draft step is asked for"),
                (tokens, "those are the tokens per loop; which c makes the loop cost as much?"),
            )
            said = next((said for value, said in mistakes if math.isclose(answer, value)), None)
            said = said or f"it is {wanted:.4f}, yours was {answer!r}"
            return f"α {alpha}, span {span}: {said}"
        return None

    return check(verdict, attempt)
