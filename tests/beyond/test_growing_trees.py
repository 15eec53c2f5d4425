"""A tree that grows as it goes holds the likeliest guesses, and knows its limits."""

from __future__ import annotations

import pytest
import torch
from drafts import PROMPTS, assert_same_as_greedy
from heads import random_heads, state_after

from medusa_lib import speculate
from medusa_lib.beyond.growing_trees import GrowingDrafter, Growth, best_shares, draft_best_first
from medusa_lib.beyond.heads_files import shipped_heads
from medusa_lib.beyond.medusa_heads import KINDS
from medusa_lib.beyond.trees import path_to


def grown_by_search(heads, hidden, token, growth, depth):
    """All paths and their chances, by `forward` alone; then the likeliest that may join."""
    chances, said = {(): 1.0}, {(): token}
    for far in range(depth):
        for path in [path for path in chances if len(path) == far]:
            told = [said[path[:i]] for i in range(far + 1)]
            told += [0] * (heads.shape.count - len(told))
            scores = heads(hidden[None], torch.tensor([told]))[0, far]
            shares = torch.softmax(scores, -1)
            for rank, place in enumerate(scores.argsort(descending=True)[: growth.ranks]):
                chances[*path, rank] = chances[path] * float(shares[place].detach())
                said[*path, rank] = int(heads.vocab[place])

    def may(path):
        opened = all(chances[path[:i]] >= growth.least_open for i in range(1, len(path)))
        return path and opened and chances[path] >= growth.least

    likely = sorted(filter(may, chances), key=lambda path: -chances[path])[: growth.most]
    return [[said[path[:i]] for i in range(1, len(path) + 1)] for path in likely]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "growth",
    [Growth(9, 3, 2, 0.0, 0.0), Growth(4, 2, 3, 0.01, 0.05), Growth(9, 3, 2, 0.02, 0.2)],
)
def test_a_growing_tree_holds_the_likeliest_guesses(tiny_gpt2, kind, growth) -> None:
    heads, (state, _) = random_heads(tiny_gpt2, kind), state_after(tiny_gpt2)
    hidden, token = state.hidden[-1].clone(), state.ids[-1]
    for each in (heads, heads.fast):
        tokens, parents = draft_best_first(each, hidden, token, growth, growth.depth)
        paths = [[tokens[i] for i in path_to(parents, place)] for place in range(len(tokens))]
        expected = grown_by_search(heads, hidden, token, growth, growth.depth)
        assert sorted(paths) == sorted(expected)


def test_a_growing_tree_is_safe_and_refuses_bad_limits(tiny_gpt2, tiny_llama, refuses) -> None:
    for lm in (tiny_gpt2, tiny_llama):
        for kind in KINDS:
            drafter = GrowingDrafter(random_heads(lm, kind), Growth(9, 3, 3, 0.0, 0.0))
            for span in (None, 1, 2):
                assert_same_as_greedy(lm, "abcab", 20, drafter=drafter, span=span)
    with refuses("depth", 8):
        GrowingDrafter(random_heads(tiny_gpt2, "medusa"), Growth())
    for field, value in (("most", 0), ("depth", 0), ("ranks", 0), ("least", 2), ("least_open", -1)):
        with refuses(field, value):
            Growth(**{field: value})


def test_the_shipped_heads_cost_one_pass_a_loop_and_draft_without_any(lm, count_passes) -> None:
    with count_passes(lm) as passes:
        run = speculate(lm, PROMPTS[0], "heads_tree", 32)
    assert len(passes) == run.model_passes == run.verify_passes
    assert run.draft_passes == 0
    assert len(run.loops) < 24
    assert run.loops[0].branch == ()
    assert any(record.parents is not None for record in run.loops), "no tree had two branches"
    assert max(len(record.branch) for record in run.loops) <= Growth().most


def test_best_shares_are_the_likeliest_and_stop_where_too_little_is_left() -> None:
    scores = torch.tensor([0.5, 3.0, 2.0, -1.0]).numpy()
    shares = torch.softmax(torch.tensor(scores), -1)
    assert [place for place, _ in best_shares(scores, 3)] == [1, 2, 0]
    for place, share in best_shares(scores, 9, chance=0.5):
        assert share == pytest.approx(0.5 * float(shares[place]))
    assert best_shares(scores, 4, 1.0, least=0.3) == best_shares(scores, 1)
    assert best_shares(scores, 4, 0.1, least=0.3) == []


def test_a_growing_drafter_refuses_what_is_not_a_growth_or_heads(lm, refuses) -> None:
    with refuses("growth"):
        GrowingDrafter(shipped_heads(lm)[0], 7)
    with refuses("heads"):
        GrowingDrafter(None)
