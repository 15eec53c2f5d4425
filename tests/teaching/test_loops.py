import re

import numpy as np
import pytest
from drawing import GREEDY, RUN, texts, ticks
from loops_by_hand import LOOPS
from panels import PROMPT, alert, move, says, settle, status

from medusa_lib import medusa_tiny, run_greedy
from medusa_lib.teaching.loops import (
    LoopsPanel,
    loops_words,
    plot_heatmap,
    plot_tokens_against_passes,
)


@pytest.mark.parametrize(("span", "temperature", "top_p"), [(1, 0.0, 0.95), (5, 1.0, 0.8)])
def test_loops_panel_shows_the_run_of_its_sliders(lm, span, temperature, top_p):
    panel = LoopsPanel(lm, PROMPT, max_new_tokens=10)
    move(panel, span=span, temperature=temperature, top_p=top_p)
    run = medusa_tiny(lm, PROMPT, 10, span=span, temperature=temperature, top_p=top_p)
    assert panel.result.new_ids == run.new_ids == run_greedy(lm, PROMPT, 10).new_ids
    assert says(panel) == panel.words(run)
    for number in (run.model_passes, run.draft_passes, run.verify_passes, len(run.new_ids)):
        assert str(number) in says(panel)
    bars = re.findall(r'id="[^"]*-accepted-(\d+)"', panel.view.value)
    assert [int(n) for n in bars] == [record.index for record in run.loops]
    assert panel.progress.value == len(run.new_ids)
    assert panel.cancel.disabled
    assert not panel.message.value


def test_loops_panel_can_be_cancelled_and_used_again(lm, hold):
    hold.go.set()
    panel = LoopsPanel(lm, PROMPT, max_new_tokens=12)
    before = panel.view.value
    hold.go.clear(), hold.reached.clear()
    panel.span.value = 1
    assert hold.reached.wait(30)
    assert not panel.cancel.disabled
    panel.cancel.click()
    hold.go.set()
    settle(panel)
    assert status(panel) == "cancelled after 1 tokens; move a slider to run again"
    assert not alert(panel)
    assert panel.view.value == before
    assert panel.cancel.disabled
    move(panel, span=2)
    assert not panel.message.value
    run = medusa_tiny(lm, PROMPT, 12, span=2)
    assert says(panel) == panel.words(run)


def test_a_newer_value_overtakes_the_loops_that_run(lm, hold):
    hold.go.set()
    panel = LoopsPanel(lm, PROMPT, max_new_tokens=12)
    messages = []
    panel.message.observe(lambda change: messages.append(change["new"]), names="value")
    hold.go.clear(), hold.reached.clear()
    panel.span.value = 1
    assert hold.reached.wait(30)
    panel.span.value = 5
    panel.temperature.value = 0.5
    hold.go.set()
    settle(panel)
    run = medusa_tiny(lm, PROMPT, 12, span=5, temperature=0.5)
    assert panel.result.model_passes == run.model_passes
    assert says(panel) == panel.words(run)
    assert not any(messages), "a run that is overtaken says nothing"


def test_loops_panel_shows_a_run_without_a_token(scripted_lm):
    panel = LoopsPanel(scripted_lm([]), "a", max_new_tokens=5)
    assert says(panel).startswith("α = ")
    assert "0 tokens" in says(panel)
    assert not panel.message.value


def test_tokens_against_passes_are_running_sums(ax):
    plot_tokens_against_passes({"greedy": GREEDY, "Medusa-tiny": RUN}, ax)
    greedy, medusa = ax.lines
    assert [line.get_label() for line in ax.lines] == ["greedy", "Medusa-tiny"]
    np.testing.assert_array_equal(greedy.get_xydata(), [[0, 0], [1, 1], [2, 2]])
    np.testing.assert_array_equal(medusa.get_xydata(), [[0, 0], [6, 3], [10, 4], [16, 7]])
    assert medusa.get_xdata()[-1] == RUN.model_passes
    looks = {(line.get_color(), line.get_marker()) for line in ax.lines}
    assert len(looks) == 2


def test_tokens_against_passes_draws_every_run(ax):
    plot_tokens_against_passes({f"run {i}": RUN for i in range(6)}, ax)
    assert [line.get_label() for line in ax.lines] == [f"run {i}" for i in range(6)]


def test_heatmap_cells_and_ticks(ax):
    values = [[1.5, 2.25, 3.0], [1.0, 1.25, 1.125]]
    plot_heatmap(values, [0.5, 1.0], [2, 4, 8], ax)
    (image,) = ax.images
    np.testing.assert_array_equal(image.get_array(), values)
    assert texts(ax) == ["1.50", "2.25", "3.00", "1.00", "1.25", "1.12"]
    assert [text.get_position() for text in ax.texts][:4] == [(0, 0), (1, 0), (2, 0), (0, 1)]
    assert ticks(ax.xaxis) == ["2", "4", "8"]
    assert ticks(ax.yaxis) == ["0.5", "1.0"]
    assert [axes.get_ylabel() for axes in ax.figure.axes[1:]] == ["τ = tokens emitted ÷ loops"]


def test_heatmap_text_stands_out_and_a_gap_is_a_dash(ax):
    plot_heatmap([[1.0, np.nan, 3.0]], [0.5], [1, 2, 3], ax)
    assert texts(ax) == ["1.00", "–", "3.00"]
    assert [text.get_color() for text in ax.texts] == ["white", "black", "black"]


def test_words_hold_every_figure() -> None:
    assert loops_words(LOOPS) == (
        "α = 0.67, τ = 2.00; 8 tokens took 5 verify passes and 7 draft passes"
    )
    assert loops_words([]) == "α = none, τ = none; 0 tokens took 0 verify passes and 0 draft passes"
