"""Random models by name, and what tells models apart."""

from __future__ import annotations

import copy

import pytest
import torch

from medusa_lib import ModelLoadError, make_lm, run_greedy, speculate
from medusa_lib.sweep.models import identity_of, named_lm, random_lm


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_random_model_is_the_same_each_time_and_its_tokens_vary(family) -> None:
    state = torch.get_rng_state()
    ours, again, other = (random_lm(family, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert identity_of(ours) == identity_of(again) != identity_of(other)
    text = run_greedy(ours, "Once upon a time", 32)
    assert len(set(text.new_ids)) > 16
    assert speculate(ours, "Once upon a time", "lookahead", 32).new_ids == text.new_ids


def test_a_model_is_loaded_once_a_process() -> None:
    assert named_lm("random-gpt2-1") is named_lm("random-gpt2-1")
    assert named_lm("bookworm").model_id == "bookworm"
    with pytest.raises(ModelLoadError):
        named_lm("random-gpt2-x")


def test_an_identity_is_that_of_weights_and_vocabulary(tiny_gpt2) -> None:
    changed = copy.deepcopy(tiny_gpt2.model)
    with torch.no_grad():
        next(changed.parameters())[0, 0] += 1e-6
    same = make_lm(tiny_gpt2.tokenizer, copy.deepcopy(tiny_gpt2.model), "by another name")
    assert identity_of(same) == identity_of(tiny_gpt2)
    assert identity_of(make_lm(tiny_gpt2.tokenizer, changed)) != identity_of(tiny_gpt2)
    half = make_lm(tiny_gpt2.tokenizer, copy.deepcopy(tiny_gpt2.model).bfloat16())
    assert identity_of(half) != identity_of(tiny_gpt2)
