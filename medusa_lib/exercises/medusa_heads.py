"""BEYOND4's exercises."""

from __future__ import annotations

import math
from collections.abc import Callable

from medusa_lib.exercises.grading import as_list, check, run_attempt


def check_head_targets(attempt: Callable) -> str:
    """BEYOND4. attempt(ids, place, count) → the ids that heads 1 to `count` are to guess.

    They guess from the hidden numbers at `place`, where the model chose the next id itself.
    """
    text = [11, 12, 13, 14, 15, 16, 17, 18, 19]
    cases = ((text, 2, 3), (text, 0, 4), (text[::-1], 4, 1), (text, 1, 2))

    def verdict(f: Callable) -> str | None:
        for ids, place, count in cases:
            wanted = ids[place + 2 : place + 2 + count]
            answer = as_list(run_attempt(f, list(ids), place, count))
            answer = list(answer) if isinstance(answer, tuple) else answer
            if answer == wanted:
                continue
            mistakes = (
                (ids[place + 1 : place + 1 + count], "that begins with the model's own choice"),
                (ids[place : place + count], "that begins with the id that was just read"),
                (ids[place + 3 : place + 3 + count], "that begins one too late"),
                (ids[place + 2 :], f"that is one for more than {count} heads"),
                (ids[place + 2 : place + 1 + count], "the last head's is missing"),
                (ids[place + 2], "return a list, one id for each head"),
                (answer, f"it is {wanted}, yours was {answer!r}"),
            )
            said = next(said for value, said in mistakes if value == answer or value is answer)
            return f"ids {ids}, place {place}, {count} heads: {said}"
        return None

    return check(verdict, attempt)


def check_typical(attempt: Callable) -> str:
    """BEYOND4. attempt(probs, epsilon, delta) → for each token True if it is typical."""
    cases = (
        ([0.9, 0.06, 0.03, 0.01], 0.05, 1.0),
        ([0.4, 0.1, 0.2, 0.3], 0.35, 0.5),
        ([0.01, 0.03, 0.06, 0.9], 0.04, 0.3),
        ([0.25, 0.25, 0.25, 0.25], 0.5, 0.3),
    )

    def verdict(f: Callable) -> str | None:
        for probs, epsilon, delta in cases:
            entropy = -sum(p * math.log(p) for p in probs)
            follows = delta * math.exp(-entropy)
            bound = min(epsilon, follows)
            wanted = [p > bound for p in probs]
            answer = as_list(run_attempt(f, list(probs), epsilon, delta))
            if not isinstance(answer, list) or len(answer) != len(probs):
                return f"return a list of {len(probs)} True or False, yours was {answer!r}"
            if answer == wanted:
                continue
            mistakes = (  # the bound that would give this answer, and what to say
                (epsilon, f"as if epsilon alone counted; delta × exp(-entropy) is {follows:.2f}"),
                (max(epsilon, follows), "the smaller of the two is the bound, not the larger"),
                (min(epsilon, math.exp(-entropy)), "exp(-entropy) is to be multiplied by delta"),
            )
            upside = "those are the tokens that are not typical"
            known = [([p <= bound for p in probs], upside)]
            known += [([p > wrong for p in probs], said) for wrong, said in mistakes]
            said = next((said for value, said in known if value == answer), None)
            numbers = f"probabilities {probs}, epsilon {epsilon}, delta {delta}"
            return f"{numbers}: {said or f'it is {wanted}, yours was {answer!r}'}"
        return None

    return check(verdict, attempt)
