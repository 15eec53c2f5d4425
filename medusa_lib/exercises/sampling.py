"""STEP3's exercises."""

from __future__ import annotations

import math
from collections.abc import Callable

from medusa_lib.exercises.grading import as_list, check, run_attempt


def _softmax(logits: list[float], temperature: float) -> list[float]:
    top = max(logits)
    weights = [math.exp((z - top) / temperature) for z in logits]
    return [weight / sum(weights) for weight in weights]


def _close(a: object, b: list[float]) -> bool:
    if not isinstance(a, list) or len(a) != len(b):
        return False
    return all(math.isclose(x, y, rel_tol=1e-4, abs_tol=1e-6) for x, y in zip(a, b, strict=True))


def check_softmax_by_hand(attempt: Callable) -> str:
    """STEP3. attempt(logits, temperature) → list of probabilities."""

    def verdict(f: Callable) -> str | None:
        for logits, t in (([2.0, 1.0, 0.0], 1.0), ([1.0, 3.0], 0.5), ([0.0, 1.0, 4.0], 2.0)):
            answer = as_list(run_attempt(f, list(logits), t))
            wanted = _softmax(logits, t)
            if _close(answer, wanted):
                continue
            if not isinstance(answer, list) or len(answer) != len(logits):
                return f"return a list of {len(logits)} probabilities, yours was {answer!r}"
            if _close(answer, _softmax(logits, 1 / t)):
                return "the logits were multiplied by the temperature; divide by it"
            if _close(answer, _softmax(logits, 1.0)):
                return "the temperature made no difference; divide the logits by it first"
            total = sum(answer)
            if not math.isclose(total, 1, rel_tol=1e-3):
                return f"the probabilities sum to {total:.3f}, not to 1: divide by their sum last"
            return f"for {logits} at temperature {t} the first is {wanted[0]:.3f}, not {answer[0]}"
        return None

    return check(verdict, attempt)


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

    def size(probs: list[float], top_p: float) -> int:
        total, count = 0.0, 0
        while total < top_p:
            total += probs[count]
            count += 1
        return count

    def verdict(f: Callable) -> str | None:
        for probs, top_p in cases:
            wanted = size(sorted(probs, reverse=True), top_p)
            answer = as_list(run_attempt(f, list(probs), top_p))
            if answer == wanted:
                continue
            if answer == wanted - 1:
                return "one too few: the token that crosses top_p belongs to the standard nucleus"
            if answer == wanted + 1 and sum(sorted(probs)[-wanted:]) == top_p:
                return "one too many: reaching top_p exactly is enough"
            if isinstance(answer, list):
                return "return how many tokens are kept, an int, not the tokens"
            if probs != sorted(probs, reverse=True) and answer == size(probs, top_p):
                return "the tokens were taken as they come; sort them, most probable first"
            return f"for {probs} and top_p {top_p} the size is {wanted}, yours was {answer!r}"
        return None

    return check(verdict, attempt)
