"""A tree verified in one pass says what its branches say alone; wrong masks are caught."""

from __future__ import annotations

import dataclasses
import importlib

import pytest
import torch
from drafts import PARENTS, PROMPTS, TOKENS, FixedTree, assert_same_as_greedy, ids_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medusa_lib import last_logits, run_greedy
from medusa_lib.beyond.masks import mask_and_offsets
from medusa_lib.beyond.one_pass import Branch, State, one_pass
from medusa_lib.beyond.speculative import speculate
from medusa_lib.beyond.tree_attention import follow_by_sampling, keep
from medusa_lib.beyond.trees import path_to
from medusa_lib.measure.chi_square import chi_square_p
from medusa_lib.teaching.toys.four_words import TARGET, text_probs

one_pass_module = importlib.import_module("medusa_lib.beyond.one_pass")


def largest_difference(lm, warm: bool = True) -> float:
    """Between a row of a pass over the tree and the same path read alone, at most."""
    ids = ids_of(lm, "a b c")
    state = State.start(lm, ids)
    if warm:
        one_pass(state, [])
        state.ids.append(2)
    rows, worst = one_pass(state, TOKENS, PARENTS), 0.0
    assert rows.shape == (len(TOKENS) + 1, lm.vocab_size)
    for row, path in enumerate([[], *(path_to(PARENTS, i) for i in range(len(TOKENS)))]):
        alone = last_logits(lm, torch.tensor([[*state.ids, *(TOKENS[i] for i in path)]]))
        worst = max(worst, float((rows[row] - alone).abs().max()))
    return worst


@pytest.mark.parametrize("warm", [True, False], ids=["cached", "empty cache"])
def test_a_tree_says_what_its_branches_say_alone(attention, warm) -> None:
    assert largest_difference(attention, warm) < 1e-4


def planted(kind: str):
    """mask_and_offsets with one mistake."""

    def wrong(parents, before, dtype, device):
        mask, offsets = mask_and_offsets(parents, before, dtype, device)
        if kind == "no position ids":
            return mask, torch.arange(len(offsets))
        if kind == "every token sees all before":
            return torch.full_like(mask, torch.finfo(dtype).min).triu(1), offsets
        if kind == "zeros and ones":
            return (mask == 0).to(dtype), offsets
        return mask == 0, offsets  # "boolean": right for sdpa, silently wrong for eager

    return wrong


@pytest.mark.parametrize(
    "kind", ["no position ids", "every token sees all before", "zeros and ones"]
)
def test_a_planted_wrong_mask_is_caught(attention, kind, monkeypatch) -> None:
    monkeypatch.setattr(one_pass_module, "mask_and_offsets", planted(kind))
    assert largest_difference(attention) > 1e-2


@pytest.mark.usefixtures("own_way")
def test_a_boolean_mask_is_wrong_on_eager_alone(tiny_gpt2, monkeypatch) -> None:
    monkeypatch.setattr(one_pass_module, "mask_and_offsets", planted("boolean"))
    monkeypatch.setattr(
        one_pass_module,
        "with_cache",
        lambda mask, seen: torch.nn.functional.pad(mask, (seen, 0), value=True)[None, None],
    )
    before = tiny_gpt2.model.config._attn_implementation
    found = {}
    for kind in ("eager", "sdpa"):
        tiny_gpt2.model.set_attn_implementation(kind)
        found[kind] = largest_difference(dataclasses.replace(tiny_gpt2))
    tiny_gpt2.model.set_attn_implementation(before)
    assert found["sdpa"] < 1e-4
    assert found["eager"] > 1e-2


