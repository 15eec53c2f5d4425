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
    plot_spread,
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


def test_spread_shows_mean_lowest_and_highest(ax):
    series = {"cool": [[1.0, 2.0, 6.0], [4.0, 4.0]], "warm": [[0.5], [0.0, 1.0]]}
    plot_spread(["a", "b"], series, ax)
    assert ticks(ax.xaxis) == ["a", "b"]
    shown = [box.lines for box in ax.containers]
    assert [line.get_ydata().tolist() for line, *_ in shown] == [[3, 4], [0.5, 0.5]]
    ends = [[s[:, 1].tolist() for s in bars.get_segments()] for _, _, (bars,) in shown]
    assert ends == [[[1, 6], [4, 4]], [[0.5, 0.5], [0, 1]]]
    assert texts(ax) == ["cool", "warm"]
    at = [line.get_xdata() for line, *_ in shown]
    assert not set(at[0]) & set(at[1])  # no bar hides another
    assert len({(line.get_color(), line.get_marker()) for line, *_ in shown}) == 2


def test_words_hold_every_figure() -> None:
    assert loops_words(LOOPS) == (
        "α = 0.67, τ = 2.00; 8 tokens took 5 verify passes and 7 draft passes"
    )
    assert loops_words([]) == "α = none, τ = none; 0 tokens took 0 verify passes and 0 draft passes"
