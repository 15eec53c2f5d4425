"""BEYOND5's exercise."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate
from operator import mul

from medusa_lib.exercises.grading import Answers, grade


def _tokens_per_pass(right: list[float]) -> Answers:
    reached = list(accumulate(right, mul))  # how often each guess and all before it hold
    return 1 + math.fsum(reached), (
        (float(sum(reached)), "the pass writes one token of its own besides: add 1"),
        (1 + math.fsum(right), "a guess counts only where all before it hold: multiply them"),
        (1 + math.prod(right), "that counts only the chains that hold to their end"),
        (math.prod(right), "that is how often the whole chain holds"),
        (1.0 + len(right), "that is what a chain that always holds would write"),
    )


def check_tokens_per_pass(attempt: Callable) -> str:
    """BEYOND5. attempt(right) → tokens that a pass writes on average with a chain of heads.

    right: for each head how often its guess is right where all before it are.
    """
    cases = (([0.8, 0.5, 0.5],), ([0.75],), ([0.5, 0.0, 0.9],), ([],), ([1.0, 1.0],))
    at, otherwise = "right {}: ", "it is {wanted:.2f}, yours was {answer!r}"
    return grade(attempt, cases, _tokens_per_pass, at, otherwise)
