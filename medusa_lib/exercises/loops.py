"""STEP6's exercises."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real

from medusa_lib.exercises.grading import as_list, check, run_attempt


def check_loop_passes(attempt: Callable) -> str:
    """STEP6. attempt(span, accepted) → forward passes of one Medusa-tiny loop."""

    def verdict(f: Callable) -> str | None:
        for span, accepted in ((5, 2), (3, 3), (3, 0), (1, 1), (5, 4), (8, 8)):
            evaluated = min(accepted + 1, span)
            answer = as_list(run_attempt(f, span, accepted))
            if answer == span + evaluated:
                continue
            mistakes = (
                (evaluated, "that counts verifying only; drafting costs passes too"),
                (span, "that counts drafting only; verifying costs passes too"),
                (span + accepted, "the rejected token was evaluated too, and that took a pass"),
                (2 * span, "verifying stops at the first mismatch and saves the rest"),
                (span + accepted + 1, "when all are accepted there is no rejected one to pay for"),
                (answer, f"it is {span + evaluated}, yours was {answer!r}"),
            )
            said = next(said for value, said in mistakes if value == answer or value is answer)
            return f"span {span}, accepted {accepted}: {said}"
        return None

    return check(verdict, attempt)


def check_alpha(attempt: Callable) -> str:
    """STEP6. attempt(loops) → α from a list of (drafted, accepted) pairs."""
    cases = ([(3, 1), (3, 0)], [(3, 3), (3, 2)], [(2, 0), (4, 4), (4, 1)])

    def verdict(f: Callable) -> str | None:
        for loops in cases:
            accepted = sum(a for _, a in loops)
            evaluated = [min(a + 1, d) for d, a in loops]
            wanted, answer = accepted / sum(evaluated), as_list(run_attempt(f, list(loops)))
            if not isinstance(answer, Real):
                return f"return one number, yours was {answer!r}"
            if math.isclose(answer, wanted, rel_tol=1e-6):
                continue
            if math.isclose(answer, accepted / sum(d for d, _ in loops)):
                return "that is accepted ÷ drafted; α divides by the evaluated tokens only"
            if math.isclose(answer, accepted / sum(a + 1 for _, a in loops)):
                return "a fully accepted branch has no rejected token: evaluated is then its length"
            ratios = [a / e for (_, a), e in zip(loops, evaluated, strict=True)]
            if math.isclose(answer, sum(ratios) / len(ratios)):
                return "that is the mean of each loop's α; add up over the loops, then divide"
            return f"for {loops} it is {wanted:.3f}, yours was {answer!r}"
        return None

    return check(verdict, attempt)
