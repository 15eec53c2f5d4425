import html
import re

import pytest
import torch
from drafts import FixedTree
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from panels import EVIL, PROMPT, Reader, alert, says, settle
from tiny_models import replaced_eos

from medusa_lib import run_greedy
from medusa_lib.beyond.heads_files import shipped_heads
from medusa_lib.beyond.heads_training import openings
from medusa_lib.beyond.masks import attends
from medusa_lib.beyond.medusa_heads import HeadsDrafter, HeadsShape, new_heads
from medusa_lib.beyond.speculative import speculate
from medusa_lib.beyond.trees import grow_tree, leaves, tree_depths
from medusa_lib.steps.device import make_generator
from medusa_lib.teaching.shared.style import visible
from medusa_lib.teaching.tree_attention import (
    MOST_NODES,
    TreePanel,
    grown_drafter,
    guess_ranks,
    mask_size,
    plot_budgets,
    plot_tree,
    plot_tree_mask,
    tree_rows_of,
    tree_size,
    tree_view,
)

WORDS, PARENTS = ["yes", "and", "he", "no", "he"], (-1, 0, 0, -1, 3)


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


@pytest.fixture(scope="module")
def heads(lm):
    """Heads that only repeat what the model says next, for its first 300 tokens."""
    width = lm.model.get_input_embeddings().weight.shape[1]
    return new_heads(lm, HeadsShape(count=3, words=300, width=width), torch.arange(300)).eval()


def chance(node):
    return 0.6 ** (len(node) + sum(node))


@pytest.fixture
def panel(lm, heads):
    return TreePanel(lm, chance, PROMPT, nodes=6, max_new_tokens=16, heads=heads)


def greedy_tree(lm, prompt=PROMPT):
    """A drafter of greedy's first tokens with decoys, and those tokens."""
    right = run_greedy(lm, prompt, 4).new_ids
    wrong = [(token + 1) % lm.vocab_size for token in right]
    tokens = [wrong[0], right[0], right[1], wrong[1], right[2]]
    return FixedTree(tokens, (-1, -1, 1, 1, 2)), right


def nodes_of(ax):
    """What kind of box stands where, and its text: (kind, x, y) → text."""
    return {
        (text.get_gid().split("-")[0], *text.get_position()): text.get_text() for text in ax.texts
    }


def test_a_tree_is_drawn_as_given(ax) -> None:
    plot_tree(WORDS, PARENTS, [0, 2], "said", ("ran", "bonus"), ax)
    assert nodes_of(ax) == {
        ("text", 0, 0): "said",
        ("accepted", 1, 0): "✓ 0 yes",
        ("drafted", 2, 0): "1 and",
        ("accepted", 2, 1): "✓ 2 he",
        ("bonus", 3, 1): "+ ran",
        ("drafted", 1, 2): "3 no",
        ("drafted", 2, 2): "4 he",
    }
    joins = [(line.get_xdata()[[0, -1]], line.get_ydata()[[0, -1]]) for line in ax.lines]
    ends = [tuple(zip(x.tolist(), y.tolist(), strict=True)) for x, y in joins_as_arrays(joins)]
    assert ends == [
        ((0, 0), (1, 0)),
        ((1, 0), (2, 0)),
        ((1, 0), (2, 1)),
        ((0, 0), (1, 2)),
        ((1, 2), (2, 2)),
        ((2, 1), (3, 1)),
    ]
    widths = [line.get_linewidth() for line in ax.lines]
    assert min(widths[0], widths[2]) > max(widths[1], *widths[3:])
    assert ax.get_xlabel()


def joins_as_arrays(joins):
    return [tuple(torch.tensor(values) for values in pair) for pair in joins]


@settings(max_examples=50, deadline=None, database=None, derandomize=True)
@given(st.data())
def test_no_two_nodes_are_drawn_in_one_place(data) -> None:
    count = data.draw(st.integers(0, 12))
    parents = tuple(data.draw(st.integers(-1, i - 1)) for i in range(count))
    rows = tree_rows_of(parents)
    places = set(zip(tree_depths(parents), rows, strict=True))
    assert len(places) == count
    assert max(rows, default=-1) == len(leaves(parents)) - 1
    for token, parent in enumerate(parents):
        assert parent < 0 or rows[parent] <= rows[token]


def test_trees_without_a_node_and_bad_trees(ax, refuses) -> None:
    plot_tree([], (), root=" said", following=(" then", "greedy"), ax=ax)
    assert list(nodes_of(ax).values()) == ["·said", "·then"]
    plot_tree_mask([], (), ax=ax.figure.add_subplot())
    with refuses("parents"):
        plot_tree(["a"], (), ax=ax)
    with refuses("parent of token 0"):
        plot_tree_mask(["a"], (0,), ax=ax)
    assert tree_size(()) < tree_size(PARENTS)
    assert mask_size(0) < mask_size(5)


