"""STEP4's exercise."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real

from medusa_lib.exercises.grading import as_list, check, run_attempt


def check_branch_probability(attempt: Callable) -> str:
    """STEP4. attempt(step_probs) → probability of drafting exactly this branch."""

    def verdict(f: Callable) -> str | None:
        for probs in ([0.5, 0.2, 0.5], [0.9], [0.8, 0.1], [0.3, 0.3, 0.3, 0.3]):
            wanted, answer = math.prod(probs), as_list(run_attempt(f, list(probs)))
            if not isinstance(answer, Real):
                return f"return one number, yours was {answer!r}"
            if math.isclose(answer, wanted, rel_tol=1e-6):
                continue
            if math.isclose(answer, sum(probs)):
                return "that is the sum; every draw must come out right, so multiply"
            if math.isclose(answer, sum(probs) / len(probs)):
                return "that is the mean; every draw must come out right, so multiply"
            if math.isclose(answer, probs[-1]):
                return "that is the last step alone; the steps before must come out right too"
            return f"for {probs} it is {wanted:.4f}, yours was {answer!r}"
        return None

    return check(verdict, attempt)
