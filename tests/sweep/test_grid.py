"""Grids: checked axes, every combination once, keys that hold for good."""

from __future__ import annotations

import collections
import time
import tracemalloc
from itertools import islice

import bad_values as bad
import pytest

from medusa_lib.sweep.grid import DECODERS, Grid, Point


def named(name: str) -> str:
    return f"digest of {name}"


GRID = Grid(["a", "b"], ["x", "y"], 5, ["none", "ngram"], (0, 0.5), 1.0, [None, 2], range(3))


def test_every_combination_is_a_point_and_those_of_a_prompt_follow_each_other() -> None:
    points = list(GRID.points(named))
    assert len(points) == len(set(points)) == len(GRID) == 2 * 2 * 2 * 2 * 2 * 3
    assert points[0] == Point("x", "digest of x", "a", 5, "none", 0.0, 1.0, None, 0)
    texts = [(point.model, point.prompt) for point in points]
    assert texts == sorted(texts)
    assert [GRID.point_at(i, named) for i in range(len(GRID))] == points


def test_a_key_is_the_same_for_good_and_tells_all_knobs_apart() -> None:
    points = list(GRID.points(named))
    assert len({point.key for point in points}) == len(points)
    assert points[0].key == "cac7bc34f8e3808a0c0f9b76ebd97777"
    assert points[0]._replace(model="the same by another name").key == points[0].key
    assert points[0]._replace(identity="other weights").key != points[0].key


def test_one_value_is_an_axis_and_equal_numbers_are_the_same() -> None:
    one = Grid("a", temperature=1, seed=3)
    assert (len(one), one.temperature, one.prompt) == (1, (1.0,), ("a",))
    assert one == Grid(["a"], temperature=[1.0], seed=[3])
    assert Grid("a", span="own").span == (None,)


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        ("temperature", bad.NO_TEMPERATURE),
        ("top_p", bad.NO_TOP_P),
        ("span", [0, -1, 1.5, True, "3"]),
        ("seed", [None, -1, 2**63, 1.5, True]),
        ("new_tokens", bad.NO_POSITIVE),
        ("drafter", ["n-gram", 7, None]),
        ("prompt", ["", " ", 7]),
        ("model", ["", 7]),
    ],
)
def test_a_value_out_of_range_is_named(refuses, axis, values) -> None:
    for value in values:
        with refuses(axis, value):
            Grid(**{"prompt": ["a"], axis: [value]})


def test_no_values_or_one_twice_are_refused() -> None:
    with pytest.raises(ValueError, match="seed must have each value once, got 3 twice"):
        Grid("a", seed=[3, 4, 3])
    with pytest.raises(ValueError, match="span must have at least 1 value"):
        Grid("a", span=[])
    with pytest.raises(ValueError, match="drafter must be one of .*heads_tree.*, got 'tree'"):
        Grid("a", drafter="tree")


def test_a_million_runs_are_planned_in_seconds_and_little_memory() -> None:
    prompts = [f"prompt {i}" for i in range(100)]
    grid = Grid(prompts, drafter=DECODERS[:10], temperature=[0, 0.5, 1, 2, 3], seed=range(200))
    assert len(grid) == 1_000_000
    assert grid.point_at(999_999, named).seed == 199
    some = 20_000  # a fiftieth, since watching the memory is slow
    tracemalloc.start()
    collections.deque(islice(grid.points(named), some), maxlen=0)
    assert tracemalloc.get_traced_memory()[1] < 1e5, "points were made before they were asked for"
    tracemalloc.stop()
    began = time.process_time()
    assert len({point.key for point in islice(grid.points(named), some)}) == some
    assert 50 * (time.process_time() - began) < 60
