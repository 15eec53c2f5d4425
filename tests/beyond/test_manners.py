"""How a foreign model may be asked over a cache is tried: with positions, with a tree's mask."""

from __future__ import annotations

import pytest
import torch
from tiny_models import small_tokenizer
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from medusa_lib import make_lm, run_greedy, speculate
from medusa_lib.beyond.manners import Manner, manner_of

SIZES = {"vocab_size": 14, "hidden_size": 16, "max_position_embeddings": 40}
LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.3}


def tiny_opt(**more):
    torch.manual_seed(1)
    sizes = {"ffn_dim": 16, "word_embed_proj_dim": 16, "init_std": 0.3}
    return make_lm(small_tokenizer(), OPTForCausalLM(OPTConfig(**SIZES, **LAYERS, **sizes, **more)))


def tiny_mistral(window):
    sizes = {"intermediate_size": 16, "num_key_value_heads": 1, "sliding_window": window}
    return make_lm(small_tokenizer(), MistralForCausalLM(MistralConfig(**SIZES, **LAYERS, **sizes)))


def test_the_families_of_the_course_are_known(each_lm) -> None:
    assert manner_of(each_lm) == Manner()


@pytest.mark.parametrize("drafter", ["branches", "lookahead", "self", "ngram"])
def test_a_foreign_model_that_keeps_to_masks_verifies_trees(drafter) -> None:
    lm = tiny_opt()
    assert manner_of(lm) == Manner()
    assert speculate(lm, "abc", drafter, 20).new_ids == run_greedy(lm, "abc", 20).new_ids


def test_what_counts_places_by_itself_takes_chains_but_no_trees(refuses) -> None:
    torch.manual_seed(1)
    sizes = {"vocab_size": 14, "hidden_size": 16, "n_layer": 2, "n_head": 2}
    lm = make_lm(small_tokenizer(), BloomForCausalLM(BloomConfig(**sizes, initializer_range=0.3)))
    assert not manner_of(lm).trees
    assert speculate(lm, "abc", "self", 20).new_ids == run_greedy(lm, "abc", 20).new_ids
    with refuses("lm", lm=lm):
        speculate(lm, "abc", "lookahead", 20)


def test_a_window_is_no_place_for_trees() -> None:
    assert not manner_of(tiny_mistral(8)).trees
    assert manner_of(tiny_mistral(None)).trees


def test_another_kind_of_attention_is_tried_anew() -> None:
    lm = tiny_opt()
    first = manner_of(lm)
    assert manner_of(lm) is first
    lm.model.set_attn_implementation("eager")
    assert manner_of(lm) is not first


def test_a_model_that_forgets_is_refused_by_name(monkeypatch) -> None:
    lm = tiny_opt()
    usual = lm.model.forward

    def forgetful(input_ids, past_key_values=None, position_ids=None, **more):
        return usual(input_ids=input_ids, **{**more, "use_cache": False, "attention_mask": None})

    monkeypatch.setattr(lm.model, "forward", forgetful)
    with pytest.raises(ValueError, match="says over a cache .* got opt: it keeps nothing there"):
        manner_of(lm)
