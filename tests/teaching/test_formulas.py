import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex

from medusa_lib.teaching.formulas import plot_acceptance_by_position, plot_expected_speedup
from medusa_lib.teaching.shared.style import BLUE, ORANGE


def names_beside(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_expected_and_measured_share_a_colour(ax) -> None:
    spans, curve, points = [2, 4, 8], [1.5, 1.25, 1.0], [1.25, 1.0, 0.75]
    plot_expected_speedup(spans, {"a": curve, "b": curve}, {"a": points}, ax)
    line, marks, other, one = ax.lines
    assert [*line.get_ydata()] == [*other.get_ydata()] == curve
    assert [*marks.get_ydata()] == points
    assert [*line.get_xdata()] == [*marks.get_xdata()] == spans
    assert to_hex(line.get_color()) == to_hex(marks.get_color()) == to_hex(BLUE)
    assert to_hex(other.get_color()) == to_hex(ORANGE)
    assert marks.get_linestyle() == "None"
    assert [*one.get_ydata()] == [1, 1]
    assert names_beside(ax) == ["a", "b"], "points share their line's name"
    assert ax.get_title() == "lines: formula, points: measured"
    assert [*ax.get_xticks()] == spans


def test_curves_alone_speak_of_no_points(ax) -> None:
    plot_expected_speedup([1, 2], {"α = 0.5": [1.5, 1.75]}, ax=ax)
    assert names_beside(ax) == ["α = 0.5"]
    assert ax.get_title() == ""


def test_positions_that_few_loops_reached_are_left_out(ax) -> None:
    pairs = [(20, 10), (10, 8), (4, 4)]
    plot_acceptance_by_position({"a": pairs, "b": [(2, 1)]}, ax=ax)
    a, alpha, b, other = ax.lines
    assert [*a.get_xdata()] == [1, 2]
    assert [*a.get_ydata()] == [0.5, 0.8]
    assert [*alpha.get_ydata()] == pytest.approx([22 / 34] * 2), "α counts every position"
    assert not [*b.get_xdata()]
    areas = next(c for c in ax.collections if isinstance(c, PathCollection)).get_sizes()
    assert areas[0] > areas[1]
    assert names_beside(ax) == ["a, α = 0.65"]
    assert alpha.get_linestyle() == other.get_linestyle() == "--"
    plot_acceptance_by_position({"a": pairs}, 1, ax)
    assert [*ax.lines[4].get_ydata()] == [0.5, 0.8, 1.0]
