"""A file of grids: read, refused with a hint, counted, estimated."""

from __future__ import annotations

import pytest
from tree import ROOT

from medusa_lib.measure.conditions import PROMPTS, read_prompts
from medusa_lib.sweep.grid import DECODERS
from medusa_lib.sweep.models import identity_of
from medusa_lib.sweep.plan import SweepPlan, estimate, paragraphs, read_grids


@pytest.fixture
def grids(tmp_path):
    """A function: TOML → its grids."""

    def read(text, texts=None):
        path = tmp_path / "grid.toml"
        path.write_text(text, encoding="utf-8")
        return read_grids(path, texts)

    return read


def test_axes_are_lists_values_and_ranges(grids) -> None:
    (grid,) = grids(
        'prompt = ["a", "b"]\ndrafter = "none"\ntop_p = [0.5, 1]\nspan = ["own", 3]\n'
        "seed = { first = 4, count = 3 }"
    )
    assert grid.prompt == ("a", "b")
    assert (grid.drafter, grid.top_p, grid.span) == (("none",), (0.5, 1.0), (None, 3))
    assert grid.seed == (4, 5, 6)
    assert len(grid) == 2 * 2 * 2 * 3


def test_several_grids_share_what_stands_above_them(grids) -> None:
    first, second = grids(
        'new_tokens = 9\nprompt = "a"\n[[grid]]\nseed = 1\n[[grid]]\nprompt = "b"\nspan = 2'
    )
    assert (first.prompt, first.new_tokens, first.seed) == (("a",), (9,), (1,))
    assert (second.prompt, second.new_tokens, second.span) == (("b",), (9,), (2,))


def test_prompts_come_from_the_shipped_ones_a_file_or_texts(grids, tmp_path) -> None:
    shipped = tuple(read_prompts(PROMPTS))
    assert grids("seed = 1")[0].prompt == shipped
    assert grids("prompt = { shipped = 2 }")[0].prompt == shipped[:2]
    (tmp_path / "mine.txt").write_text("one\n\ntwo", encoding="utf-8")
    assert grids('prompt = { file = "mine.txt" }')[0].prompt == ("one", "two")
    asked = "prompt = { texts = 3, words = 2 }"
    assert grids(asked)[0].prompt == shipped[:3], "without a folder"
    books = tmp_path / "books"
    books.mkdir()
    for name in "ba":
        text = "\n\n".join(f"{name}{i} is\nlong" for i in range(6)) + "\n\nshort"
        (books / f"{name}.txt").write_text(text, encoding="utf-8")
    assert grids(asked, books)[0].prompt == ("a0 is", "a4 is", "b2 is")
    with pytest.raises(ValueError, match=r"with 13 paragraphs of 2 words, got 12 in"):
        paragraphs(books, 13, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("temprature = 0.5", "axis must be one of .*, got 'temprature'; did you mean temperature"),
        ("seed = { first = 1, cuont = 2 }", "key of seed must .*, got 'cuont'; did you mean count"),
        ("prompt = { flie = 'a' }", "key of prompt must be .*, got 'flie'; did you mean file"),
        ("temperature = -1", "temperature must be a finite number >= 0, got -1"),
        ("span = [2, 0]", "span must be an int >= 1, got 0"),
        ("seed = { count = 0 }", "count of seed must be an int >= 1, got 0"),
        ("prompt = { shipped = 0 }", "shipped of prompt must be an int >= 1, got 0"),
        ("grid = 3", r"grid must be tables \[\[grid\]\], got 3"),
        ("seed = ", "grid.toml must be a TOML file, got: "),
    ],
)
def test_a_bad_file_is_refused_by_name_and_range(grids, text, said) -> None:
    with pytest.raises(ValueError, match=said):
        grids(text)


@pytest.fixture
def plan(grids, tiny_gpt2, tiny_llama):
    lms = {"a": tiny_gpt2, "b": tiny_llama}
    text = 'new_tokens = 4\n[[grid]]\nmodel = ["a", "b"]\nprompt = ["abc", "def"]\n'
    read = grids(text + '[[grid]]\nmodel = "a"\nprompt = "gh"\nseed = [1, 2, 3]')
    return SweepPlan.of(read, lms.__getitem__), lms


def test_a_plan_is_the_tasks_of_all_grids(plan, tiny_gpt2) -> None:
    plan, _ = plan
    tasks = list(plan.tasks())
    assert len(tasks) == len(plan) == 4 + 3
    assert tasks[0].asked.identity == identity_of(tiny_gpt2)
    assert plan.spread(99) == tasks
    assert plan.spread(3) == [tasks[1], tasks[3], tasks[5]]


def test_an_estimate_is_made_of_a_few_runs(plan) -> None:
    plan, lms = plan
    assert 0 < estimate(plan, lms.__getitem__, 3) < 60


def test_the_recipe_of_a_million_tokens_can_be_read() -> None:
    grids = read_grids(ROOT / "medusa_lib/sweep/million.toml")
    assert {grid.temperature for grid in grids} == {(0.0,)}
    families = {name.rpartition("-")[0] for grid in grids for name in grid.model}
    assert families == {"", "random-gpt2", "random-llama"}
    shipped = {name for grid in grids if "bookworm" in grid.model for name in grid.drafter}
    assert shipped == set(DECODERS) - {"coins"}, "every drafter"
