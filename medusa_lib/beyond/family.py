"""BEYOND12: the family of drafters that need no other model, and its root, Jacobi iteration."""

from __future__ import annotations

from medusa_lib.base.checks import checked
from medusa_lib.base.words import Positive, Start
from medusa_lib.beyond.one_pass import State, one_pass, roll_back
from medusa_lib.beyond.prefixes import obeyed_rows
from medusa_lib.steps.loops import for_run, start_ids
from medusa_lib.steps.model import LM


@checked
def jacobi(lm: LM, prompt: Start, count: Positive) -> list[list[int]]:
    """Guess `count` tokens at once, again and again, until nothing changes → all the guesses.

    The first guess is the prompt's last token throughout. Each further one takes a pass: what the
    model says after the prompt and the guess so far, at every place at once. A guess that comes
    back unchanged is greedy's text, but for near ties: the model says of each of its tokens that
    it follows those before it. That takes `count` + 1 passes at most, since each pass makes sure
    of one token more. After Santilli et al. 2023. Raises ValueError if it does not fit the model.
    """
    lm, ids = for_run(lm, prompt, count), start_ids(lm, prompt)[0].tolist()
    if len(ids) + count > lm.context_length:
        most = lm.context_length - len(ids)
        raise ValueError(f"count must be an int <= {most} here, got {count}")
    state, guesses = State.start(lm, ids), [[ids[-1]] * count]
    while len(guesses) < 2 or guesses[-1] != guesses[-2]:
        guesses.append(jacobi_step(state, guesses[-1]))
    return guesses


def jacobi_step(state: State, guess: list[int]) -> list[int]:
    """One pass over the text and a guess → the next guess: what the model says at each place."""
    logits = one_pass(state, guess[:-1])  # [len(guess), V]
    roll_back(state, len(state.ids) - 1)  # the guesses are no part of the text
    rows = obeyed_rows(state.lm, state.ids, guess[:-1], None, logits)
    return [int(row.argmax()) for row in rows]


def settled(guesses: list[list[int]]) -> list[int]:
    """For each place the number of the first guess from which on it never changed, from 0."""
    last = guesses[-1]
    return [
        max((n + 1 for n, guess in enumerate(guesses) if guess[at] != last[at]), default=0)
        for at in range(len(last))
    ]
