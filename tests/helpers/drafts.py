"""Drafters that propose what they are told, and the check that a text is greedy's."""

import pytest
import torch

from medusa_lib import encode, first_difference, last_logits, run_greedy, speculate
from medusa_lib.beyond.one_pass import Branch

PROMPTS = ("Once upon a time", "The old king said", "In a distant future, ", "la la la la")
TOKENS, PARENTS = [3, 4, 5, 6, 4, 7], (-1, 0, -1, 1, 2, 2)  # 3 → 4 → 6, 5 → 4, 5 → 7


class Says:
    """Proposes these tokens; remembers the spans it was asked for and what it was told.

    told: for each verification the length of the text, the rows of logits, and the accepted.
    """

    span = 3

    def __init__(self, *tokens):
        self.tokens, self.asked, self.told = list(tokens), [], []

    def propose(self, state, span):
        self.asked.append(span)
        return Branch(self.tokens[:span])

    def observe(self, state, logits, accepted):
        self.told.append((len(state.ids), len(logits), accepted))


class FixedTree:
    """A drafter that proposes the same tree each time, or one of greedy's own with decoys."""

    span = 4

    def __init__(self, tokens, parents):
        self.tokens, self.parents = list(tokens), tuple(parents)

    def propose(self, state, span):
        return Branch(self.tokens, parents=self.parents)


def ids_of(lm, text: str) -> list[int]:
    return encode(lm, text)[0].tolist()


def assert_same_as_greedy(lm, prompt: str, count: int, **knobs) -> int:
    """The run's tokens are greedy's; returns how many drafts were accepted."""
    greedy = run_greedy(lm, prompt, count)
    run = speculate(lm, prompt, max_new_tokens=count, **knobs)
    at = first_difference(run.new_ids, greedy.new_ids)
    if at is not None:
        top = last_logits(lm, torch.tensor([greedy.prompt_ids + greedy.new_ids[:at]])).topk(2)
        margin = top.values[0] - top.values[1]
        pytest.fail(f"first difference at new token {at}, top-two margin {margin:.2e}")
    assert (run.stop_reason, run.text) == (greedy.stop_reason, greedy.text)
    return sum(record.accepted for record in run.loops)
