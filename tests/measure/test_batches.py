"""Several texts in one pass: each is greedy's of its own prompt, and what it costs is counted."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from bad_values import NO_LM, NO_POSITIVE
from drafts import PROMPTS, FixedTree, Says, ids_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from own_settings import settings_of
from tiny_models import replaced_eos

from medusa_lib import first_difference, last_logits, make_generator, run_greedy
from medusa_lib.beyond.drafters import NgramDrafter
from medusa_lib.beyond.near_ties import NearTie
from medusa_lib.beyond.one_pass import State, one_pass
from medusa_lib.engine.cache import growing_cache
from medusa_lib.measure import batches
from medusa_lib.measure.batches import (
    Batch,
    BatchLoop,
    BatchRun,
    Oracle,
    User,
    batch_mask,
    batch_pass,
    batch_seconds,
    batch_speedup,
    best_tokens,
    cache_bytes,
    decode_batch,
    forget_rejected,
    keep_users,
    kv_bytes,
    kv_shape,
    last_gain,
    left_padded,
    read_context,
)

MORE = (*PROMPTS, "a", "abc abc abc", "j", "b" * 30)
CPU = torch.device("cpu")


def oracle(lm, prompt: str, alpha: float, seed: int, count: int = 40) -> Oracle:
    greedy = run_greedy(lm, prompt, count)
    text = [*greedy.prompt_ids, *greedy.new_ids, lm.eos_id]
    return Oracle(text, alpha, lm.vocab_size, make_generator(seed))


def assert_greedys(lm, prompts, run, count) -> None:
    """Each text of a batch is greedy's of its prompt."""
    for prompt, new_ids in zip(prompts, run.new_ids, strict=True):
        alone = run_greedy(lm, prompt, count)
        at = first_difference(new_ids, alone.new_ids)
        if at is not None:
            top = last_logits(lm, torch.tensor([alone.prompt_ids + alone.new_ids[:at]])).topk(2)
            pytest.fail(f"{prompt!r} differs at {at}, margin {top.values[0] - top.values[1]:.2e}")


