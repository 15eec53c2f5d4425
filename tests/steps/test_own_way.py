"""A model that `generate` asks in a way of its own is found by trying, and refused by name."""

from __future__ import annotations

import pytest
import torch
from tiny_models import small_tokenizer
from transformers import MistralConfig, MistralForCausalLM, RobertaConfig, RobertaForCausalLM

from medusa_lib import make_lm, medusa_tiny, run_greedy
from medusa_lib.steps.own_way import check_own_way, ordinary_ids

SIZES = {
    "vocab_size": 14,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 30,
    "initializer_range": 0.2,
}


def of(model):
    return make_lm(small_tokenizer(), model)


@pytest.mark.parametrize("decode", [run_greedy, medusa_tiny])
def test_a_model_asked_otherwise_is_refused_by_name(decode) -> None:
    lm = of(RobertaForCausalLM(RobertaConfig(**SIZES, is_decoder=True, pad_token_id=1)))
    with pytest.raises(ValueError, match="^lm must be a model that writes .* got roberta: logits"):
        decode(lm, "abc")


def test_any_other_is_tried_once(count_passes) -> None:
    lm = of(MistralForCausalLM(MistralConfig(**SIZES, num_key_value_heads=1)))
    with count_passes(lm) as passes:
        check_own_way(lm)
        first = len(passes)
        check_own_way(lm)
    assert 0 < first == len(passes)


def test_a_model_that_cannot_read_is_refused_with_its_own_words(monkeypatch) -> None:
    lm = of(MistralForCausalLM(MistralConfig(**SIZES, num_key_value_heads=1)))

    def broken(**_):
        raise RuntimeError("no ears\nin a thousand lines")

    monkeypatch.setattr(lm.model, "forward", broken)
    with pytest.raises(ValueError, match="got mistral: no ears$"):
        run_greedy(lm, "abc")


def test_places_after_the_paddings_are_no_part_of_the_context() -> None:
    model = RobertaForCausalLM(RobertaConfig(**SIZES, is_decoder=True, pad_token_id=1))
    assert of(model).context_length == SIZES["max_position_embeddings"] - 2


def test_the_ids_that_are_tried_mean_nothing_special(tiny_gpt2) -> None:
    ids = ordinary_ids(tiny_gpt2, 6)
    assert len(set(ids)) == 6
    assert tiny_gpt2.eos_id not in ids
    assert torch.tensor(ids).max() < tiny_gpt2.vocab_size
