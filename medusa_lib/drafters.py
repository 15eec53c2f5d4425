"""Drafters for the one-pass loop: the model itself, a smaller model, and repeated n-grams."""

from __future__ import annotations

from collections.abc import Callable

import torch

from medusa_lib.checks import check_int
from medusa_lib.model import LM
from medusa_lib.one_pass import Branch, Drafter, State, nucleus_probs, one_pass, roll_back


class NgramDrafter:
    """Bets that the text repeats itself: what followed the last few tokens before follows again.

    Looks for the latest earlier place where the last `longest` tokens stood, then fewer. Costs
    no forward pass. Prompt lookup decoding, Saxena 2023.
    """

    def __init__(self, longest: int = 3) -> None:
        self.longest = check_int("longest", longest, 1)

    def propose(self, state: State, span: int) -> Branch:
        """What followed the last n-gram when it stood there before; empty if it never did."""
        ids = state.ids
        for n in range(min(self.longest, len(ids) - 1), 0, -1):
            tail = ids[-n:]
            for start in range(len(ids) - n - 1, -1, -1):
                if ids[start : start + n] == tail:
                    return Branch(ids[start + n : start + n + span])
        return Branch()


class ModelDrafter:
    """Bets with a language model of its own, token by token, over a cache of its own.

    With the verifying model itself as `lm` this is STEP4's drafter with a cache. At
    temperature 0 it drafts its greedy tokens.
    """

    def __init__(
        self, lm: LM, temperature: float, top_p: float | None, generator: torch.Generator
    ) -> None:
        self.lm, self.temperature, self.top_p, self.generator = lm, temperature, top_p, generator
        self.own: State | None = None

    def propose(self, state: State, span: int) -> Branch:
        """`span` tokens, each from one pass of the drafting model."""
        if self.own is None:
            self.own = State.start(self.lm, [])
        shared = common_prefix(self.own.ids, state.ids)
        # At least one token must be fed, to have logits to draft from.
        roll_back(self.own, min(shared, len(state.ids) - 1))
        self.own.ids = list(state.ids)
        tokens, probs = [], []
        for _ in range(span):
            logits = one_pass(self.own, [])[-1]
            if self.temperature == 0:
                token = int(logits.argmax())
            else:
                probs.append(nucleus_probs(logits, self.temperature, self.top_p))
                token = int(torch.multinomial(probs[-1], 1, generator=self.generator))
            tokens.append(token)
            self.own.ids.append(token)
        return Branch(tokens, probs or None, passes=span)


def common_prefix(a: list[int], b: list[int]) -> int:
    """How many tokens two lists share at their start."""
    length = 0
    while length < min(len(a), len(b)) and a[length] == b[length]:
        length += 1
    return length


DRAFTERS: dict[str, Callable[..., Drafter]] = {
    "ngram": lambda lm, temperature, top_p, generator: NgramDrafter(),
    "self": ModelDrafter,
}


def make_drafter(
    name: str, lm: LM, temperature: float, top_p: float | None, generator: torch.Generator
) -> Drafter:
    """The drafter of that name for `lm`. Raises ValueError for an unknown name."""
    if name not in DRAFTERS:
        raise ValueError(f"drafter must be one of {', '.join(DRAFTERS)}, got {name!r}")
    return DRAFTERS[name](lm, temperature, top_p, generator)
