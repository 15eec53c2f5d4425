import pytest
from drawing import draw, texts, ticks
from matplotlib.figure import Figure

from medusa_lib.measure.batches_table import MeasuredBatches, MeasuredLoop
from medusa_lib.measure.roofline import Machine
from medusa_lib.teaching.batches import (
    gains_of,
    pass_rows,
    plot_batch_costs,
    plot_gains,
    plot_latency,
)

PASSES = {(1, 1): 0.01, (1, 4): 0.02, (8, 1): 0.03, (8, 4): 0.12}
LOOPS = {1: MeasuredLoop(1, 0.8, 3, 3.0, 0.012, 0.024), 8: MeasuredLoop(8, 0.8, 3, 2.0, 0.03, 0.1)}
MEASURED = MeasuredBatches("m", 1, "p", 32, Machine(1e9, 1e9), PASSES, LOOPS)


@pytest.fixture
def ax():
    return Figure(figsize=(6.4, 3.4), layout="constrained").subplots()


def test_passes_as_rows_of_text() -> None:
    assert pass_rows(PASSES, (1, 4)) == [("1", "10.0", "20.0"), ("8", "30.0", "120.0")]


def test_gains_by_the_formula_and_of_loops() -> None:
    gains = gains_of(MEASURED)
    assert gains[1] == pytest.approx((3 * 0.01 / 0.02, 3 * 0.012 / 0.024))
    assert gains[8] == pytest.approx((2 * 0.03 / 0.12, 2 * 0.03 / 0.1))


def test_a_line_for_each_number_of_positions_with_its_name_at_its_end(ax) -> None:
    plot_batch_costs(PASSES, (1, 4), ax)
    assert [[*line.get_ydata()] for line in ax.lines] == [[10, 30], [20, 120]]
    assert texts(ax) == ["1 position each", "4 positions each"]
    draw(ax)
    assert ticks(ax.xaxis) == ["1", "8"]


def test_formulas_are_lines_and_loops_are_points_of_the_same_colour(ax) -> None:
    plot_gains({"a": gains_of(MEASURED), "b": {1: (1.0, 2.0)}}, ax)
    line, other, points, more, one = ax.lines
    assert [*line.get_ydata()] == pytest.approx([1.5, 0.5])
    assert [*points.get_ydata()] == pytest.approx([1.5, 0.6])
    assert line.get_color() == points.get_color() != other.get_color() == more.get_color()
    assert [*one.get_ydata()] == [1, 1]
    assert texts(ax) == ["a, formula", "b, formula"]
    draw(ax)


def test_each_point_of_latency_bears_its_users(ax) -> None:
    plot_latency({"plain": {1: (10.0, 100.0), 8: (30.0, 260.0)}, "drafts": {1: (5.0, 200.0)}}, ax)
    assert texts(ax) == ["1", "8", "1", "plain", "drafts"]
    assert ax.get_xlim()[0] == ax.get_ylim()[0] == 0
    draw(ax)
