"""Lookahead writes greedy's text, keeps its window and pool as the paper says, and saves passes."""

from __future__ import annotations

import pytest
import torch
from drafts import PROMPTS, assert_same_as_greedy, ids_of
from heads import state_after
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import replaced_eos

from medusa_lib import make_generator, run_greedy, speculate
from medusa_lib.beyond.drafters import FirstOf, NgramDrafter
from medusa_lib.beyond.lookahead import LookaheadDrafter, said_after, window_branches
from medusa_lib.beyond.one_pass import Branch, State, one_pass
from medusa_lib.beyond.tree_attention import follow_by_sampling
from medusa_lib.beyond.trees import tree_depths

SIZES = st.tuples(st.integers(1, 5), st.integers(2, 4), st.integers(0, 4))


@settings(max_examples=25, deadline=None, database=None, derandomize=True)
@given(
    size=SIZES,
    text=st.text("abcdefghij .", min_size=1, max_size=12),
    span=st.sampled_from([None, 1, 2, 5]),
    end=st.integers(0, 13),
    llama=st.booleans(),
)
def test_any_window_writes_greedys_text(tiny_gpt2, tiny_llama, size, text, span, end, llama):
    """Also where the text ends early or the context does."""
    if not text.strip():
        return
    lm = replaced_eos(tiny_llama if llama else tiny_gpt2, end)
    assert_same_as_greedy(lm, text, 40, drafter=LookaheadDrafter(*size), span=span)


def test_it_saves_passes_on_the_shipped_model(lm) -> None:
    for prompt in PROMPTS:
        assert assert_same_as_greedy(lm, prompt, 32, drafter="lookahead") > 0
        run = speculate(lm, prompt, "lookahead", 32)
        assert len(run.loops) == run.verify_passes - sum(r.verify_passes - 1 for r in run.loops)
        assert run.draft_passes == 0
        assert len(run.loops) < 32


def test_the_window_and_what_the_pool_gets(scripted_lm) -> None:
    """Three columns, n-grams of three, on a model that always says 3 4 5 6 7 8 …"""
    lm = scripted_lm([3, 4, 5, 6, 7, 8, 9, 10])
    drafter = LookaheadDrafter(3, 3, 2)
    state = State(lm, [2], None)
    drafter.rows = [[0, 4, 6], [5, 9, 9]]  # offsets 0 1 2, and 1 2 3
    branch = drafter.propose(state, 4)
    assert drafter.window == [[5], [4, 9], [4, 6, 9]]
    assert (branch.tokens, branch.parents) == ([5, 4, 9, 6, 9], (-1, -1, 1, 1, 3))
    assert max(tree_depths(branch.parents)) == drafter.span == 3
    logits = torch.zeros(6, 12)
    for row, token in ((1, 7), (3, 8), (5, 9)):  # after 5; after 4 9; after 4 6 9
        logits[row, token] = 1
    drafter.look(branch, logits)
    assert drafter.pool == {2: [(5, 7)], 4: [(9, 8)], 6: [(9, 9)]}
    assert drafter.rows == [[5, 9, 9], [7, 8, 9]]
    state.ids = [2, 4]
    bets = drafter.propose(state, 4).tokens[:2]
    assert bets == [9, 8]
    assert drafter.rows[0] == [4, 9, 9]


def test_a_tree_says_of_each_column_what_its_branch_says_alone(tiny_gpt2) -> None:
    state, _ = state_after(tiny_gpt2)
    drafter = LookaheadDrafter(4, 3, 3)
    branch = drafter.propose(state, drafter.span)
    best = one_pass(state, branch.tokens, branch.parents).argmax(dim=-1).tolist()
    for column in window_branches(drafter.rows):
        alone = State.start(tiny_gpt2, state.ids)
        assert said_after(column, branch, best) == int(one_pass(alone, column)[-1].argmax())


def test_a_column_that_was_cut_off_says_nothing(tiny_gpt2) -> None:
    state, _ = state_after(tiny_gpt2)
    drafter = LookaheadDrafter(5, 4, 3)
    branch = drafter.propose(state, 2)
    assert max(tree_depths(branch.parents)) == 2
    before = drafter.rows[-1]
    drafter.look(branch, torch.randn(len(branch.tokens) + 1, tiny_gpt2.vocab_size))
    assert drafter.rows[-1][1:] == before[1:]
    assert set(drafter.pool) <= {state.ids[-1]}


def test_the_pool_keeps_the_latest_and_none_twice() -> None:
    drafter = LookaheadDrafter(2, 3, 2)
    for rest in ((1, 1), (2, 2), (1, 1), (3, 3)):
        drafter.note(7, rest)
    assert drafter.pool == {7: [(1, 1), (3, 3)]}
    none = LookaheadDrafter(2, 3, 0)
    none.note(7, (1, 1))
    assert none.pool == {7: []}


def test_a_run_begins_with_an_empty_pool(tiny_gpt2) -> None:
    drafter = LookaheadDrafter()
    runs = [speculate(tiny_gpt2, "abcab", drafter, 20) for _ in range(2)]
    assert runs[0].loops[3].branch == runs[1].loops[3].branch
    assert drafter.pool
    drafter.check_fits(tiny_gpt2)
    assert not drafter.pool
    assert not drafter.rows


def test_it_samples_what_the_model_would(tiny_gpt2) -> None:
    """The tree holds only what was known before the draw: each draw is the model's own."""
    state, logits = state_after(tiny_gpt2)
    branch = LookaheadDrafter().propose(state, 6)
    rows = one_pass(state, branch.tokens, branch.parents)
    wanted, drawn = torch.softmax(rows[0] / 1.5, -1), torch.zeros(tiny_gpt2.vocab_size)
    generator = make_generator(3)
    for _ in range(4000):
        path, last = follow_by_sampling(rows, branch, 1.5, 1.0, generator)
        drawn[branch.tokens[path[0]] if path else last] += 1
    assert float((drawn / 4000 - wanted).abs().sum()) < 0.08
    assert logits.shape[1] == tiny_gpt2.vocab_size


def test_first_of_passes_the_look_on(lm) -> None:
    drafter = FirstOf(NgramDrafter(longest=5, shortest=5), LookaheadDrafter())
    run = speculate(lm, PROMPTS[0], drafter, 32)
    assert run.new_ids == run_greedy(lm, PROMPTS[0], 32).new_ids
    assert drafter.drafters[1].pool


def test_an_empty_branch_teaches_nothing(tiny_gpt2) -> None:
    drafter = LookaheadDrafter()
    drafter.propose(State.start(tiny_gpt2, ids_of(tiny_gpt2, "ab")), 3)
    drafter.look(Branch(), torch.zeros(1, 5))
    assert not drafter.pool


@pytest.mark.parametrize(
    ("name", "bad"), [("columns", 0), ("gram", 1), ("bets", -1), ("gram", 2.5), ("columns", "3")]
)
def test_a_knob_out_of_range_is_refused(refuses, name, bad) -> None:
    with refuses(name, bad):
        LookaheadDrafter(**{name: bad})


@pytest.mark.usefixtures("own_way")
def test_a_model_that_takes_no_trees_is_refused_before_any_pass(
    tiny_gpt2, refuses, monkeypatch
) -> None:
    monkeypatch.setattr("medusa_lib.beyond.one_pass.takes_masks", lambda _state: False)
    with refuses("lm", lm=tiny_gpt2):
        speculate(tiny_gpt2, "abc", "lookahead", 5)
