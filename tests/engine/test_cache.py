"""The cache that grows in place holds what transformers' own holds."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache, MambaConfig, MistralConfig
from transformers.cache_utils import DynamicLayer

from medusa_lib.beyond.one_pass import State, one_pass, roll_back
from medusa_lib.beyond.tree_attention import keep_path
from medusa_lib.engine.cache import (
    ARRAY_ROOM,
    ROOM,
    ArrayCache,
    GrowingLayer,
    growing_cache,
    is_growing,
)


def states(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(1, 2, count, 4, generator=generator) for _ in range(2))


def test_it_holds_what_the_original_holds_through_growth_and_rollback() -> None:
    ours, theirs = GrowingLayer(), DynamicLayer()
    steps = [(3, 0), (1, -1), (ROOM, -5), (2, 0), (3 * ROOM, -2 * ROOM), (1, 0)]
    for seed, (count, crop) in enumerate(steps):
        for got, expected in zip(
            ours.update(*states(count, seed)), theirs.update(*states(count, seed)), strict=True
        ):
            assert torch.equal(got, expected)
        ours.crop(crop), theirs.crop(crop)
        assert ours.get_seq_length() == theirs.get_seq_length()
        assert torch.equal(ours.keys, theirs.keys)
        assert torch.equal(ours.values, theirs.values)


def test_it_does_not_copy_what_it_holds() -> None:
    layer = GrowingLayer()
    keys, _ = layer.update(*states(5, 0))
    grown, _ = layer.update(*states(1, 1))
    assert grown.data_ptr() == keys.data_ptr()


def test_a_models_logits_are_the_same_with_it(each_lm) -> None:
    ids = torch.tensor([[2, 3, 4, 5, 6, 7]])
    caches = growing_cache(each_lm.model.config), DynamicCache(config=each_lm.model.config)
    with torch.inference_mode():
        for part in (ids[:, :4], ids[:, 4:]):
            ours, theirs = (
                each_lm.model(input_ids=part, past_key_values=cache).logits for cache in caches
            )
            assert torch.allclose(ours, theirs, atol=1e-5)


def test_special_layers_stay_as_they_are() -> None:
    sliding = growing_cache(MistralConfig(num_hidden_layers=2, sliding_window=8))
    assert not is_growing(sliding)
    assert not any(isinstance(layer, GrowingLayer) for layer in sliding.layers)


def test_reset_starts_anew() -> None:
    layer = GrowingLayer()
    layer.update(*states(5, 0))
    layer.reset()
    assert layer.get_seq_length() == 0
    assert torch.equal(layer.update(*states(2, 3))[0], states(2, 3)[0])


@pytest.mark.parametrize("count", [1, ROOM - 1, ROOM, ROOM + 1])
def test_first_room_fits_any_prompt(count) -> None:
    assert GrowingLayer().update(*states(count, 0))[0].shape[-2] == count


def test_tokens_chosen_from_outside_are_what_it_holds_then() -> None:
    """As a tree does that keeps the accepted path."""
    ours, theirs = GrowingLayer(), DynamicLayer()
    for layer in (ours, theirs):
        layer.update(*states(6, 0))
        chosen = torch.tensor([0, 2, 5])
        layer.keys = layer.keys.index_select(-2, chosen)
        layer.values = layer.values.index_select(-2, chosen)
        layer.update(*states(2, 1))
    assert torch.equal(ours.keys, theirs.keys)
    assert torch.equal(ours.values, theirs.values)


def test_a_recurrent_model_is_refused(refuses) -> None:
    with refuses("lm"):
        growing_cache(MambaConfig(num_hidden_layers=1))


def test_arrays_hold_what_the_models_own_cache_holds(each_lm) -> None:
    ids = [2, 3, 4, 5, 6, 7]
    state, own = State.start(each_lm, ids), growing_cache(each_lm.model.config)
    one_pass(state, [])
    with torch.inference_mode():
        each_lm.model(torch.tensor([ids]), past_key_values=own)
    assert state.cache.get_seq_length() == 6
    for ours, theirs in zip(state.cache.layers, own.layers, strict=True):
        assert torch.allclose(ours.keys, theirs.keys, atol=1e-4)
        assert torch.allclose(ours.values, theirs.values, atol=1e-4)


def test_arrays_grow_and_keep_what_it_held(lm) -> None:
    ids = [(7 * place) % lm.vocab_size for place in range(ARRAY_ROOM + 44)]
    state, again = State.start(lm, ids[:ARRAY_ROOM]), State.start(lm, ids)
    one_pass(state, [])
    before = [layer.values.clone() for layer in state.cache.layers]
    state.ids += ids[ARRAY_ROOM:]
    logits, wanted = one_pass(state, []), one_pass(again, [])
    for layer, held in zip(state.cache.layers, before, strict=True):
        assert torch.equal(layer.values[..., :ARRAY_ROOM, :], held)
    assert torch.allclose(logits, wanted, atol=1e-4)


def test_what_was_rolled_back_leaves_no_trace(each_lm) -> None:
    state, clean = State.start(each_lm, [2, 3]), State.start(each_lm, [2, 3, 4])
    one_pass(state, [5, 6, 7])
    roll_back(state, 2)
    state.ids.append(4)
    assert torch.allclose(one_pass(state, [])[-1], one_pass(clean, [])[-1], atol=1e-5)


def test_a_path_moves_together(tiny_gpt2) -> None:
    state, clean = State.start(tiny_gpt2, [2, 3, 4]), State.start(tiny_gpt2, [2, 3, 4, 6, 8, 9])
    one_pass(state, [5, 6, 7, 8], parents=(-1, -1, 1, 1))
    keep_path(state.cache, 3, [1, 3])
    state.ids += [6, 8, 9]
    assert torch.allclose(one_pass(state, [])[-1], one_pass(clean, [])[-1], atol=1e-5)


def test_cropping_never_goes_below_nothing() -> None:
    cache = ArrayCache(1, 1, 2, 8)
    cache.make_room(3)
    cache.length = 3
    cache.crop(-5)
    assert cache.get_seq_length() == 0
