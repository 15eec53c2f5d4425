"""BEYOND4's exercises."""

from __future__ import annotations

import math
from collections.abc import Callable

from medusa_lib.exercises.grading import Answers, grade, no_list


def _head_targets(ids: list[int], place: int, count: int) -> Answers:
    read, chosen, wanted, late = (ids[place + i : place + i + count] for i in range(4))
    return wanted, (
        (chosen, "that begins with the model's own choice"),
        (read, "that begins with the id that was just read"),
        (late, "that begins one too late"),
        (ids[place + 2 :], f"that is one for more than {count} heads"),
        (wanted[:-1], "the last head's is missing"),
        (wanted[0], "return a list, one id for each head"),
    )


def check_head_targets(attempt: Callable) -> str:
    """BEYOND4. attempt(ids, place, count) → the ids that heads 1 to `count` are to guess.

    They guess from the hidden state at `place`, where the model chose the next id itself.
    """
    text = [11, 12, 13, 14, 15, 16, 17, 18, 19]
    cases = ((text, 2, 3), (text, 0, 4), (text[::-1], 4, 1), (text, 1, 2))
    return grade(attempt, cases, _head_targets, at="ids {}, place {}, {} heads: ")


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
    """BEYOND4. attempt(probs, epsilon, delta) → for each token True if it is typical."""
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
