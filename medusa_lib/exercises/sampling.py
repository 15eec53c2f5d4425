"""STEP3's exercises."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

from medusa_lib.exercises.grading import Answers, grade, no_list


def _softmax(logits: list[float], temperature: float) -> list[float]:
    top = max(logits)
    weights = [math.exp((z - top) / temperature) for z in logits]
    return [weight / sum(weights) for weight in weights]


def _softmax_answers(logits: list[float], t: float) -> Answers:
    times, unscaled = _softmax(logits, 1 / t), _softmax(logits, 1.0)
    return _softmax(logits, t), (
        (times, "the logits were multiplied by the temperature; divide by it"),
        (unscaled, "the temperature made no difference; divide the logits by it first"),
    )


def _no_probabilities(answer: object, logits: list[float], _: float) -> str | None:
    other = no_list(answer, f"{len(logits)} probabilities", len(logits))
    if other or math.isclose(sum(answer), 1, rel_tol=1e-3):
        return other
    return f"the probabilities sum to {sum(answer):.3f}, not to 1: divide by their sum last"


def check_softmax_by_hand(attempt: Callable) -> str:
    """STEP3. attempt(logits, temperature) → list of probabilities."""
    cases = (([2.0, 1.0, 0.0], 1.0), ([1.0, 3.0], 0.5), ([0.0, 1.0, 4.0], 2.0))
    otherwise = "for {} at temperature {} the first is {wanted[0]:.3f}, not {answer[0]}"
    return grade(attempt, cases, _softmax_answers, otherwise=otherwise, refuse=_no_probabilities)


def _nucleus(probs: list[float], top_p: float) -> Answers:
    ordered = sorted(probs, reverse=True)
    wanted, unsorted = (
        1 + sum(total < top_p for total in itertools.accumulate(row)) for row in (ordered, probs)
    )
    more = wanted + 1 if sum(ordered[wanted - 1 :: -1]) == top_p else None
    return wanted, (
        (wanted - 1, "one too few: the token that crosses top_p belongs to the standard nucleus"),
        (more, "one too many: reaching top_p exactly is enough"),
        (list, "return how many tokens are kept, an int, not the tokens"),
        (unsorted, "the tokens were taken as they come; sort them, most probable first"),
    )


def check_standard_nucleus(attempt: Callable) -> str:
    """STEP3. attempt(probs, top_p) → size of the smallest head that reaches top_p."""
    cases = (
        # Exact in binary, so that reaching top_p exactly is no matter of rounding.
        ([0.25, 0.5, 0.25], 0.75),
        ([0.125, 0.5, 0.25, 0.125], 0.875),
        ([0.25] * 4, 1.0),
        ([0.5, 0.3, 0.2], 0.6),
        ([0.1, 0.6, 0.3], 0.8),
        ([0.05, 0.15, 0.7, 0.1], 0.75),
        ([0.9, 0.1], 0.5),
    )
    otherwise = "for {} and top_p {} the size is {wanted}, yours was {answer!r}"
    return grade(attempt, cases, _nucleus, otherwise=otherwise)
