"""Pictures of a sweep: what they show is what the rows say."""

from __future__ import annotations

import math

import pytest
from drawing import draw, texts, ticks
from sweep_rows import SWEEP, row

from medusa_lib.teaching.sweeps import heat_table, plot_alpha_against_cost, plot_heat_map


def test_a_heat_map_has_the_mean_over_runs_of_each_pair() -> None:
    xs, ys, means = heat_table(SWEEP, "top_p", "temperature", "alpha")
    assert (xs, ys) == ([0.8, 1.0], [0.5, 0.9])
    assert means.tolist() == [[0.7, pytest.approx(math.nan, nan_ok=True)], [0.4, 0.3]]
    ax = plot_heat_map(SWEEP)
    draw(ax)
    assert texts(ax) == ["0.70", "–", "0.40", "0.30"]
    assert (ticks(ax.xaxis), ticks(ax.yaxis)) == (["0.8", "1.0"], ["0.5", "0.9"])
    assert ax.get_title() == "α = accepted ÷ evaluated"


def test_a_drafters_own_span_has_a_place() -> None:
    ax = plot_heat_map([*SWEEP, row(0.5, 0.8, 1, 9, span=3)], x="span", figure="tau")
    assert ticks(ax.xaxis) == ["own", "3"]


def test_alpha_against_cost_has_a_series_for_each_drafter_with_its_spread() -> None:
    nothing = row(0.5, 0.8, 1, 0, drafter="none", evaluated=0)
    ax = plot_alpha_against_cost([*SWEEP, row(0.5, 0.8, 1, 10, drafter="self"), nothing])
    draw(ax)
    assert ax.get_legend_handles_labels()[1] == ["ngram", "self", "none"]
    ngram = ax.containers[0]
    assert ngram[0].get_xdata().tolist() == [0.7, 0.4, 0.3]
    assert ngram[0].get_ydata().tolist() == [3.0, 3.0, 3.0]
    across = ngram[2][0].get_segments()[0]
    assert across[:, 0].tolist() == pytest.approx([0.6, 0.8])


def test_a_dataframe_is_as_good_as_rows() -> None:
    pandas = pytest.importorskip("pandas", reason="needs pip install -e '.[sweep]'")
    frame = pandas.DataFrame([vars(one) for one in SWEEP])
    ours, theirs = (heat_table(rows, "span", "top_p", "alpha") for rows in (SWEEP, frame))
    assert ours[:2] == theirs[:2] == ([None], [0.8, 1.0])
    assert ours[2].tolist() == theirs[2].tolist()