def test_the_mask_is_drawn_as_given(ax) -> None:
    plot_tree_mask(WORDS, PARENTS, [0, 2], "said", ax)
    looks = attends(PARENTS)
    others, accepted = (
        {(int(row), int(column)) for column, row in spots.get_offsets()} for spots in ax.collections
    )
    assert others | accepted == {tuple(spot) for spot in looks.nonzero().tolist()}
    assert {row for row, _ in accepted} == {1, 3}
    assert others.isdisjoint(accepted)
    squares, dots = (spots.get_paths()[0].vertices.shape for spots in ax.collections[::-1])
    assert squares != dots, "told apart by shape, too"
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "said", "✓ 0 yes", "1 and", "✓ 2 he", "3 no", "4 he",
    ]  # fmt: skip
    assert [label.get_weight() == "bold" for label in ax.get_yticklabels()] == [
        False, True, False, True, False, False,
    ]  # fmt: skip
    assert ax.get_xlabel()
    assert ax.get_ylabel()


def test_budgets_are_drawn_and_the_best_is_marked(ax) -> None:
    lines = {"a": {1: 1.5, 4: 2.5, 16: 2.0}, "b": {1: 1.0, 16: 3.0}}
    plot_budgets(lines, "τ", ax)
    drawn = {line.get_label(): dict(line.get_xydata().tolist()) for line in ax.lines}
    assert drawn == lines
    assert len({(line.get_marker(), line.get_linestyle()) for line in ax.lines}) == 2
    rings = [ring.get_offsets().tolist() for ring in ax.collections]
    assert rings == [[[4, 2.5]], [[16, 3.0]]]
    assert [text.get_text() for text in ax.texts] == ["a, best: 4", "b, best: 16"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("nodes in the tree", "τ")
    assert ax.get_ylim()[0] == 0
    alone = plot_budgets({"a": {1: 1.0}}, "τ", ax=ax.figure.add_subplot())
    assert [text.get_text() for text in alone.texts] == ["best: 1"]


def test_a_view_tells_a_loop(lm) -> None:
    drafter, right = greedy_tree(lm)
    run = speculate(lm, PROMPT, drafter, 4)
    view = tree_view(lm, run, 0)
    texts = [lm.tokenizer.decode([token]) for token in right]
    assert view.tokens[:3] == texts[:3]
    assert (view.parents[:3], view.path, view.accepted) == ((-1, 0, 1), (0, 1, 2), 3)
    assert view.following == (texts[3], "bonus")
    assert view.root == " a"
    assert view.words == (
        "loop 0, of 1 loops: 5 drafts in 3 branches, one pass; 3 accepted, then one bonus. "
        "The run: τ = 4.00 (tokens emitted ÷ loops)"
    )


def test_views_of_a_chain_of_no_draft_and_of_the_end(lm, heads) -> None:
    plain = tree_view(lm, speculate(lm, PROMPT, None, 3), 1)
    assert (plain.tokens, plain.parents, plain.path) == ([], (), ())
    assert plain.following[1] == "greedy"
    assert plain.words.startswith("loop 1, of 3 loops: no draft, one pass. The run: τ = 1.00")
    run = speculate(lm, PROMPT, HeadsDrafter(heads, [(0,), (0, 0)]), 6)
    chain = tree_view(lm, run, 1)
    assert (run.loops[1].parents, chain.parents) == (None, (-1, 0))
    drafter, right = greedy_tree(lm)
    ended = replaced_eos(lm, right[2])
    run = speculate(ended, PROMPT, drafter, 9)
    assert run.stop_reason == "eos"
    view = tree_view(ended, run, len(run.loops) - 1)
    assert view.following is None
    assert "accepted, then EOS." in view.words
    tied = speculate(lm, PROMPT, greedy_tree(lm)[0], 4, tie_bound=1e6)
    assert ", one pass, 4 more for near ties; 3 accepted" in tree_view(lm, tied, 0).words


def test_each_loop_of_a_run_is_told_as_it_was(lm, heads) -> None:
    run = speculate(lm, PROMPT, grown_drafter(heads, chance, 8), 20)
    written = []
    for record in run.loops:
        view = tree_view(lm, run, record.index)
        assert len(view.tokens) == len(view.parents) == len(record.branch)
        written += view.tokens[: view.accepted] + [view.following[0]]
    assert written == [lm.tokenizer.decode([token]) for token in run.new_ids]


def test_a_grown_drafter_has_the_tree_of_the_greatest_chances(heads) -> None:
    for nodes, depth in ((1, None), (9, 2), (9, 3)):
        drafter = grown_drafter(heads, chance, nodes, depth)
        wanted = grow_tree(chance, nodes, depth or 3, 8)
        assert sorted(drafter.nodes) == sorted(wanted)
        assert drafter.span <= (depth or 3)
    assert len(grown_drafter(heads, chance, 99, 1).nodes) == 8
    with pytest.raises(ValueError, match="nodes must be at least one"):
        grown_drafter(heads, chance, 0)


def test_guesses_are_counted_on_what_was_drawn(lm) -> None:
    heads, _ = shipped_heads(lm)
    starts = openings(lm, 8, 12, make_generator(7))
    cold, hot = (guess_ranks(lm, heads, starts, temperature) for temperature in (0.0, 1.5))
    assert cold.shape[1] == hot.shape[1] == heads.shape.count
    sure, unsure = ((ranks == 0).float().mean() for ranks in (cold, hot))
    assert sure > 2 * unsure
    assert torch.equal(cold, guess_ranks(lm, heads, starts, 0.0, seed=8))


def test_panel_shows_one_loop_of_the_run(lm, heads, panel, capsys) -> None:
    run = speculate(lm, PROMPT, grown_drafter(heads, chance, 6), 16)
    best = max(record.accepted for record in run.loops)
    assert run.loops[panel.loop.value].accepted == best
    words = tree_view(lm, run, panel.loop.value).words
    assert says(panel) == words
    assert panel.says.endswith(f"With 3 heads and 6 nodes: {words}")
    assert panel._repr_mimebundle_()["text/plain"] == panel.says
    assert panel.view.value.count('<svg role="img" aria-label="') == 2
    assert html.escape(words) in re.search(r'aria-label="(a tree.*?)"', panel.view.value)[1]
    ids = re.findall(r'\sid="(.*?)"', panel.view.value)
    assert len(ids) == len(set(ids))
    assert {"medusa-panel", "TreePanel"} <= set(panel._dom_classes)
    assert all(c.description for c in (panel.prompt, panel.depth, panel.nodes, panel.loop))
    assert capsys.readouterr().out == ""


def test_the_picture_has_every_node_and_marks_the_accepted(panel, lm) -> None:
    for loop in range(panel.loop.max + 1):
        panel.loop.value = loop
        view = panel.current()
        drawn = [html.unescape(text) for text in re.findall(r">([^<]*)</text>", panel.view.value)]
        for token, text in enumerate(view.tokens):
            sign = "✓ " if token in view.path else ""
            times = drawn.count(f"{sign}{token} {visible(text)}")
            assert times == (2 if sign else 3)  # tree, row of the mask; its columns have no ✓


def test_the_loop_slider_costs_no_pass(lm, panel, count_passes) -> None:
    before = panel.says
    with count_passes(lm) as passes:
        for loop in range(panel.loop.max + 1):
            panel.loop.value = loop
            assert says(panel).startswith(f"loop {loop}, of {panel.loop.max + 1} loops: ")
    assert not passes
    assert panel._repr_mimebundle_()["text/plain"] == before


def test_moved_sliders_run_again(lm, heads, panel) -> None:
    panel.loop.value = panel.loop.max
    for name, value in {"depth": 1, "nodes": 5, "temperature": 0.5}.items():
        getattr(panel, name).value = value
        settle(panel)
    drafter = grown_drafter(heads, chance, 5, 1)
    run = speculate(lm, PROMPT, drafter, 16, temperature=0.5, seed=7)
    assert panel.result.new_ids == run.new_ids
    assert panel.loop.max == len(run.loops) - 1
    assert says(panel) == tree_view(lm, run, panel.loop.value).words
    assert not panel.message.value
    assert (panel.nodes.min, panel.nodes.max) == (1, MOST_NODES)
    assert (panel.depth.min, panel.depth.max) == (1, 3)


def test_bad_text_is_told_and_html_is_text(lm, heads, panel) -> None:
    with pytest.raises(ValueError, match="visible character"):
        TreePanel(lm, chance, " ", heads=heads)
    before = panel.view.value
    for bad, said in (("", "non-empty"), ("word " * 600, "at most")):
        panel.prompt.value = bad
        settle(panel)
        assert said in alert(panel)
        assert panel.view.value == before
    panel.prompt.value = EVIL
    settle(panel)
    assert not panel.message.value
    assert not Reader(panel.view.value).tags & {"script", "img"}


def test_a_failing_chance_is_a_message(panel) -> None:
    def broken(node):
        raise KeyError("no such node")

    panel.chance = broken
    panel.nodes.value = 9
    settle(panel)
    assert "no such node" in alert(panel)


def test_the_shipped_heads_are_the_panels_own(lm) -> None:
    panel = TreePanel(lm, chance, PROMPT, max_new_tokens=4, loop=0)
    assert panel.heads is shipped_heads(lm)[0]
    assert panel.depth.max == shipped_heads(lm)[0].shape.count
    assert panel.loop.value == 0
