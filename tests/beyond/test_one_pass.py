"""One pass over a branch says what single passes say; the cache, rolled back, forgets."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from medusa_lib import encode, greedy_next, last_logits, run_greedy
from medusa_lib.beyond.one_pass import State, greedy_choices, one_pass, roll_back, verify_greedily

PROMPT = "Once upon a time"


def ids_of(lm, text=PROMPT):
    return encode(lm, text)[0].tolist()


@pytest.fixture(params=["eager", "sdpa"])
def attention(request, each_lm):
    """Each model, with each kind of attention that takes a mask."""
    before = each_lm.model.config._attn_implementation
    each_lm.model.set_attn_implementation(request.param)
    yield dataclasses.replace(each_lm)  # a fresh LM makes a fresh twin
    each_lm.model.set_attn_implementation(before)


def test_a_pass_over_a_branch_says_what_single_passes_say(attention) -> None:
    lm = attention
    ids, branch = ids_of(lm), run_greedy(lm, PROMPT, 5).new_ids
    state = State.start(lm, ids)
    one_pass(state, [])  # so that the second pass meets a cache and needs a mask
    state.ids.append(branch[0])
    rows = one_pass(state, branch[1:])
    assert rows.shape == (len(branch), lm.vocab_size)
    for i in range(len(branch)):
        alone = last_logits(lm, torch.tensor([ids + branch[: i + 1]]))
        assert torch.allclose(rows[i], alone, atol=2e-4), i


def test_a_missing_mask_would_be_seen(attention, monkeypatch) -> None:
    """The test above catches a branch token that looks at those after it."""
    blind = torch.zeros(1, 1, 1, 1)
    monkeypatch.setattr("medusa_lib.beyond.one_pass.causal_mask", lambda *_: blind)
    with pytest.raises(AssertionError):
        test_a_pass_over_a_branch_says_what_single_passes_say(attention)


def test_a_rolled_back_cache_is_as_if_never_fed(each_lm) -> None:
    ids = ids_of(each_lm)
    state = State.start(each_lm, ids)
    first = one_pass(state, [5, 6, 7])[0]
    roll_back(state, len(ids) - 1)
    assert state.seen == len(ids) - 1
    assert torch.allclose(one_pass(state, [])[-1], first, atol=2e-4)
    roll_back(state, len(ids) + 10)
    assert state.seen == len(ids)


def test_verify_greedily_counts_the_agreeing_prefix() -> None:
    assert verify_greedily([4, 5, 6], [4, 5]) == (2, 6)
    assert verify_greedily([4, 9, 6], [4, 5]) == (1, 9)
    assert verify_greedily([3, 5, 6], [4, 5]) == (0, 3)
    assert verify_greedily([8], []) == (0, 8)


def test_a_near_tie_is_settled_by_greedys_own_pass(lm, count_passes) -> None:
    ids, branch = ids_of(lm), run_greedy(lm, PROMPT, 4).new_ids
    state = State.start(lm, ids)
    wrong = one_pass(state, branch).clone()
    best, runner_up = wrong[2].topk(2).indices.tolist()
    wrong[2, runner_up] = wrong[2, best] + 1e-5  # a many-token pass flipped a near tie
    choices, passes = greedy_choices(state, branch, wrong, tie_bound=0.0)
    assert (verify_greedily(choices, branch), passes) == ((2, runner_up), 0)
    with count_passes(lm) as counted:
        choices, passes = greedy_choices(state, branch, wrong, tie_bound=1e-3)
    assert (verify_greedily(choices, branch)[0], passes, len(counted)) == (4, 1, 1)
    assert choices[2] == best == greedy_next(lm, torch.tensor([ids + branch[:2]]))


def test_rows_after_a_disagreement_cost_no_pass(lm) -> None:
    state = State.start(lm, ids_of(lm))
    logits = torch.zeros(4, lm.vocab_size)  # every row is a tie
    logits[0, 3] = 1
    assert greedy_choices(state, [9, 9, 9], logits, tie_bound=1e-3)[1] == 0
    assert greedy_choices(state, [3, 9, 9], logits, tie_bound=1e-3)[1] == 1
