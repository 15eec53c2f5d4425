"""Trees as plain data: paths, merging, pruning, following, and the greedy construction."""

from __future__ import annotations

import pytest
from drafts import PARENTS, TOKENS
from hypothesis import given, settings
from hypothesis import strategies as st

from medusa_lib.beyond.trees import (
    check_parents,
    expected_length,
    first_on,
    follow,
    grow_tree,
    leaves,
    merge_branches,
    node_chance,
    parents_of,
    path_to,
    prune_tree,
    tree_depths,
)


def test_worked_examples() -> None:
    assert tree_depths(PARENTS) == (1, 2, 1, 3, 2, 2)
    assert path_to(PARENTS, 3) == [0, 1, 3]
    assert leaves(PARENTS) == [3, 4, 5]
    assert first_on(PARENTS, [2]) == [2, 4, 5, 0, 1, 3]
    branches = [[3, 4, 6], [5, 4], [5, 7], [3, 4]]
    assert merge_branches(branches) == ([3, 4, 6, 5, 4, 7], (-1, 0, 1, -1, 3, 3))
    assert merge_branches([]) == ([], ())


@settings(max_examples=50, deadline=None, database=None, derandomize=True)
@given(branches=st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=5))
def test_merging_keeps_every_branch_once(branches) -> None:
    tokens, parents = merge_branches(branches)
    check_parents(parents, len(tokens))
    paths = [tuple(tokens[i] for i in path_to(parents, place)) for place in range(len(tokens))]
    assert len(set(paths)) == len(paths)
    starts = {tuple(branch[:n]) for branch in branches for n in range(1, len(branch) + 1)}
    assert set(paths) == starts


def test_pruning_drops_what_is_too_deep_or_follows_eos() -> None:
    nine, four = (9).__eq__, (4).__eq__
    assert prune_tree(TOKENS, PARENTS, 2, nine) == ([3, 4, 5, 4, 7], (-1, 0, -1, 2, 2))
    assert prune_tree(TOKENS, PARENTS, 9, four) == ([3, 4, 5, 4, 7], (-1, 0, -1, 2, 2))
    assert prune_tree(TOKENS, PARENTS, 0, nine) == ([], ())


def test_following_stops_where_the_tree_lacks_the_choice() -> None:
    script = {(): 5, (2,): 7, (2, 5): 1}
    assert follow(lambda path: script[tuple(path)], TOKENS, PARENTS) == ([2, 5], 1)
    assert follow(lambda path: 8, TOKENS, PARENTS) == ([], 8)
    assert follow(lambda path: 8, [8, 8], (-1, -1)) == ([0], 8)


def test_the_greedy_construction_by_hand() -> None:
    accuracy = [[0.5, 0.3], [0.4, 0.1]]
    nodes = grow_tree(lambda node: node_chance(node, accuracy), 4, depth=2, ranks=2)
    assert nodes == [(0,), (1,), (0, 0), (1, 0)]
    assert parents_of(nodes) == (-1, -1, 0, 1)
    chances = {node: node_chance(node, accuracy) for node in nodes}
    assert expected_length(nodes, chances) == pytest.approx(1 + 0.5 + 0.3 + 0.2 + 0.12)
    assert len(grow_tree(lambda node: node_chance(node, accuracy), 99, 2, 2)) == 6


def test_true_is_no_parent(refuses) -> None:
    with refuses("parent of token 0", True):
        check_parents([True], 1)
