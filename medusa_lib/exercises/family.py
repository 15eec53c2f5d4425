"""BEYOND12's exercises."""

from __future__ import annotations

from collections.abc import Callable

from medusa_lib.exercises.grading import Answers, grade, no_list


def _jacobi_guess(after: dict[int, int], last: int, guess: list[int]) -> Answers:
    wanted = [after[token] for token in [last, *guess][:-1]]
    greedy, token = [], last
    for _ in guess:
        token = after[token]
        greedy.append(token)
    return wanted, (
        (greedy, "that is greedy's text: each place must read the old guess, not the new one"),
        ([after[token] for token in guess], "the first place follows the last token of the text"),
        (guess, "that is the old guess; ask the model at every place"),
        ([after[token] for token in [last, *guess]], "one place too many: as many as guessed"),
        (wanted[1:], "the first place is missing"),
    )


def check_jacobi_guess(attempt: Callable) -> str:
    """BEYOND12. attempt(after, last, guess) → the next guess; after: token → what follows it."""
    ring = {0: 3, 1: 0, 2: 4, 3: 1, 4: 2}
    cases = ((ring, 0, [4, 4, 4]), (ring, 2, [0]), (ring, 1, [0, 3, 2, 2]), (ring, 3, [1, 0, 3]))
    return grade(
        attempt,
        cases,
        _jacobi_guess,
        at="after {}, last {}, guess {}: ",
        refuse=lambda answer, _after, _last, guess: no_list(answer, f"{len(guess)} ids"),
    )
