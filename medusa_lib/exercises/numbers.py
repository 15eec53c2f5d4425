"""BEYOND11's exercises."""

from __future__ import annotations

from collections.abc import Callable

from medusa_lib.exercises.grading import Answers, grade


def _near(rows: list[list[float]], bound: float) -> Answers:
    gaps = [sorted(row)[-1] - sorted(row)[-2] for row in rows]
    near = sum(gap < bound for gap in gaps)
    first = sum(abs(row[0] - row[1]) < bound for row in rows)
    worst = sum(max(row) - min(row) < bound for row in rows)
    return near, (
        (sum(gap <= bound for gap in gaps), "a gap of exactly the bound is no near tie"),
        (len(rows) - near, "those are the rows that are none"),
        (first, "the first two logits need not be the best two: sort the row"),
        (worst, "that compares the best with the worst; take the second best"),
    )


def check_near_ties(attempt: Callable) -> str:
    """BEYOND11. attempt(rows, bound) → how many rows of logits are near ties."""
    cases = (
        ([[2.0, 1.5, 0.0], [3.0, 1.0, 2.75]], 0.5),
        ([[4.0, 0.0, 3.5], [1.0, 1.0, 0.0], [0.0, 5.0, 1.0]], 1.0),
        ([[1.0, 9.0]], 0.25),
        ([], 1.0),
        ([[2.0, 2.0], [7.0, 6.5]], 0.0),
    )
    return grade(attempt, cases, _near, at="rows {}, bound {}: ")


def _can_flip(margin: float, difference: float) -> Answers:
    wanted = margin <= 2 * difference
    both = "both logits can move: one down, and the other up by as much"
    return wanted, ((margin <= difference, both), (not wanted, "the other way round"))


def check_can_flip(attempt: Callable) -> str:
    """BEYOND11. attempt(margin, difference) → whether the best token could become another."""
    cases = ((0.5, 0.125), (0.25, 0.125), (0.1875, 0.125), (0.0, 0.0), (3.0, 1.0), (1e-3, 5e-5))
    at = "margin {}, difference {}: "
    return grade(attempt, cases, _can_flip, at)
