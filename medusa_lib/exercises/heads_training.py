"""BEYOND6's exercises."""

from __future__ import annotations

from collections.abc import Callable

from medusa_lib.exercises.grading import Answers, grade


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
    """BEYOND6. attempt(ids, place, count) → the ids that heads 1 to `count` are to guess.

    They guess from the hidden state at `place`, where the model chose the next id itself.
    """
    text = [11, 12, 13, 14, 15, 16, 17, 18, 19]
    cases = ((text, 2, 3), (text, 0, 4), (text[::-1], 4, 1), (text, 1, 2))
    return grade(attempt, cases, _head_targets, at="ids {}, place {}, {} heads: ")


def _descend(slope: Callable[[float], float], w: float, rate: float, steps: int) -> Answers:
    def walk(follow: Callable[[float], float]) -> float:
        at = w
        for _ in range(steps):
            at = follow(at)
        return at

    return float(walk(lambda at: at - rate * slope(at))), (
        (float(walk(lambda at: at + rate * slope(at))), "that climbs: take rate × slope off w"),
        (float(walk(lambda at: at - slope(at))), "the slope is to be multiplied by the rate"),
        (float(w - rate * slope(w)), "that is one step; take all of them"),
        (float(w - steps * rate * slope(w)), "ask for the slope anew at each w"),
        (float(w), "that is the w that it began with"),
    )


def check_descend(attempt: Callable) -> str:
    """BEYOND6. attempt(slope, w, rate, steps) → w after so many steps of training.

    slope: a function, w → how steeply the loss rises there.
    """
    cases = (
        (lambda w: 2 * w - 6, 1.0, 0.25, 3),
        (lambda w: w - 3, 0.0, 0.5, 1),
        (lambda w: w - 3, 0.0, 0.5, 0),
        (lambda w: w - 3, 3.0, 0.5, 4),
    )
    at, otherwise = (
        "from w = {1}, rate {2}, {3} steps: ",
        "it is {wanted:.4f}, yours was {answer!r}",
    )
    return grade(attempt, cases, _descend, at, otherwise)