@pytest.mark.parametrize("path", [[], [0], [2], [0, 1, 3], [2, 5], [2, 4]])
def test_the_cache_keeps_the_accepted_path_and_nothing_else(attention, path) -> None:
    lm = attention
    ids = ids_of(lm, "a b c")
    state = State.start(lm, ids)
    one_pass(state, TOKENS, PARENTS)
    hidden = state.hidden
    keep(state, path)
    state.ids += [TOKENS[place] for place in path]
    assert state.seen == len(state.ids)
    assert torch.equal(state.hidden, hidden[[0, *(place + 1 for place in path)]])
    state.ids.append(2)
    alone = last_logits(lm, torch.tensor([state.ids]))
    assert torch.allclose(one_pass(state, [])[-1], alone, atol=2e-4)


@st.composite
def trees(draw):
    """Tokens of the tiny vocabulary and their parents."""
    tokens = draw(st.lists(st.integers(0, 13), max_size=9))
    return tokens, tuple(draw(st.integers(-1, i - 1)) for i in range(len(tokens)))


def test_any_tree_at_all_is_safe(tiny_gpt2, tiny_llama) -> None:
    accepted = []

    @settings(
        max_examples=40,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(tree=trees(), count=st.integers(1, 20), which=st.booleans())
    def holds(tree, count, which) -> None:
        lm = tiny_gpt2 if which else tiny_llama
        accepted.append(assert_same_as_greedy(lm, "a b", count, drafter=FixedTree(*tree), span=5))

    holds()
    assert sum(accepted) > 0


def test_a_tree_with_greedys_text_in_it_is_followed_to_its_end(lm) -> None:
    """Decoys before and beside the right branch change nothing but the cache's order."""
    greedy = run_greedy(lm, PROMPTS[0], 13).new_ids
    tokens = [greedy[1] - 1, greedy[0], greedy[1], greedy[1] - 1, greedy[2], greedy[3]]
    tree = FixedTree(tokens, (-1, -1, 1, 1, 2, 4))
    run = speculate(lm, PROMPTS[0], tree, 5)
    first = run.loops[0]
    assert (first.accepted, first.emitted) == (4, tuple(greedy[:5]))
    assert first.branch[:4] == tuple(greedy[:4])
    assert first.parents[:4] == (-1, 0, 1, 2)
    assert first.bonus == greedy[4]
    assert first.correction is None
    assert run.new_ids == greedy[:5]
    twelve = speculate(lm, PROMPTS[0], tree, 13)
    assert twelve.new_ids == greedy


@pytest.mark.usefixtures("own_way")
def test_a_model_that_takes_no_mask_is_refused(tiny_gpt2, refuses, monkeypatch) -> None:
    monkeypatch.setattr("medusa_lib.beyond.manners.MASKED", ("some other kind",))
    monkeypatch.setitem(tiny_gpt2.kept, "manner", ("untried", None))
    with refuses("lm", lm=tiny_gpt2):
        speculate(tiny_gpt2, "a b", FixedTree([2], (-1,)), 3)


@pytest.mark.parametrize(
    ("parents", "name"), [((-1,), "parents"), ((-1, 1), "parent of token 1"), ((-2, 0), "parent")]
)
def test_bad_parents_are_refused(tiny_gpt2, refuses, parents, name) -> None:
    with refuses(name):
        speculate(tiny_gpt2, "a b", FixedTree([2, 3], parents), 3)


def test_sampling_along_a_tree_is_plain_sampling() -> None:
    """Texts of three words from a tree of decoys are distributed as the target's own."""
    generator = torch.Generator().manual_seed(4)
    tree = Branch([1, 3, 0, 2, 3], parents=(-1, -1, 0, 0, 1))
    logits, counts, trials = TARGET[[0, *tree.tokens]], torch.zeros(4, 4, 4).double(), 2000
    for _ in range(trials):
        path, following = follow_by_sampling(logits, tree, 1.0, 0.95, generator)
        words = [*(tree.tokens[i] for i in path), following]
        while len(words) < 3:
            empty = Branch(parents=())
            words.append(follow_by_sampling(TARGET[[words[-1]]], empty, 1.0, 0.95, generator)[1])
        counts[tuple(words)] += 1
    assert chi_square_p(counts, trials * text_probs(3, 1.0, 0.95)) > 1e-3