@pytest.mark.parametrize("name", ["lm", "tiny_gpt2", "tiny_llama"])
def test_each_row_is_greedys_text_of_its_prompt(name, request) -> None:
    lm, accepted = request.getfixturevalue(name), []
    greedys = {}

    @settings(
        max_examples=12 if name == "lm" else 30,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(
        prompts=st.lists(st.sampled_from(MORE), min_size=1, max_size=5),
        count=st.integers(1, 20),
        span=st.integers(1, 6),
        drafted=st.sampled_from(["no", "ngram", "oracle"]),
        alpha=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    )
    def holds(prompts, count, span, drafted, alpha) -> None:
        drafters = {
            "no": None,
            "ngram": [NgramDrafter() for _ in prompts],
            "oracle": [oracle(lm, p, alpha, i) for i, p in enumerate(prompts)],
        }[drafted]
        run = decode_batch(lm, prompts, drafters, count, span)
        for prompt in prompts:
            greedys.setdefault((prompt, count), run_greedy(lm, prompt, count).new_ids)
        wanted = [greedys[prompt, count] for prompt in prompts]
        if run.new_ids != wanted:
            assert_greedys(lm, prompts, run, count)
        accepted.append(sum(sum(loop.emitted) - len(loop.emitted) for loop in run.loops))

    holds()
    assert sum(accepted) > 0, "no draft was ever accepted: the property would be vacuous"


def test_texts_that_end_leave_the_batch(tiny_gpt2) -> None:
    """With each token in turn as the end, so that rows of a batch end at different times."""
    ends = set()
    for token in range(tiny_gpt2.vocab_size):
        lm = replaced_eos(tiny_gpt2, token)
        for alpha in (None, 1.0):
            drafters = None if alpha is None else [oracle(lm, p, alpha, 1) for p in PROMPTS]
            run = decode_batch(lm, PROMPTS, drafters, 12, 3)
            assert_greedys(lm, PROMPTS, run, 12)
            assert not any(token in ids for ids in run.new_ids)
            ends.add(len({len(ids) for ids in run.new_ids}))
    assert max(ends) > 1


def test_a_batch_takes_as_many_loops_as_its_slowest_row(lm) -> None:
    plain = decode_batch(lm, PROMPTS, None, 9)
    assert [loop.emitted for loop in plain.loops] == [(1,) * len(PROMPTS)] * 9
    assert all(loop.passes == 1 for loop in plain.loops)
    drafters = [oracle(lm, p, 1.0, 0) for p in PROMPTS]
    run = decode_batch(lm, PROMPTS, drafters, 9, span=3)
    assert [loop.emitted for loop in run.loops] == [(4,) * 4, (4,) * 4, (1,) * 4]
    assert run.tau == 2.5  # of the two loops after the first


def test_gaps_are_closed_and_nothing_changes(lm, monkeypatch) -> None:
    """Many rejected drafts: without closing up, the cache would grow by the span each loop."""
    widths, real = [], batches.close_up

    def seen(batch, longest):
        real(batch, longest)
        widths.append((batch.held.shape[1], longest))

    monkeypatch.setattr(batches, "close_up", seen)
    monkeypatch.setattr(batches, "SPARE", 5)
    drafters = [oracle(lm, p, 0.3, i) for i, p in enumerate(PROMPTS)]
    run = decode_batch(lm, PROMPTS, drafters, 24, span=4)
    assert_greedys(lm, PROMPTS, run, 24)
    assert len(widths) > 2
    assert all(slots == longest for slots, longest in widths)


def test_a_row_says_what_its_text_alone_says(each_lm) -> None:
    texts = [ids_of(each_lm, p) for p in ("ab", "a b c d e")]
    batch = Batch.start(each_lm, [User(list(ids), 9) for ids in texts])
    branches = [[3, 4], [5]]
    logits = batch_pass(batch, branches)
    for row, (ids, branch) in enumerate(zip(texts, branches, strict=True)):
        alone = one_pass(State.start(each_lm, ids), branch)
        assert torch.allclose(logits[row, -len(alone) :], alone, atol=2e-4)
    forget_rejected(batch, branches, [1, 0])
    assert batch.seen == [len(texts[0]) + 1, len(texts[1])]
    for user, more in zip(batch.users, ([3, 7], [8]), strict=True):
        user.ids += more
    keep_users(batch, [1])
    again = batch_pass(batch, [[]])
    assert torch.allclose(
        again[0, -1], one_pass(State.start(each_lm, [*texts[1], 8]), [])[-1], atol=2e-4
    )


def test_padding_masks_and_positions_by_hand() -> None:
    tokens, real = left_padded([[5, 6, 7], [8]], CPU)
    assert tokens.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert real.tolist() == [[True] * 3, [False, False, True]]
    held = torch.tensor([[True, False], [True, True]])
    mask, positions = batch_mask(held, real)
    assert mask.shape == (2, 1, 3, 5)
    assert (mask[0, 0] == 0).int().tolist() == [
        [1, 0, 1, 0, 0],
        [1, 0, 1, 1, 0],
        [1, 0, 1, 1, 1],
    ]
    assert (mask[1, 0, 2] == 0).int().tolist() == [1, 1, 0, 0, 1]
    assert positions.tolist() == [[1, 2, 3], [1, 1, 2]]


@pytest.mark.parametrize("kind", ["gap", "padding"])
def test_a_mask_that_forgets_a_gap_or_padding_would_be_seen(tiny_gpt2, monkeypatch, kind) -> None:
    """The test of greedy's texts catches rows that attend to what they must not."""
    right = batch_mask

    def wrong(held, real):
        mask, positions = right(held, real)
        if kind == "gap":
            mask[..., : held.shape[1]] = 0
        else:
            width = real.shape[1]
            own = torch.ones(width, width).tril().bool()
            mask[..., held.shape[1] :] = mask[..., held.shape[1] :].masked_fill(own, 0)
        return mask, positions

    monkeypatch.setattr(batches, "batch_mask", wrong)
    prompts = ["abc abc abc", "j", "ab"]
    drafters = [oracle(tiny_gpt2, p, 0.5, i) for i, p in enumerate(prompts)]
    run = decode_batch(tiny_gpt2, prompts, drafters, 16, span=4)
    greedys = [run_greedy(tiny_gpt2, p, 16).new_ids for p in prompts]
    assert run.new_ids != greedys


def test_near_ties_are_settled_by_greedys_own_pass(lm, monkeypatch) -> None:
    monkeypatch.setattr(batches.NearTie, "of", classmethod(lambda cls, lm: NearTie(1.0)))
    run = decode_batch(lm, PROMPTS, None, 8)
    assert_greedys(lm, PROMPTS, run, 8)
    assert sum(loop.passes for loop in run.loops) > len(run.loops)


def test_best_tokens_and_their_rivals() -> None:
    logits = torch.tensor([[[0.0, 2.0, 1.9995], [3.0, 1.0, 0.0]]])
    best, near = best_tokens(logits, NearTie(1e-3))
    assert best.tolist() == [[1, 0]]
    assert near.tolist() == [[True, False]]
    assert not best_tokens(logits, NearTie(0.0))[1].any()
    with pytest.raises(ValueError, match="logits must be finite"):
        best_tokens(torch.tensor([[[float("nan"), 1.0]]]), NearTie(1e-3))


def test_an_oracle_is_right_as_often_as_it_is_told() -> None:
    text = [1, 2, 3] * 2000
    drafter = Oracle(text, 0.7, 9, make_generator(1))
    drafted = drafter.propose(State(None, text[:3], None), 5000).tokens
    right = sum(a == b for a, b in zip(drafted, text[3:], strict=False)) / len(drafted)
    assert right == pytest.approx(0.7, abs=0.03)
    assert drafter.propose(State(None, text, None), 4).tokens == []


def test_steady_loops_are_those_with_everybody_in() -> None:
    loops = [BatchLoop((1, 1), 1, 0.0, 9.0), BatchLoop((2, 4), 1, 0.0, 1.0)]
    loops += [BatchLoop((1, 1), 1, 0.0, 3.0), BatchLoop((1,), 1, 0.0, 7.0)]
    run = BatchRun([[1, 2, 3, 4], [5] * 7], loops)
    assert run.steady == loops[1:3]
    assert (run.tau, run.loop_seconds) == (2.0, 2.0)
    alone = dataclasses.replace(run, loops=loops[:1])
    assert alone.tau != alone.tau
    assert alone.loop_seconds != alone.loop_seconds


def test_passes_are_timed_and_rolled_back(tiny_gpt2, count_passes) -> None:
    with count_passes(tiny_gpt2) as passes:
        seconds = batch_seconds(tiny_gpt2, (1, 3), (1, 2), context=38, repeats=2)
    assert set(seconds) == {*itertools.product((1, 3), (1, 2))}
    assert all(taken > 0 for taken in seconds.values())
    assert len(passes) == 2 * (1 + 1 + 2 * 2)  # each batch: its context, a warm-up, the timings


def test_speedup_by_hand_and_the_last_gain(refuses) -> None:
    assert batch_speedup(3.0, plain=2.0, verify=4.0) == 1.5
    assert batch_speedup(3.0, plain=2.0, verify=4.0, draft=2.0) == 1.0
    for name in ("tau", "plain", "verify", "draft"):
        with refuses(name, -1.0):
            batch_speedup(**{"tau": 1.0, "plain": 1.0, "verify": 1.0, name: -1.0})
    with pytest.raises(ValueError, match="verify and draft must be more than 0"):
        batch_speedup(1.0, 1.0, 0.0)
    assert last_gain({1: 2.0, 4: 1.1, 8: 0.9, 16: 1.2}) == 4
    assert last_gain({1: 1.0}) is None
    assert last_gain({2: 1.5, 1: 1.2}) == 2


@pytest.mark.parametrize("rows", [1, 3])
def test_the_formula_of_the_cache_is_what_real_tensors_take(each_lm, rows) -> None:
    batch = read_context(each_lm, rows, 20)
    assert cache_bytes(batch.cache) == rows * kv_bytes(*kv_shape(each_lm.model.config), 20, 4)


def test_kv_bytes_refuses_what_is_no_count(refuses) -> None:
    names = ("layers", "kv_heads", "head_size", "number")
    for name in names:
        with refuses(name, 0):
            kv_bytes(**{**dict.fromkeys((*names, "positions"), 2), name: 0})
    assert kv_bytes(2, 2, 2, 0, 2) == 0


@pytest.mark.parametrize("bad", NO_LM)
def test_a_batch_wants_an_lm(refuses, bad) -> None:
    with refuses("lm"):
        decode_batch(bad, ["a"])


@pytest.mark.parametrize("bad", NO_POSITIVE)
def test_counts_are_refused_before_any_pass(tiny_gpt2, refuses, bad) -> None:
    for name in ("max_new_tokens", "span"):
        with refuses(name, lm=tiny_gpt2):
            decode_batch(tiny_gpt2, ["a"], **{name: bad})


def test_prompts_and_drafters_are_refused_before_any_pass(tiny_gpt2, refuses) -> None:
    for prompts in ("abc", []):
        with refuses("prompts", lm=tiny_gpt2):
            decode_batch(tiny_gpt2, prompts)
    with refuses("prompt", lm=tiny_gpt2):
        decode_batch(tiny_gpt2, ["a", " "])
    with refuses("drafters", lm=tiny_gpt2):
        decode_batch(tiny_gpt2, ["a", "b"], [NgramDrafter()])
    for drafter in (FixedTree([1, 2], (-1, -1)), Says(99)):
        with refuses("draft", lm=None):
            decode_batch(tiny_gpt2, ["a"], [drafter], 8)


def test_timings_and_oracles_refuse_bad_values(tiny_gpt2, refuses) -> None:
    with refuses("context", 39, lm=tiny_gpt2):
        batch_seconds(tiny_gpt2, (1,), (2,), context=39)
    with refuses("each of batches and positions", 0, lm=tiny_gpt2):
        batch_seconds(tiny_gpt2, (0,), (2,), context=3)
    with refuses("alpha", 1.5):
        Oracle([1], 1.5, 9, make_generator(1))


def test_a_model_that_takes_no_mask_is_refused(rows_lm, monkeypatch, tiny_gpt2) -> None:
    monkeypatch.setattr(batches, "takes_masks", lambda _state: False)
    with pytest.raises(ValueError, match="lm must be a model of gpt2 or llama"):
        decode_batch(tiny_gpt2, ["a"])
    assert growing_cache(tiny_gpt2.model.config).get_seq_length() == 0


def test_a_models_settings_are_obeyed_row_by_row(lm) -> None:
    chosen = {"no_repeat_ngram_size": 2, "min_new_tokens": 4, "eos_token_id": [0, 12]}
    with settings_of(lm, **chosen) as other:
        drafters = [NgramDrafter(), Says(3, 4), NgramDrafter()]
        run = batches.decode_batch(other, PROMPTS[:3], drafters, 9)
        wanted = [run_greedy(other, prompt, 9).new_ids for prompt in PROMPTS[:3]]
        assert run.new_ids == wanted
    assert wanted != [run_greedy(lm, prompt, 9).new_ids for prompt in PROMPTS[:3]]
