"""The pass in plain loops says what the model says, whatever its options and whatever is fed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from heads import random_heads
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit, prange
from odd_models import MODELS, PLACES, VOCAB, odd_gpt2
from torch.nn import functional as F
from transformers import DynamicCache
from transformers.activations import NewGELUActivation

from medusa_lib.beyond.masks import mask_and_offsets, with_cache
from medusa_lib.beyond.medusa_heads import draft_chain
from medusa_lib.engine import forward as loops
from medusa_lib.engine.arrays import PlainLoops, QuickHydra, QuickLinear
from medusa_lib.engine.weights import read

TREE = (-1, 0, 1, 0, -1, 4, 4)  # parents


@pytest.fixture(scope="module", params=MODELS)
def both(request):
    """A random model and its twin."""
    model = MODELS[request.param]()
    return model, PlainLoops(read(model))


def some_ids(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(VOCAB, (count,), generator=generator).tolist()


def close(ours, theirs):
    """To 1e-4, relative to the largest number."""
    return float((ours - theirs).abs().max()) <= 1e-4 * max(1.0, float(theirs.abs().max()))


@torch.inference_mode()
def asked(model, ids, cache=None, mask=None, positions=None):
    """The model's own (logits, hidden states) of one pass."""
    places = None if positions is None else positions[None]
    fed = {"attention_mask": mask, "position_ids": places, "past_key_values": cache}
    body = model.base_model(torch.tensor([ids]), use_cache=cache is not None, **fed)
    hidden = body.last_hidden_state[0]
    return model.lm_head(hidden), hidden


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 31, 64])
def test_any_number_of_rows(both, count):
    model, twin = both
    ids = some_ids(count)
    for ours, theirs in zip(twin.read(twin.new_cache(), ids), asked(model, ids), strict=True):
        assert close(ours, theirs)


def test_a_text_in_parts_up_to_the_last_place_of_the_context(both):
    model, twin = both
    ids = some_ids(PLACES)
    wanted, cache, at = asked(model, ids)[0], twin.new_cache(), 0
    for count in (1, 1, 6, 3, 64, 1, 9, 4, 1):
        logits, _ = twin.read(cache, ids[at : at + count])
        assert close(logits, wanted[at : at + count])
        at += count
    assert at == PLACES == cache.get_seq_length()


def test_a_tree_behind_a_text(both):
    model, twin = both
    text, drafted = some_ids(20), some_ids(len(TREE), seed=1)
    mask, offsets = mask_and_offsets(TREE, 1, torch.float32, torch.device("cpu"))
    fed, cache, theirs = [text[-1], *drafted], twin.new_cache(), DynamicCache(config=model.config)
    twin.read(cache, text[:-1])
    asked(model, text[:-1], theirs)
    args = with_cache(mask, 19), offsets + 19
    wanted = asked(model, fed, theirs, *args)[0]
    ours = twin(cache, fed, *args, len(fed))[0]
    assert close(ours, wanted)
    cache.crop(-len(fed))
    assert torch.equal(twin(cache, fed, mask, args[1], len(fed))[0], ours), "all see the cache"
    path = [*text, *(drafted[place] for place in (0, 1, 2))]
    assert close(wanted[3], asked(model, path)[0][-1]), "the tree of this test is wrong"


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads_says_the_same_to_the_bit(lm, threads):
    twin, ids = PlainLoops(read(lm.model)), list(range(40))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        logits, _ = twin.read(twin.new_cache(), ids)
        for _ in range(50):  # whoever of them was late
            assert torch.equal(twin.read(twin.new_cache(), ids)[0], logits)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(logits, twin.read(twin.new_cache(), ids)[0])
    assert close(logits, asked(lm.model, ids)[0])


@njit
def who_does_what(orders, parts, things, steps):
    """Threads one after the other, each on its own → who computed a thing in a step."""
    done = np.full((steps, things), -1)
    board = loops.board_for(steps, parts)
    for me in orders:
        crew = loops.crew_of(me, parts, board)
        for step in range(steps):
            for first, last in loops.parts_for(crew, things):
                done[step, first:last] = me
    return done


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
@pytest.mark.parametrize("things", [0, 1, 2, 7])
def test_the_first_thread_does_what_the_others_have_not_begun(parts, things):
    """So nobody waits for a thread that is not there, and one that is late finds nothing to do."""
    for first in range(parts):
        orders = np.array([first, *(me for me in range(parts) if me != first)])
        assert (who_does_what(orders, parts, things, 3) == first).all()


