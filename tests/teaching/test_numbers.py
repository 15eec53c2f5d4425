import torch
from legends import labels
from panels import move, says

from medusa_lib.measure.numbers import PassGap
from medusa_lib.teaching.numbers import (
    NumbersPanel,
    margins_words,
    plot_differences,
    plot_margins,
)

GAP = PassGap(
    torch.tensor([0.0, 0.1, 0.5, 3.0]),
    torch.tensor([0.1, 0.1, 0.05, 0.1]),
    torch.tensor([True, False, False, False]),
)


def test_differences_have_a_log_axis_and_a_bound_for_each_type(ax) -> None:
    gaps = {"float32": {"one": GAP, "many": GAP}, "bfloat16": {"one": GAP, "many": GAP}}
    plot_differences(gaps, {"float32": 1e-3, "bfloat16": 1.0}, ax)
    assert ax.get_yscale() == "log"
    assert labels(ax) == ["one", "many", "bound of a near tie"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["float32", "bfloat16"]
    assert ax.lines[0].get_marker() != ax.lines[1].get_marker()


def test_margins_show_flips_and_the_bound(ax) -> None:
    plot_margins(GAP, 0.25, ax)
    same, flipped = ax.lines[:2]
    assert flipped.get_xdata().tolist() == [1]
    assert same.get_xdata().tolist() == [2, 3, 4]
    assert labels(ax) == ["same token", "flipped", "bound 0.25", "near ties"]
    assert ax.get_ylabel() == "margin of the best token"


def test_words_count_what_the_bound_misses() -> None:
    assert margins_words(GAP, 0.2) == (
        "about 3 of 6 positions are near ties; flips above the bound: 0"
    )
    assert margins_words(GAP, 0.0).endswith("flips above the bound: 1")


def test_the_panel_follows_its_controls_and_its_text_does_not() -> None:
    calm = PassGap(torch.ones(2) * 5, torch.zeros(2), torch.tensor([False, False]))
    panel = NumbersPanel({"float32": calm, "bfloat16": GAP})
    before = panel.says
    assert "bfloat16 and bound 1: about 4 of 6" in before
    move(panel, bound=0.0)
    assert says(panel).endswith("above the bound: 1")
    move(panel, numbers_of="float32")
    assert says(panel).endswith("above the bound: 0")
    assert panel.says == before
