"""STEP4's exercise."""

from __future__ import annotations

import math
from collections.abc import Callable

from medusa_lib.exercises.grading import Answers, grade


def _branch_probability(probs: list[float]) -> Answers:
    total = sum(probs)
    return math.prod(probs), (
        (total, "that is the sum; every draw must come out right, so multiply"),
        (total / len(probs), "that is the mean; every draw must come out right, so multiply"),
        (probs[-1], "that is the last step alone; the steps before must come out right too"),
    )


def check_branch_probability(attempt: Callable) -> str:
    """STEP4. attempt(step_probs) → probability of drafting exactly this branch."""
    cases = (([0.5, 0.2, 0.5],), ([0.9],), ([0.8, 0.1],), ([0.3, 0.3, 0.3, 0.3],))
    otherwise = "for {} it is {wanted:.4f}, yours was {answer!r}"
    return grade(attempt, cases, _branch_probability, otherwise=otherwise)
