"""BEYOND8's exercise."""

from __future__ import annotations

import math
from collections.abc import Callable

from medusa_lib.exercises.grading import Answers, grade, no_list


def _typical(probs: list[float], epsilon: float, delta: float) -> Answers:
    spread = math.exp(sum(p * math.log(p) for p in probs))  # exp(-entropy)
    follows = delta * spread
    mistakes = (  # the bound that would give this answer, and what to say
        (epsilon, f"as if epsilon alone counted; delta × exp(-entropy) is {follows:.2f}"),
        (max(epsilon, follows), "the smaller of the two is the bound, not the larger"),
        (min(epsilon, spread), "exp(-entropy) is to be multiplied by delta"),
    )
    wanted = [p > min(epsilon, follows) for p in probs]
    return wanted, (
        ([not kept for kept in wanted], "those are the tokens that are not typical"),
        *(([p > bound for p in probs], said) for bound, said in mistakes),
    )


def check_typical(attempt: Callable) -> str:
    """BEYOND8. attempt(probs, epsilon, delta) → for each token True if it is typical."""
    cases = (
        ([0.9, 0.06, 0.03, 0.01], 0.05, 1.0),
        ([0.4, 0.1, 0.2, 0.3], 0.35, 0.5),
        ([0.01, 0.03, 0.06, 0.9], 0.04, 0.3),
        ([0.25, 0.25, 0.25, 0.25], 0.5, 0.3),
    )
    return grade(
        attempt,
        cases,
        _typical,
        at="probabilities {}, epsilon {}, delta {}: ",
        refuse=lambda answer, p, *_: no_list(answer, f"{len(p)} True or False", len(p)),
    )
