"""Several branches: the longest accepted one wins, and a drafter that draws them itself."""

from __future__ import annotations

import pytest
import torch
from drafts import PROMPTS, assert_same_as_greedy
from heads import state_after
from hypothesis import given, settings
from hypothesis import strategies as st
from panels import PROMPT

from medusa_lib import encode, make_generator, run_greedy, speculate
from medusa_lib.beyond.branches import BranchesDrafter, accept_longest, evaluated


@pytest.mark.parametrize("kind", ["lm", "tiny_gpt2", "tiny_llama"])
def test_the_longest_branch_wins_and_its_tokens_are_greedys(kind, request, count_passes) -> None:
    lm = request.getfixturevalue(kind)
    text = PROMPT if kind == "lm" else "a b c"
    ids = encode(lm, text)
    right = run_greedy(lm, text, 4).new_ids[:3]
    wrong = (right[0] + 1) % lm.vocab_size
    branches = [[wrong, right[1]], [*right[:2], (right[2] + 1) % lm.vocab_size], [right[0], wrong]]
    with count_passes(lm) as passes:
        grown, winner, counts = accept_longest(lm, ids, branches)
    second = 1 + (right[1] == wrong)
    assert (winner, counts) == (1, [0, 2, second])
    assert grown[0, ids.shape[1] :].tolist() == right
    assert len(passes) == evaluated(branches, counts) == 1 + 3 + 2


def test_of_equally_long_branches_the_first_wins(scripted_lm) -> None:
    lm = scripted_lm([3, 4, 5])
    grown, winner, counts = accept_longest(lm, torch.tensor([[2]]), [[9], [3, 4], [3, 4, 9], [3]])
    assert (winner, counts) == (1, [0, 2, 2, 1])
    assert grown.tolist() == [[2, 3, 4]]
    assert evaluated([[9], [3, 4], [3, 4, 9], [3]], counts) == 1 + 2 + 3 + 1


@settings(max_examples=30, deadline=None, database=None, derandomize=True)
@given(st.lists(st.lists(st.integers(2, 6), min_size=1, max_size=4), min_size=1, max_size=4))
def test_any_branches_give_greedys_tokens(scripted_lm, branches) -> None:
    script = [3, 4, 3, 5, 6]
    grown, winner, counts = accept_longest(scripted_lm(script), torch.tensor([[2]]), branches)
    added = grown[0, 1:].tolist()
    assert added == script[: len(added)]
    assert counts[winner] == max(counts)
    assert len(added) == min(counts[winner] + 1, len(branches[winner]))


@pytest.mark.parametrize(
    "bad", [[], "ab", [[]], [[1], []], [[1], [-1]], [[1], [True]], 3, [[2] * 999]]
)
def test_bad_branches_are_refused_before_any_pass(tiny_gpt2, refuses, bad) -> None:
    name = "ids" if bad == [[2] * 999] else "branch"
    with refuses(name, lm=tiny_gpt2):
        accept_longest(tiny_gpt2, encode(tiny_gpt2, "a b"), bad)


def test_the_self_drawn_branches_cost_a_pass_for_each_token_of_the_longest(lm) -> None:
    run = speculate(lm, PROMPTS[0], "branches", 20, span=3)
    room = 20
    for record in run.loops:
        assert record.draft_passes == min(3, room - 1)
        room -= len(record.emitted)
    assert max(len(record.branch) for record in run.loops) > 3, "there is more than one branch"


def test_interrupted_branches_begin_afresh(tiny_gpt2, monkeypatch) -> None:
    drafter = BranchesDrafter(tiny_gpt2, make_generator(1))
    state, _ = state_after(tiny_gpt2)
    drafter.propose(state, 3)

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("medusa_lib.beyond.branches.one_pass", interrupted)
        with pytest.raises(KeyboardInterrupt):
            drafter.propose(state, 3)
    assert drafter.model.own is None
    assert_same_as_greedy(tiny_gpt2, "abcab", 20, drafter=drafter)


@pytest.mark.usefixtures("own_way")
def test_branches_of_a_model_that_takes_no_trees_are_refused_before_any_pass(
    tiny_gpt2, refuses, monkeypatch
) -> None:
    monkeypatch.setattr("medusa_lib.beyond.one_pass.takes_masks", lambda _state: False)
    with refuses("lm", lm=tiny_gpt2):
        speculate(tiny_gpt2, "abc", "branches", 5)