@njit(parallel=True)
def counted_by_all(threads, things, steps):
    """Threads at once, each step reading what all have left in the one before."""
    board, sums = loops.board_for(steps, threads), np.zeros((steps + 1, things), np.int64)
    for me in prange(threads):
        crew = loops.crew_of(me, threads, board)
        for step in range(steps):
            for first, last in loops.parts_for(crew, things):
                for i in range(first, last):
                    sums[step + 1, i] += sums[step].sum() + i + 1
    return sums


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_no_thread_goes_on_before_all_parts_of_a_step_are_done_once(threads):
    wanted = np.zeros(5, np.int64)
    for row in counted_by_all(threads, 5, 20)[1:]:
        wanted = wanted.sum() + np.arange(1, 6)
        assert (row == wanted).all()
    for _ in range(200):
        assert (counted_by_all(threads, 5, 20) == counted_by_all(1, 5, 20)).all()


def test_only_the_rows_that_are_asked_for(both):
    _, twin = both
    ids, positions = some_ids(9), torch.arange(9)
    all_rows = twin.read(twin.new_cache(), ids)
    last = twin(twin.new_cache(), ids, None, positions, 2)
    assert all(len(numbers) == 2 for numbers in last)
    assert all(close(ours, wanted[-2:]) for ours, wanted in zip(last, all_rows, strict=True))


def test_loud_scores_and_hidden_tokens_do_no_harm():
    """What may not be attended to has no weight, even if it would have the highest score."""
    model = odd_gpt2(initializer_range=3.0)
    twin, ids = PlainLoops(read(model)), some_ids(30)
    assert close(twin.read(twin.new_cache(), ids)[0], asked(model, ids)[0])


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 30),
    inside=st.integers(1, 40),
    outputs=st.integers(1, 80),
    threads=st.integers(1, 5),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
)
def test_a_product_of_any_size(rows, inside, outputs, threads, dtype):
    generator = torch.Generator().manual_seed(rows + 40 * inside)
    x, w = (torch.randn(n, inside, generator=generator) for n in (rows, outputs))
    w = w.to(dtype).float()
    layer, before = QuickLinear(w), torch.get_num_threads()
    wide = {torch.float32: np.float32, torch.float16: np.uint16, torch.bfloat16: np.int16}
    assert layer.w.dtype in (wide[dtype], np.uint16)
    try:
        torch.set_num_threads(threads)
        assert torch.allclose(layer(x), x @ w.t(), atol=1e-5)
    finally:
        torch.set_num_threads(before)


def test_every_number_of_half_precision_is_widened_exactly():
    every = np.arange(2**16, dtype=np.uint16)
    finite = every[np.isfinite(every.view(np.float16))]
    one = np.ones((1, 1), np.float32)
    strips, none = loops.in_strips(finite[:, None]), np.zeros(0, np.float32)
    wide = loops.linear(one, strips, none)[0, : len(finite)]
    assert (wide == finite.view(np.float16).astype(np.float32)).all()


def test_exp_is_e_to_the_x():
    x = np.linspace(-79, 87, 10_001).astype(np.float32)
    ours = np.array([loops.exp(number) for number in x])
    assert np.abs(ours / np.exp(x.astype(np.float64)) - 1).max() < 5e-7
    assert loops.exp(np.float32(-1e30)) == loops.exp(np.float32(-81)) == 0
    assert math.isfinite(loops.exp(np.float32(1e30)))


def test_both_activations_are_the_usual_ones():
    x, gate = 4 * torch.randn(67), torch.randn(67)
    for gated, wanted in ((False, NewGELUActivation()(x)), (True, F.silu(gate) * x)):
        ours = np.empty(67, np.float32)
        loops.activated(x.numpy(), gate.numpy(), gated, ours)
        assert torch.allclose(torch.from_numpy(ours), wanted, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_hydras_chain_is_its_heads_one_after_the_other(tiny_llama, threads):
    heads, before = random_heads(tiny_llama, count=5), torch.get_num_threads()
    quick = QuickHydra(heads)
    try:
        torch.set_num_threads(threads)
        for token in range(2, 9):
            hidden = torch.randn(heads.shape.width)
            wanted = draft_chain(heads, hidden, token, 5)
            assert quick.chain(hidden, token, 5) == wanted
    finally:
        torch.set_num_threads(before)


def test_hydras_step_is_its_block(tiny_llama):
    heads = random_heads(tiny_llama)
    plain, quick = heads.step, QuickHydra(heads)
    for count in (1, 3, 6):
        before = torch.randn(count, heads.shape.width)
        tokens = torch.arange(count)
        with torch.inference_mode():
            assert torch.allclose(
                quick(before, tokens), plain(0, before, before, tokens), atol=1e-5
            )
