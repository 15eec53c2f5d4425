"""The family's pictures, the table behind them, the grid of guesses, and the panel."""

from __future__ import annotations

import re

import matplotlib.pyplot as plt
import pytest
from panels import EVIL, PROMPT, Reader, alert, move, says

from medusa_lib.beyond.family import jacobi, settled
from medusa_lib.teaching.family import (
    NODES,
    RELATIVES,
    JacobiPanel,
    family_pictures,
    jacobi_words,
    plot_jacobi,
    plot_reached,
    plot_relative,
)


def test_every_relative_has_its_source_and_is_drawn_once() -> None:
    assert len({one.name for one in RELATIVES}) == len(RELATIVES) == 9
    for one in RELATIVES:
        assert re.fullmatch(r"[\w ]+ et al\. 20\d\d, arXiv 2\d{3}\.\d{5}", one.source)
        assert re.search(r"\d×", one.reports)
        assert one.shape in (*NODES, "window")
    figure = family_pictures()
    assert [ax.get_title() for ax in figure.axes] == [one.name for one in RELATIVES]
    plt.close(figure)


@pytest.mark.parametrize("relative", RELATIVES, ids=lambda one: one.name)
def test_a_picture_says_what_its_row_says(relative) -> None:
    ax = plot_relative(relative)
    words = [text.get_text() for text in ax.texts]
    assert [word for word in words if word.startswith("layer ")] == [
        f"layer {n}" for n in (1, 2, 3, 4)
    ]
    assert ("head 1" in words) == ("heads" in relative.adds)
    assert ("pool" in words) == (relative.shape == "window")
    dashed = [patch for patch in ax.patches if patch.get_linestyle() == "--"]
    assert len(dashed) == (4 - len(relative.runs) if relative.runs else 0)
    plt.close(ax.figure)


def test_the_grid_is_green_from_the_pass_on_in_which_a_place_settled() -> None:
    guesses = [["a", "a"], ["b", "x"], ["b", "c"], ["b", "c"]]
    ax = plot_jacobi(guesses, [1, 2])
    right = {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3)}
    coloured = {
        (*map(int, patch.get_xy()),) for patch in ax.patches if patch.get_facecolor()[0] < 0.9
    }
    assert coloured == right
    assert [text.get_text() for text in ax.texts] == ["a", "a", "b", "x", "b", "c", "b", "c"]
    plt.close(ax.figure)


def test_the_bars_carry_their_figures() -> None:
    ax = plot_reached({"one": (0.5, 1.5, 4.0), "none": (float("nan"), 1.0, 1.0)})
    said = [text.get_text() for text in ax.texts]
    assert said == [
        "τ 1.50   α 0.50   4.0 positions a token",
        "τ 1.00   α –   1.0 positions a token",
    ]
    assert [bar.get_width() for bar in ax.patches] == [1.5, 1.0]
    plt.close(ax.figure)


def test_the_panel_shows_the_guesses_up_to_a_pass(tiny_gpt2) -> None:
    panel = JacobiPanel(tiny_gpt2, "abc", 5)
    assert panel.says.startswith("Panel: prompt, sliders")
    assert panel._repr_mimebundle_()["text/plain"] == panel.says
    guesses = jacobi(tiny_gpt2, "abc", 5)
    assert says(panel) == jacobi_words(guesses)
    cells = []
    for shown in (0, 2):
        move(panel, passes=shown)
        cells.append(panel.view.value.count("<path"))
        assert 'role="img"' in panel.view.value
    assert cells[0] < cells[1]
    before = panel.view.value
    move(panel, prompt="j.", count=3)
    assert panel.view.value != before
    assert says(panel).startswith("3 places")


def test_the_panel_escapes_and_complains(tiny_gpt2) -> None:
    panel = JacobiPanel(tiny_gpt2, "abc", 4)
    move(panel, prompt=EVIL[:20])
    assert "script" not in Reader(panel.view.value).tags
    move(panel, prompt="  ")
    assert "prompt must be" in alert(panel)
    move(panel, prompt="abc")
    assert not alert(panel)


def test_a_bad_prompt_is_refused_at_once(tiny_gpt2, refuses) -> None:
    with refuses("prompt", "", tiny_gpt2):
        JacobiPanel(tiny_gpt2, "")


def test_words_of_a_run(lm) -> None:
    guesses = jacobi(lm, PROMPT, 6)
    words = jacobi_words(guesses)
    assert f"settled in pass {max(settled(guesses))}" in words
    assert f"pass {len(guesses) - 1} changed nothing" in words
