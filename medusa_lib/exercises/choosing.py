"""BEYOND13's exercises."""

from __future__ import annotations

from collections.abc import Callable

from medusa_lib.exercises.grading import Answers, grade


def _pass_time(reads: float, works: float, bandwidth: float, arithmetic: float) -> Answers:
    reading, working = reads / bandwidth, works / arithmetic
    return max(reading, working), (
        (reading + working, "both go on at once: take the longer, not the sum"),
        (min(reading, working), "that is the shorter; the pass has to wait for the longer"),
        (max(reads * bandwidth, works * arithmetic), "bytes ÷ bytes per second, not times"),
    )


def check_pass_time(attempt: Callable) -> str:
    """BEYOND13. attempt(bytes, operations, bandwidth, arithmetic) → seconds by the roofline."""
    cases = (
        (500.0, 250.0, 50.0, 400.0),
        (500.0, 8000.0, 50.0, 400.0),
        (30.0, 100.0, 10.0, 20.0),
        (40.0, 40.0, 10.0, 10.0),
    )
    at = "bytes {}, operations {}, bandwidth {}, arithmetic {}: "
    otherwise = "it is {wanted:.4f}, yours was {answer!r}"
    return grade(attempt, cases, _pass_time, at, otherwise)


def _pick_span(alpha: float, cost: float, most: int) -> Answers:
    def gain(span: int, cost: float = cost) -> float:
        return sum(alpha**i for i in range(span + 1)) / (span * cost + 1)

    def tokens(span: int) -> float:
        return sum(alpha**i for i in range(span + 1))

    spans = range(most + 1)
    wanted = max(spans, key=gain)
    return wanted, (
        (max(spans, key=tokens), "that has the most tokens per loop; divide by what a loop costs"),
        (max(range(1, most + 1), key=gain), "where every span loses, the answer is 0: no drafts"),
        (wanted + 1, "that is one more than the best"),
        (gain(wanted), "that is the speed-up; return the span that has it"),
    )


def check_pick_span(attempt: Callable) -> str:
    """BEYOND13. attempt(alpha, cost, most) → the span in 0..most with the highest speed-up."""
    cases = ((0.8, 0.1, 8), (0.5, 0.2, 8), (0.9, 0.05, 12), (0.2, 0.5, 6), (0.95, 0.0, 5))
    return grade(attempt, cases, _pick_span, "alpha {}, cost {}, most {}: ")
