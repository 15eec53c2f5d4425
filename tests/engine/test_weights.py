"""A model's weights end up where the loops look for them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from odd_models import MODELS, PLACES, VOCAB, odd_gpt2, odd_llama, rope
from transformers import MistralConfig, MistralForCausalLM

from medusa_lib.engine.weights import read


@pytest.mark.parametrize("name", MODELS)
def test_every_matrix_stands_output_by_output(name) -> None:
    weights = read(MODELS[name]())
    layers, width = len(weights.qkv), weights.tokens.shape[1]
    assert weights.tokens.shape == weights.output.shape == (VOCAB, width)
    assert weights.qkv.shape[2] == weights.mix.shape[1] == weights.down.shape[1] == width
    assert weights.up.shape[1] == (2 if weights.gated else 1) * weights.down.shape[2]
    assert weights.norms.shape == (2 * layers + 1, 2, width)
    assert all(array.flags.c_contiguous for array in weights if isinstance(array, np.ndarray))


def test_a_gpt2s_and_a_llamas_are_the_models_own() -> None:
    gpt2, llama = odd_gpt2(), odd_llama()
    ours, theirs = read(gpt2), gpt2.transformer.h[2]
    assert (ours.down[2] == theirs.mlp.c_proj.weight.detach().t().numpy()).all()
    assert (ours.qkv_bias[2] == theirs.attn.c_attn.bias.detach().numpy()).all()
    assert (ours.norms[5, 1] == theirs.ln_2.bias.detach().numpy()).all()
    ours, theirs = read(llama), llama.model.layers[1]
    assert (ours.qkv[1, 24:32] == theirs.self_attn.k_proj.weight.detach().numpy()).all()
    assert (ours.up[1, 23:] == theirs.mlp.up_proj.weight.detach().numpy()).all()
    assert ours.qkv_bias.size == ours.places.size == 0
    assert ours.heads.turns.shape == (2, PLACES, 2)


def test_a_later_change_of_the_model_does_not_reach_them() -> None:
    model = odd_gpt2()
    weights = read(model)
    before = [array.copy() for array in weights if isinstance(array, np.ndarray)]
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    after = [array for array in weights if isinstance(array, np.ndarray)]
    assert all((ours == theirs).all() for ours, theirs in zip(before, after, strict=True))


def test_one_table_is_stored_once() -> None:
    tied, untied = read(odd_gpt2()), read(odd_gpt2(tie_word_embeddings=False))
    assert tied.output is tied.tokens
    assert (untied.output != untied.tokens).any()


def test_what_the_loops_do_not_compute_is_not_read() -> None:
    assert read(odd_gpt2(activation_function="relu")) is None
    assert read(odd_llama(hidden_act="gelu")) is None
    assert read(odd_llama(rope_parameters=rope("dynamic", factor=2.0))) is None
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes = {"intermediate_size": 8, "num_key_value_heads": 1, "vocab_size": 14}
    assert read(MistralForCausalLM(MistralConfig(**shape, **sizes))) is None
