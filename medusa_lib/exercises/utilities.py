"""STEP2's exercises."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from medusa_lib.exercises.grading import Answers, grade
from medusa_lib.steps.model import LM
from medusa_lib.steps.utilities import append_token, decode, encode, greedy_next, last_logits

TEXTS = ("Once upon a time", "The king said to his", "She opened the")


def _second_best(lm: LM, text: str) -> Answers:
    best, second = torch.topk(last_logits(lm, encode(lm, text)), 2).indices.tolist()
    return second, ((best, "that is the most probable token; the second best is asked for"),)


def _no_id(answer: object, _: str) -> str | None:
    if isinstance(answer, float):
        return "that is a float; return the token's id, an int, not its logit"
    if isinstance(answer, list | str):
        return f"that is a {type(answer).__name__}; return one id, an int"
    return None


def check_second_best(attempt: Callable, lm: LM) -> str:
    """STEP2. attempt(lm, ids) → id of the second most probable next token."""
    return grade(
        lambda text: attempt(lm, encode(lm, text)),
        [(text,) for text in TEXTS],
        partial(_second_best, lm),
        otherwise="after {!r} the second best is token {wanted}, yours was {answer!r}",
        refuse=_no_id,
    )


def written_greedily(lm: LM, text: str, n: int) -> str:
    """The text and n greedy tokens, EOS among them if greedy wants it."""
    ids = encode(lm, text)
    for _ in range(n):
        ids = append_token(ids, greedy_next(lm, ids))
    return decode(lm, ids)


def _write_greedily(lm: LM, text: str, n: int) -> Answers:
    one, fewer, wanted, more = (written_greedily(lm, text, k) for k in (1, n - 1, n, n + 1))
    repeated, new = text + n * one[len(text) :], wanted[len(text) :]
    return wanted, (
        (text, "nothing was added: append_token returns new ids, so keep its result"),
        (new, "that is only the new part; return prompt and new part together"),
        (more, f"that is {n + 1} new tokens; {n} were asked for"),
        (fewer, f"that is {n - 1} new tokens; {n} were asked for"),
        (repeated, "the same token every time: append each before asking again"),
    )


def check_write_greedily(attempt: Callable, lm: LM) -> str:
    """STEP2. attempt(lm, text, n) → the text continued by n greedy tokens."""
    return grade(
        partial(attempt, lm),
        list(zip(TEXTS, (1, 3, 5), strict=True)),
        partial(_write_greedily, lm),
        otherwise="after {!r} greedy writes {wanted!r}, yours was {answer!r}",
    )
