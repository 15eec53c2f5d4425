"""A model's weights end up where the loops look for them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from odd_models import MODELS, PLACES, VOCAB, odd_gpt2, odd_llama, rope
from transformers import MistralConfig, MistralForCausalLM

from medusa_lib.engine.forward import STRIP, in_strips
from medusa_lib.engine.weights import FEW, read


@pytest.mark.parametrize("name", MODELS)
def test_every_matrix_stands_output_by_output(name) -> None:
    weights = read(MODELS[name]())
    layers, width = len(weights.qkv), weights.tokens.shape[1]
    assert weights.tokens.shape == (VOCAB, width)
    assert weights.output.shape == (-(-VOCAB // STRIP), width, STRIP)
    heads, size = weights.qkv.shape[1], weights.mix.shape[3] // weights.shared
    assert weights.qkv.shape[2:] == (-(-(weights.shared + 2) * size // STRIP), width, STRIP)
    assert weights.mix.shape[1:3] == (heads, -(-width // STRIP))
    pieces, inner = weights.down.shape[1], weights.down.shape[3]
    assert pieces == FEW
    assert weights.up.shape[1:] == (pieces, -(-inner // STRIP), width, STRIP)
    assert weights.gate.shape[2] == weights.up.shape[2] * weights.gated
    assert weights.norms.shape == (2 * layers + 1, 2, width)
    assert all(array.flags.c_contiguous for array in weights if isinstance(array, np.ndarray))


@pytest.mark.parametrize("outputs", [1, STRIP - 1, STRIP, STRIP + 1, 3 * STRIP])
def test_strips_hold_a_matrix_and_zeros_after_it(outputs) -> None:
    matrices = np.arange(1, 2 * outputs * 5 + 1, dtype=np.float32).reshape(2, outputs, 5)
    strips = in_strips(matrices)
    assert strips.shape == (2, -(-outputs // STRIP), 5, STRIP)
    assert strips.flags.c_contiguous
    assert (whole(strips)[:, :outputs] == matrices).all()
    assert not whole(strips)[:, outputs:].any()


def whole(strips: np.ndarray) -> np.ndarray:
    """Strips `[…, strips, in, STRIP]` → `[…, out, in]`, the zeros at the end among them."""
    *most, count, inside, size = strips.shape
    return np.swapaxes(strips, -1, -2).reshape(*most, count * size, inside)


def test_a_gpt2s_and_a_llamas_are_the_models_own() -> None:
    gpt2, llama = odd_gpt2(), odd_llama()
    ours, theirs = read(gpt2), gpt2.transformer.h[2]
    down = whole(ours.down[2])[:, : gpt2.config.n_embd]  # [pieces, width, inner]
    down = np.concatenate(list(down), axis=1)  # zeros fill up the last piece
    wanted = theirs.mlp.c_proj.weight.detach().t().numpy()
    assert (down[:, : wanted.shape[1]] == wanted).all()
    assert not down[:, wanted.shape[1] :].any()
    assert (ours.norms[5, 1] == theirs.ln_2.bias.detach().numpy()).all()
    q, k, v = (part.detach().numpy() for part in theirs.attn.c_attn.bias.chunk(3))
    size = theirs.attn.head_dim
    for head, bias in enumerate(ours.qkv_bias[2]):
        part = slice(head * size, (head + 1) * size)
        assert (bias == np.concatenate([q[part], k[part], v[part]])).all()
    ours, theirs = read(llama), llama.model.layers[1]
    size, shared = theirs.self_attn.head_dim, ours.shared
    keys = theirs.self_attn.k_proj.weight.detach().numpy().reshape(-1, size, ours.tokens.shape[1])
    for head, key in enumerate(keys):
        assert (whole(ours.qkv[1, head])[shared * size : (shared + 1) * size] == key).all()
    for name, layer in (("up", theirs.mlp.up_proj), ("gate", theirs.mlp.gate_proj)):
        weight = layer.weight.detach().numpy()
        rows = np.concatenate(
            [each[: ours.down.shape[3]] for each in whole(getattr(ours, name)[1])]
        )
        assert (rows[: len(weight)] == weight).all()
    assert ours.qkv_bias.size == ours.places.size == 0
    assert ours.turns.shape == (2, PLACES, 2)


def test_a_later_change_of_the_model_does_not_reach_them() -> None:
    model = odd_gpt2()
    weights = read(model)
    before = [array.copy() for array in weights if isinstance(array, np.ndarray)]
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    after = [array for array in weights if isinstance(array, np.ndarray)]
    assert all((ours == theirs).all() for ours, theirs in zip(before, after, strict=True))


def test_the_output_layer_is_the_table_of_tokens_or_one_of_its_own() -> None:
    for tied in (True, False):
        weights = read(odd_gpt2(tie_word_embeddings=tied))
        same = whole(weights.output)[: len(weights.tokens)] == weights.tokens
        assert same.all() if tied else not same.all()


def test_what_the_loops_do_not_compute_is_not_read() -> None:
    assert read(odd_gpt2(activation_function="relu")) is None
    assert read(odd_llama(hidden_act="gelu")) is None
    assert read(odd_llama(rope_parameters=rope("dynamic", factor=2.0))) is None
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes = {"intermediate_size": 8, "num_key_value_heads": 1, "vocab_size": 14}
    assert read(MistralForCausalLM(MistralConfig(**shape, **sizes))) is None


@pytest.mark.parametrize("name", [name for name in MODELS if "llama" in name])
def test_positions_are_turned_as_the_model_turns_them(name) -> None:
    model = MODELS[name]()
    turns = torch.from_numpy(read(model).turns)
    half = turns.shape[2]
    for place in range(turns.shape[1]):  # one at a time: see turns_of
        theirs = model.model.rotary_emb(torch.zeros(1), torch.tensor([[place]]))
        ours = [turn[0, 0, :half] for turn in theirs]
        assert torch.allclose(turns[:, place], torch.stack(ours), atol=1e-6)
