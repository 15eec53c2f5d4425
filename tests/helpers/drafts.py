"""Drafters that propose what they are told, and the check that a text is greedy's."""

import pytest
import torch

from medusa_lib import first_difference, last_logits, run_greedy, speculate
from medusa_lib.beyond.one_pass import Branch

PROMPTS = ("Once upon a time", "The old king said", "In a distant future, ", "la la la la")


class FixedTree:
    """A drafter that proposes the same tree each time, or one of greedy's own with decoys."""

    span = 4

    def __init__(self, tokens, parents):
        self.tokens, self.parents = list(tokens), tuple(parents)

    def propose(self, state, span):
        return Branch(self.tokens, parents=self.parents)


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
