"""Heads begin as the output layer and draft what they say."""

from __future__ import annotations

import dataclasses
import pickle

import pytest
import torch
from drafts import PROMPTS, assert_same_as_greedy
from heads import NODES, random_heads, state_after

from medusa_lib import speculate
from medusa_lib.beyond.growing_trees import GrowingDrafter, Growth
from medusa_lib.beyond.heads_files import shipped_heads
from medusa_lib.beyond.medusa_heads import (
    KINDS,
    HeadsDrafter,
    HeadsShape,
    chain_of,
    check_nodes,
    draft_chain,
    draft_tree,
    new_heads,
)
from medusa_lib.beyond.one_pass import Branch
from medusa_lib.beyond.trees import parents_of, path_to


@pytest.mark.parametrize("kind", KINDS)
def test_every_head_begins_as_the_output_layer(each_lm, kind) -> None:
    state, logits = state_after(each_lm)
    shape = HeadsShape(kind, 3, state.hidden.shape[1], 8, 9)
    vocab = torch.arange(2, 11)
    heads = new_heads(each_lm, shape, vocab)
    scores = heads(state.hidden[-1:].clone(), torch.tensor([[3, 4, 5]]))[0]
    assert scores.shape == (3, 9)
    for row in scores:
        assert torch.allclose(row, logits[-1][vocab], atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_drafted_tree_holds_each_heads_best_guesses(tiny_gpt2, kind) -> None:
    """The oracle goes down each path alone and asks `forward` what the heads say."""
    heads, nodes = random_heads(tiny_gpt2, kind), check_nodes(NODES, HeadsShape(count=3))
    state, _ = state_after(tiny_gpt2)
    hidden, token = state.hidden[-1].clone(), state.ids[-1]
    tokens, parents = draft_tree(heads, hidden, token, nodes), parents_of(nodes)
    for place, node in enumerate(nodes):
        before = [tokens[i] for i in path_to(parents, place)][:-1]
        told = [token, *before, *[0] * (3 - 1 - len(before))]
        scores = heads(hidden[None], torch.tensor([told]))[0, len(node) - 1]
        assert tokens[place] == int(scores.argsort(descending=True)[node[-1]]), node


def test_a_hydra_head_sees_the_token_before_and_a_medusa_head_does_not(tiny_gpt2) -> None:
    state, _ = state_after(tiny_gpt2)
    hidden = state.hidden[-1:].clone()
    for kind in KINDS:
        heads = random_heads(tiny_gpt2, kind)
        one, other = (heads(hidden, torch.tensor([[5, token, 5]])) for token in (3, 4))
        assert torch.equal(one[:, 0], other[:, 0])
        assert torch.equal(one[:, 1], other[:, 1]) == (kind == "medusa")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("nodes", [NODES, chain_of(3)], ids=["tree", "chain"])
def test_heads_of_any_kind_write_greedys_tokens(tiny_gpt2, tiny_llama, kind, nodes) -> None:
    accepted = 0
    for lm in (tiny_gpt2, tiny_llama):
        drafter = HeadsDrafter(random_heads(lm, kind), nodes)
        for prompt in ("abcab", "a", "hij.ab"):
            for span in (None, 1, 2, 9):
                accepted += assert_same_as_greedy(lm, prompt, 20, drafter=drafter, span=span)
    assert accepted > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_chain_is_the_tree_of_the_best_guesses(tiny_llama, kind) -> None:
    heads, (state, _) = random_heads(tiny_llama, kind), state_after(tiny_llama)
    told = state.hidden[-1].clone(), state.ids[-1]
    tree = draft_tree(heads, *told, tuple(chain_of(3)))
    assert draft_chain(heads, *told, 3) == draft_chain(heads.fast, *told, 3) == tree


@pytest.mark.parametrize(
    "nodes", [[], [(0,), (0,)], [(0, 0)], [()], [(0,) * 4], [(9999,)], [(-1,)]]
)
def test_a_tree_that_heads_cannot_draft_is_refused(nodes, refuses) -> None:
    with refuses(""):
        check_nodes(nodes, HeadsShape(count=3, words=14))


@pytest.mark.parametrize(
    ("field", "value"),
    [("kind", "eagle"), ("count", 0), ("inner", 0), ("words", 0), ("width", 0), ("heat", 0.0)],
)
def test_a_bad_shape_is_refused(field, value, refuses) -> None:
    with refuses(field):
        HeadsShape(**{field: value})


def test_a_span_cuts_the_tree_and_without_a_pass_there_is_nothing_to_draft_from(tiny_gpt2) -> None:
    drafter = HeadsDrafter(random_heads(tiny_gpt2), NODES)
    state, _ = state_after(tiny_gpt2)
    state.hidden = state.hidden.clone()
    assert len(drafter.propose(state, 2).tokens) == 5
    assert drafter.propose(state, 1).parents == (-1, -1)
    assert drafter.propose(dataclasses.replace(state, hidden=None), 3) == Branch()
    chain = HeadsDrafter(random_heads(tiny_gpt2), chain_of(3)).propose(state, 3)
    assert (len(chain.tokens), chain.parents) == (3, None)


def test_heads_that_do_not_fit_a_model_are_refused_before_any_pass(lm, tiny_gpt2, refuses) -> None:
    foreign = random_heads(tiny_gpt2)
    for drafter in (HeadsDrafter(foreign, NODES), GrowingDrafter(foreign, Growth(depth=3))):
        with refuses("heads", lm=lm):
            speculate(lm, PROMPTS[0], drafter)
    with refuses("width", 8):
        new_heads(tiny_gpt2, HeadsShape("hydra", 2, 8, 8, 4), torch.arange(4))
    with refuses("vocab"):
        new_heads(tiny_gpt2, HeadsShape("hydra", 2, 32, 8, 4), torch.arange(5))


@pytest.mark.usefixtures("own_way")
def test_a_model_that_takes_no_tree_is_refused_before_any_pass(
    tiny_gpt2, refuses, monkeypatch
) -> None:
    monkeypatch.setattr("medusa_lib.beyond.manners.MASKED", ())
    monkeypatch.setitem(tiny_gpt2.kept, "manner", ("untried", None))
    with refuses("lm", lm=tiny_gpt2):
        speculate(tiny_gpt2, "abc", HeadsDrafter(random_heads(tiny_gpt2), NODES))


def test_retrained_heads_draft_anew_and_drop_the_old_twin(tiny_gpt2) -> None:
    heads, (state, _) = random_heads(tiny_gpt2), state_after(tiny_gpt2)
    told = state.hidden[-1].clone(), state.ids[-1]
    first = draft_chain(heads.fast, *told, 3)
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.neg_()
    assert draft_chain(heads.fast, *told, 3) == draft_chain(heads, *told, 3) != first
    assert not heads.fast.kept, "a twin holds no twin"


def test_heads_that_learned_between_two_runs_draft_anew(tiny_gpt2) -> None:
    heads = random_heads(tiny_gpt2)
    drafter = HeadsDrafter(heads, [(0,)])
    before = [loop.branch for loop in speculate(tiny_gpt2, "abc", drafter, 12).loops]
    with torch.no_grad():
        heads.out.weight.neg_()
    after = [loop.branch for loop in speculate(tiny_gpt2, "abc", drafter, 12).loops]
    assert before != after


def test_heads_that_have_drafted_can_be_pickled(lm) -> None:
    speculate(lm, "Once upon a time", "heads_tree", 8)
    heads = shipped_heads(lm)[0]
    again = pickle.loads(pickle.dumps(heads))
    assert heads.kept
    assert not again.kept
    runs = [speculate(lm, "The king", GrowingDrafter(each), 12) for each in (heads, again)]
    assert [loop.branch for loop in runs[0].loops] == [loop.branch for loop in runs[1].loops]
