"""BEYOND9's exercises."""

from __future__ import annotations

from collections.abc import Callable

from medusa_lib.exercises.grading import Answers, grade


def _users_that_fit(memory: int, weights: int, per_token: int, tokens: int) -> Answers:
    wanted, each = (memory - weights) // (per_token * tokens), per_token * tokens
    return wanted, (
        (memory // each, "the weights take memory too: take them off first"),
        ((memory - weights) / each, "half a user is no user: round down"),
        (-((weights - memory) // each), "that is one more than fits: round down"),
        ((memory - weights) // per_token, "that is how many tokens fit; each user has many"),
        (memory - weights, "that is the memory left; divide it among the users"),
    )


def check_users_that_fit(attempt: Callable) -> str:
    """BEYOND9. attempt(memory, weights, per_token, tokens) → how many users fit, all in bytes."""
    cases = (
        (1000, 200, 10, 20),
        (1000, 500, 3, 50),
        (80_000, 16_000, 2, 1000),
        (700, 100, 7, 10),
        (300, 250, 6, 10),  # not even one
    )
    at = "memory {}, weights {}, per token {}, tokens {}: "
    return grade(attempt, cases, _users_that_fit, at)


def _largest_gain(tau: float, plain: list[float], verify: list[float]) -> Answers:
    gains = [tau * one / wide for one, wide in zip(plain, verify, strict=True)]
    ups = [i for i, gain in enumerate(gains) if gain > 1]
    wanted = next((i for i, gain in enumerate(gains) if gain <= 1), len(gains)) - 1
    wider = [i for i, (one, wide) in enumerate(zip(plain, verify, strict=True)) if one > wide]
    return wanted, (
        (wanted + 1, "that is a place further: places are counted from 0, and 1 is no gain"),
        (len(ups), "that is how many gain; the place of the last is asked for"),
        (gains.index(max(gains)), "that is where the gain is largest; where is the last one?"),
        (wider[-1] if wider else -1, "a loop also writes tau tokens: multiply by it"),
    )


def check_largest_gain(attempt: Callable) -> str:
    """BEYOND9. attempt(tau, plain, verify) → place of the last batch up to which drafting gains."""
    cases = (
        (3.0, [2.0, 2.0, 3.0, 5.0], [3.0, 4.0, 8.0, 18.0]),
        (2.0, [10.0, 11.0, 12.0], [12.0, 16.0, 30.0]),
        (1.5, [4.0, 4.0], [5.0, 5.0]),
        (2.0, [1.0, 2.0], [2.0, 9.0]),  # exactly 1 at once
        (3.0, [2.0, 2.0, 2.0], [4.0, 7.0, 5.0]),  # loses in between
    )
    return grade(attempt, cases, _largest_gain, "tau {}, plain {}, verify {}: ")
