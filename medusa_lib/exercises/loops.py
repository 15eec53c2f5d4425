"""STEP6's exercises."""

from __future__ import annotations

from collections.abc import Callable

from medusa_lib.exercises.grading import Answers, grade


def _loop_passes(span: int, accepted: int) -> Answers:
    evaluated = min(accepted + 1, span)
    return span + evaluated, (
        (evaluated, "that counts verifying only; drafting costs passes too"),
        (span, "that counts drafting only; verifying costs passes too"),
        (span + accepted, "the rejected token was evaluated too, and that took a pass"),
        (2 * span, "verifying stops at the first mismatch and saves the rest"),
        (span + accepted + 1, "when all are accepted there is no rejected one to pay for"),
    )


def check_loop_passes(attempt: Callable) -> str:
    """STEP6. attempt(span, accepted) → forward passes of one Medusa-tiny loop."""
    cases = ((5, 2), (3, 3), (3, 0), (1, 1), (5, 4), (8, 8))
    return grade(attempt, cases, _loop_passes, at="span {}, accepted {}: ")


def _alpha(loops: list[tuple[int, int]]) -> Answers:
    drafted, accepted = (sum(each) for each in zip(*loops, strict=True))
    evaluated = [min(a + 1, d) for d, a in loops]
    mean = sum(a / e for (_, a), e in zip(loops, evaluated, strict=True)) / len(loops)
    one_more = accepted / (accepted + len(loops))
    return accepted / sum(evaluated), (
        (accepted / drafted, "that is accepted ÷ drafted; α divides by the evaluated tokens only"),
        (one_more, "a fully accepted branch has no rejected token: evaluated is then its length"),
        (mean, "that is the mean of each loop's α; add up over the loops, then divide"),
    )


def check_alpha(attempt: Callable) -> str:
    """STEP6. attempt(loops) → α from a list of (drafted, accepted) pairs."""
    cases = (([(3, 1), (3, 0)],), ([(3, 3), (3, 2)],), ([(2, 0), (4, 4), (4, 1)],))
    otherwise = "for {} it is {wanted:.3f}, yours was {answer!r}"
    return grade(attempt, cases, _alpha, otherwise=otherwise)
