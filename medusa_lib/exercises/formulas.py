"""BEYOND3's exercise."""

from __future__ import annotations

from collections.abc import Callable

from medusa_lib.exercises.grading import Answers, grade


def _break_even_cost(alpha: float, span: int) -> Answers:
    tokens = sum(alpha**i for i in range(span + 1))
    return (tokens - 1) / span, (
        (tokens / span, "the verifying pass costs 1; take it off before you divide"),
        (tokens - 1, "that is the cost of the whole branch; one draft step is asked for"),
        (tokens, "those are the tokens per loop; which c makes the loop cost as much?"),
    )


def check_break_even_cost(attempt: Callable) -> str:
    """BEYOND3. attempt(alpha, span) → the draft cost c at which drafting neither pays nor loses."""
    cases = ((0.5, 2), (0.8, 4), (0.3, 1), (0.0, 3), (1.0, 5))
    at, otherwise = "α {}, span {}: ", "it is {wanted:.4f}, yours was {answer!r}"
    return grade(attempt, cases, _break_even_cost, at, otherwise)
