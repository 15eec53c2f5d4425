"""STEP2's exercises."""

from __future__ import annotations

from collections.abc import Callable

import torch

from medusa_lib.exercises.grading import as_list, check, run_attempt
from medusa_lib.steps.model import LM
from medusa_lib.steps.utilities import append_token, decode, encode, greedy_next, last_logits

TEXTS = ("Once upon a time", "The king said to his", "She opened the")


def check_second_best(attempt: Callable, lm: LM) -> str:
    """STEP2. attempt(lm, ids) → id of the second most probable next token."""

    def verdict(f: Callable) -> str | None:
        for text in TEXTS:
            ids = encode(lm, text)
            best, second = torch.topk(last_logits(lm, ids), 2).indices.tolist()
            answer = as_list(run_attempt(f, lm, ids))
            if answer == best:
                return "that is the most probable token; the second best is asked for"
            if isinstance(answer, float):
                return "that is a float; return the token's id, an int, not its logit"
            if isinstance(answer, list | str):
                return f"that is a {type(answer).__name__}; return one id, an int"
            if answer != second:
                return f"after {text!r} the second best is token {second}, yours was {answer!r}"
        return None

    return check(verdict, attempt)


def written_greedily(lm: LM, text: str, n: int) -> str:
    """The text and n greedy tokens, EOS among them if greedy wants it."""
    ids = encode(lm, text)
    for _ in range(n):
        ids = append_token(ids, greedy_next(lm, ids))
    return decode(lm, ids)


def check_write_greedily(attempt: Callable, lm: LM) -> str:
    """STEP2. attempt(lm, text, n) → the text continued by n greedy tokens."""

    def verdict(f: Callable) -> str | None:
        for text, n in zip(TEXTS, (1, 3, 5), strict=True):
            answer = run_attempt(f, lm, text, n)
            if not isinstance(answer, str):
                return f"return the whole text, a str, not a {type(answer).__name__}"
            wanted = written_greedily(lm, text, n)
            if answer == wanted:
                continue
            fewer, more = (written_greedily(lm, text, k) for k in (n - 1, n + 1))
            first = written_greedily(lm, text, 1)[len(text) :]
            mistakes = {
                text + n * first: "the same token every time: append each before asking again",
                fewer: f"that is {n - 1} new tokens; {n} were asked for",
                more: f"that is {n + 1} new tokens; {n} were asked for",
                wanted[
                    len(text) :
                ]: "that is only the new part; return prompt and new part together",
                text: "nothing was added: append_token returns new ids, so keep its result",
            }
            if answer in mistakes:
                return mistakes[answer]
            return f"after {text!r} greedy writes {wanted!r}, yours was {answer!r}"
        return None

    return check(verdict, attempt)
