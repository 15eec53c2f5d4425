"""One pass over a branch says what single passes say; the cache, rolled back, forgets."""

from __future__ import annotations

import pytest
import torch
from drafts import ids_of

from medusa_lib import last_logits, run_greedy
from medusa_lib.beyond.one_pass import (
    LentState,
    State,
    one_pass,
    roll_back,
    run_model,
    verify_greedily,
)

PROMPT = "Once upon a time"


def test_a_pass_over_a_branch_says_what_single_passes_say(attention) -> None:
    lm = attention
    ids, branch = ids_of(lm, PROMPT), run_greedy(lm, PROMPT, 5).new_ids
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
    monkeypatch.setattr(
        "medusa_lib.beyond.one_pass.run_model",
        lambda state, fed, _, *rest: run_model(state, fed, blind, *rest),
    )
    with pytest.raises(AssertionError):
        test_a_pass_over_a_branch_says_what_single_passes_say(attention)


def test_a_rolled_back_cache_is_as_if_never_fed(each_lm) -> None:
    ids = ids_of(each_lm, PROMPT)
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


def test_what_a_drafter_is_shown_is_a_copy_made_when_it_is_asked_for(each_lm) -> None:
    state = State.start(each_lm, [2, 3, 4])
    one_pass(state, [5])
    shown = LentState.of(state)
    assert (shown.ids, shown.seen, shown.lm) == ([2, 3, 4], 4, each_lm)
    assert "cache" not in vars(shown)
    roll_back(shown, 1)
    assert shown.cache is not state.cache
    assert (shown.seen, state.seen) == (1, 4)
    one_pass(shown, [])
    assert (shown.seen, state.seen) == (3, 4)
    with pytest.raises(AttributeError, match="nothing"):
        _ = shown.nothing
