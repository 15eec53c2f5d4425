import re

import ipywidgets as w
import pytest
from drawing import draw
from matplotlib.figure import Figure
from panels import alert, move, says

from medusa_lib.measure.batches import batch_speedup
from medusa_lib.measure.batches_table import GPT2_SMALL, measured_batches
from medusa_lib.measure.choosing import Computer, PassLoad, Plan, best_span, planned_speedup
from medusa_lib.measure.formulas import expected_tokens
from medusa_lib.teaching.choosing import (
    LONGEST_SPAN,
    Candidate,
    PlannerPanel,
    between,
    candidate_of,
    gains_from_passes,
    measured_at,
    on_grid,
    plan_view,
    plot_plan,
)
from medusa_lib.teaching.shared.controls import NAME_SLIDERS

STORED = measured_batches()[GPT2_SMALL, 1]
LARGE = Candidate(16e9, 131072, 16e9)
COMPUTER, PLAN = on_grid(Computer(20e9, 100e9, 0.01)), Plan(0.8, 0.0, 8)
SMALL = candidate_of(PassLoad(498e6, 73728 * STORED.context, 247e6), STORED)


@pytest.fixture
def panel():
    return PlannerPanel({"small": SMALL, "large": LARGE}, COMPUTER, PLAN)


def test_passes_between_measured_positions_lie_on_the_line() -> None:
    passes = {(2, 1): 1.0, (2, 4): 2.5, (2, 8): 4.5}
    assert [between(passes, 2, n) for n in (1, 2, 4, 6)] == [1.0, 1.5, 2.5, 3.5]


def test_gains_from_measured_passes_are_the_formula() -> None:
    gains = gains_from_passes(STORED, Plan(0.5, 0.1), 3)
    for batch, gain in gains.items():
        plain, verify = STORED.passes[batch, 1], STORED.passes[batch, 4]
        assert gain == batch_speedup(expected_tokens(0.5, 3), plain, verify, 3 * 0.1 * plain)
    for span in range(1, LONGEST_SPAN + 1):
        assert set(gains_from_passes(STORED, PLAN, span)) == set(STORED.batches)


def test_a_view_says_what_the_planner_computes() -> None:
    view = plan_view(COMPUTER, SMALL, 32, PLAN, 3)
    load = SMALL.load(32)
    assert view.expected[8] == planned_speedup(COMPUTER, load, PLAN, 3)
    assert f"speed-up {view.expected[8]:.2f}" in view.words
    assert f"best span {best_span(COMPUTER, load, PLAN)}" in view.words
    assert view.loops == {batch: loop.speedup for batch, loop in STORED.loops.items()}
    none = plan_view(COMPUTER, LARGE, 32, Plan(0.0, 0.5, 1024), 3)
    assert "it gains for no number of users; at 1024 best not to draft" in none.words
    assert not none.loops
    assert not none.from_passes


def test_the_picture_holds_three_series_and_the_point() -> None:
    ax = Figure(figsize=(8, 3), layout="constrained").subplots()
    view = plan_view(COMPUTER, SMALL, 32, PLAN, 3)
    plot_plan(view, measured_at(STORED), ax)
    curve, point, passes, loops, one = ax.lines
    assert [*curve.get_ydata()] == [*view.expected.values()]
    assert ([*point.get_xdata()], [*point.get_ydata()]) == ([8], [view.expected[8]])
    assert [*passes.get_ydata()] == [*view.from_passes.values()]
    assert [*loops.get_ydata()] == [*view.loops.values()]
    assert [*one.get_ydata()] == [1, 1]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[-1] == "measured loops\n(α 0.8, span 3)"
    draw(ax)


def test_without_measurements_there_is_the_curve_alone() -> None:
    ax = Figure().subplots()
    plot_plan(plan_view(COMPUTER, LARGE, 32, PLAN, 3), measured_at(None), ax)
    assert len(ax.lines) == 3


def test_the_panel_says_what_it_shows_at_first_and_never_changes_that(panel) -> None:
    first = panel.says
    assert first == panel._repr_mimebundle_()["text/plain"]
    assert first.startswith("Panel: model, α, draft cost")
    assert first.endswith(plan_view(COMPUTER, SMALL, 32, PLAN, 3).words)
    move(panel, alpha=0.3)
    assert panel.says == first
    assert {"medusa-panel", "PlannerPanel"} <= set(panel._dom_classes)


@pytest.mark.parametrize(
    "values",
    [
        {"alpha": 0.0, "span": LONGEST_SPAN},
        {"alpha": 1.0, "draft_cost": 1.0, "users": 1024.0},
        {"model": "large", "context": 2.0**17, "users": 64.0},
        {"bandwidth": 2000.0, "arithmetic": 300_000.0, "span": 1},
        {"bandwidth": 1.0, "arithmetic": 10.0},
    ],
    ids=str,
)
def test_the_panel_follows_its_controls(panel, values) -> None:
    move(panel, **values)
    speeds = 1e9 * panel.bandwidth.value, 1e9 * panel.arithmetic.value
    plan = Plan(panel.alpha.value, panel.draft_cost.value, int(panel.users.value))
    candidate = LARGE if panel.model.value == "large" else SMALL
    computer = Computer(*speeds, COMPUTER.overhead)
    view = plan_view(computer, candidate, int(panel.context.value), plan, panel.span.value)
    assert says(panel) == view.words
    assert not alert(panel)
    assert 'role="img"' in panel.view.value


def test_every_control_has_a_name(panel) -> None:
    controls = [getattr(panel, name) for name in panel.names]
    assert all(control.description for control in controls)
    assert len({control.description for control in controls}) == len(controls)
    assert any(getattr(child, "value", "") == NAME_SLIDERS for child in panel.children)


def test_two_panels_of_a_page_share_no_id(panel) -> None:
    again = PlannerPanel({"small": SMALL}, COMPUTER, PLAN)
    one, two = (re.findall(r'\sid="([^"]+)"', each.view.value) for each in (panel, again))
    assert one
    assert not set(one) & set(two)


def test_an_error_stands_beside_the_controls(panel, monkeypatch) -> None:
    monkeypatch.setattr(panel, "current", lambda: Plan(alpha=2.0))
    panel.update()
    assert "alpha must be a number in [0, 1]" in alert(panel)
    assert isinstance(panel.message, w.HTML)
