"""Every figure: what is drawn equals what was given."""

import inspect
import warnings

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure

from medusa_lib import Generation, LoopRecord, acceptance_rate, mean_accepted_length
from medusa_lib.base.course import STEP_WORDS
from medusa_lib.bench.tables import plot_bench
from medusa_lib.teaching.drafter import plot_branch
from medusa_lib.teaching.drafters import plot_acceptance_by_position, plot_expected_speedup
from medusa_lib.teaching.loops import plot_heatmap, plot_tokens_against_passes
from medusa_lib.teaching.model import plot_parameters
from medusa_lib.teaching.one_pass import plot_pass_cost, plot_roofline
from medusa_lib.teaching.prefix_accept import plot_acceptance
from medusa_lib.teaching.sampling_exactly import plot_misfits, plot_overlap, plot_shares
from medusa_lib.teaching.shared import style as plots
from medusa_lib.teaching.shared.page import plot_beyond, plot_pipeline
from medusa_lib.teaching.shared.style import BLUE, KIND_COLOURS, KIND_HATCHES, visible
from medusa_lib.teaching.utilities import plot_next_tokens

mpl.use("Agg")

LOOPS = [
    LoopRecord(0, (5, 6, 7), 2, (5, 6, 9), correction=9, draft_passes=3, verify_passes=3),
    LoopRecord(1, (1, 2, 3), 0, (8,), correction=8, draft_passes=3, verify_passes=1),
    LoopRecord(2, (4, 4, 4), 3, (4, 4, 4), draft_passes=3, verify_passes=3),
]
WITH_BONUS = LoopRecord(3, (2, 2), 2, (2, 2, 6), bonus=6, draft_passes=1, verify_passes=1)
GREEDY_STEP = LoopRecord(0, (), 0, (5,), verify_passes=1)
RUN = Generation([1], [5, 6, 9, 8, 4, 4, 4], "text", "length", LOOPS, model_passes=16)
GREEDY = Generation([1], [5, 5], "text", "length", [GREEDY_STEP] * 2, model_passes=2)

EXAMPLES = {
    plot_pipeline: (3,),
    plot_parameters: ({"token embeddings": 1000, "block 1": 500, "output": 20},),
    plot_next_tokens: ([" the", "a"], [0.6, 0.4], [True, False]),
    plot_branch: ([" the", "a"], [0.6, 0.4]),
    plot_acceptance: (LOOPS,),
    plot_tokens_against_passes: ({"greedy": GREEDY, "Medusa-tiny": RUN},),
    plot_heatmap: ([[1.5, 2.25], [1.0, 1.25]], [0.5, 1.0], [2, 4]),
    plot_bench: (
        [{"name": "n-gram", "over_greedy": 1.3}, {"name": "generate", "over_greedy": 0.6}],
        [{"name": "n-gram", "over_greedy": 1.9}],
    ),
    plot_beyond: (1,),
    plot_expected_speedup: ([1, 2], {"a": [1.5, 1.25]}, {"a": [1.0, 1.0]}),
    plot_acceptance_by_position: ({"a": [(9, 6), (6, 3), (2, 2)], "b": [(5, 0)]},),
    plot_pass_cost: ({"small": {1: 0.5, 2: 0.75}, "big": {1: 2.0, 2: 3.0}},),
    plot_roofline: ({1: 0.002, 2: 0.003}, {1: (0.001, 0.0008), 2: (0.001, 0.0016)}),
    plot_shares: (["sun", "moon"], {"draft": [0.3, 0.7], "target": [0.6, 0.4]}),
    plot_overlap: (["sun", "moon"], [0.6, 0.4], [0.3, 0.7]),
    plot_misfits: ({"right": [0.5, -0.5], "wrong": [7.0, -5.0]}, ["a b", "b a"], [0.4, 1e-9]),
}


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


@pytest.fixture(autouse=True)
def _no_figure_left():
    yield
    plots.plt.close("all")


def draw(ax):
    """Draw for real; a warning, such as one of a missing glyph, is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FigureCanvasAgg(ax.figure).draw()


def texts(ax):
    return [text.get_text() for text in ax.texts]


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def bars_of(ax, kind):
    return [bar for bar in ax.patches if (bar.get_gid() or "").startswith(f"{kind}-")]


def test_every_plot_has_an_example_here():
    named = {f for name, f in inspect.getmembers(plots, inspect.isfunction) if "plot_" in name}
    assert named == set(EXAMPLES)


@pytest.mark.parametrize("plot", EXAMPLES, ids=lambda plot: plot.__name__)
def test_it_draws_on_the_axes_given_or_on_new_ones(plot, ax):
    assert plot(*EXAMPLES[plot], ax=ax) is ax
    assert not plots.plt.get_fignums()
    new = plot(*EXAMPLES[plot])
    assert isinstance(new, Axes)
    assert new is not ax
    assert len(plots.plt.get_fignums()) == 1
    draw(ax), draw(new)


@pytest.mark.parametrize(
    ("plot", "x", "y"),
    [
        (plot_parameters, "parameters", ""),
        (plot_next_tokens, "probability of being the next token", "token"),
        (plot_branch, "position in the branch, token", "drafter's probability"),
        (plot_acceptance, "loop", "tokens per loop"),
        (plot_tokens_against_passes, "model passes spent (draft + verify)", "tokens written"),
        (plot_heatmap, "span (tokens drafted per loop)", "drafter's temperature"),
        (
            plot_expected_speedup,
            "span (tokens drafted per loop)",
            "speed-up over plain decoding",
        ),
        (plot_acceptance_by_position, "position in the branch", "accepted ÷ reached"),
        (plot_pass_cost, "positions in one pass", "seconds ÷ seconds of one position"),
        (plot_roofline, "positions in one pass", "milliseconds"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_axes_say_what_they_measure(plot, x, y, ax):
    plot(*EXAMPLES[plot], ax=ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == (x, y)


@pytest.mark.parametrize("step", range(8))
def test_pipeline_marks_one_step(step, ax):
    plot_pipeline(step, ax)
    filled = [to_hex(box.get_facecolor()) == to_hex(BLUE) for box in ax.patches]
    assert filled == [i == step for i in range(8)]
    words = [word.replace("_", " ") for word in STEP_WORDS]
    assert texts(ax) == [f"STEP{i}\n{word}" for i, word in enumerate(words)]
    assert [text.get_weight() == "bold" for text in ax.texts] == filled


def test_parameters_bars_and_shares(ax):
    plot_parameters({"token embeddings": 1500, "block 1": 500}, ax)
    assert [bar.get_width() for bar in ax.patches] == [1500, 500]
    assert texts(ax) == [" 1,500 (75%)", " 500 (25%)"]
    assert ticks(ax.yaxis) == ["token embeddings", "block 1"]
    assert ax.yaxis.get_inverted()


def test_next_tokens_bars_labels_and_nucleus(ax):
    probs, kept = [0.5, 0.25, 0.125], [True, True, False]
    plot_next_tokens([" the", "\n", ""], probs, kept, ax)
    bars = ax.patches
    assert [bar.get_width() for bar in bars] == probs
    assert [bar.get_gid() for bar in bars] == ["bar-0", "bar-1", "bar-2"]
    assert ticks(ax.yaxis) == ["·the", "⏎", "∅"]
    assert ax.yaxis.get_inverted()
    assert texts(ax) == [" 0.500", " 0.250", " 0.125", "nucleus ends here"]
    assert [bar.get_facecolor() == to_rgba(BLUE) for bar in bars] == kept
    assert [bool(bar.get_hatch()) for bar in bars] == [not inside for inside in kept]
    (edge,) = ax.lines
    assert list(edge.get_ydata()) == [1.5, 1.5]


@pytest.mark.parametrize("kept", [None, [True, True]])
def test_next_tokens_without_an_end_of_the_nucleus(kept, ax):
    plot_next_tokens(["a", "b"], [0.6, 0.4], kept, ax)
    assert not ax.lines
    assert texts(ax) == [" 0.600", " 0.400"]


@pytest.mark.parametrize(
    ("top", "end"), [(0.03, 0.1), (0.1, 0.2), (0.3, 0.5), (0.5, 1), (0.99, 1), (1.0, 1)]
)
def test_next_tokens_axis_ends_in_steps(top, end, ax):
    plot_next_tokens(["a"], [top], ax=ax)
    assert ax.get_xlim() == pytest.approx((0, 1.12 * end))


def test_lengths_that_differ_are_refused(ax):
    with pytest.raises(ValueError, match="shorter|longer"):
        plot_next_tokens(["a", "b"], [0.6], [True, True], ax)
    with pytest.raises(ValueError, match="shorter|longer"):
        plot_branch(["a", "b"], [0.6], ax)


def test_branch_bars_and_labels(ax):
    plot_branch([" the", "a", "b"], [0.6, 0.25, 0.001], ax)
    assert [bar.get_height() for bar in ax.patches] == [0.6, 0.25, 0.001]
    assert texts(ax) == ["0.60", "0.25", "<0.01"]
    assert ticks(ax.xaxis) == ["1\n·the", "2\na", "3\nb"]


def test_acceptance_bars_are_the_records(ax):
    plot_acceptance(LOOPS, ax)
    heights = {kind: [bar.get_height() for bar in bars_of(ax, kind)] for kind in KIND_COLOURS}
    assert heights == {
        "accepted": [2, 0, 3],
        "corrected": [1, 1, 0],
        "unused": [0, 2, 0],
        "bonus": [],
    }
    for kind in ("accepted", "corrected", "unused"):
        for place, bar in enumerate(bars_of(ax, kind)):
            assert bar.get_gid() == f"{kind}-{place}"
            assert bar.get_x() + bar.get_width() / 2 == pytest.approx(place)
            assert (bar.get_hatch() or "") == KIND_HATCHES[kind]
            assert bar.get_facecolor() == to_rgba(KIND_COLOURS[kind])
    # Stacked: each begins where the one below ends.
    assert [bar.get_y() for bar in bars_of(ax, "corrected")] == [2, 0, 3]
    assert [bar.get_y() for bar in bars_of(ax, "unused")] == [3, 1, 3]
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["accepted", "corrected", "unused"]


def test_acceptance_title_has_both_figures_and_their_denominators(ax):
    plot_acceptance(LOOPS, ax)
    alpha, tau = acceptance_rate(LOOPS), mean_accepted_length(LOOPS)
    assert (alpha, tau) == (5 / 7, 7 / 3)
    assert ax.get_title() == ("α = 0.71 (accepted ÷ evaluated), τ = 2.33 (tokens emitted ÷ loops)")


def test_acceptance_shows_a_bonus_where_there_is_one(ax):
    plot_acceptance([*LOOPS, WITH_BONUS], ax)
    assert [bar.get_height() for bar in bars_of(ax, "bonus")] == [0, 0, 0, 1]
    assert bars_of(ax, "bonus")[-1].get_y() == 2
    assert bars_of(ax, "bonus")[0].get_hatch() == KIND_HATCHES["bonus"]


@pytest.mark.parametrize("loops", [[], [GREEDY_STEP]])
def test_acceptance_without_drafts_shows_a_dash_for_alpha(loops, ax):
    plot_acceptance(loops, ax)
    assert ax.get_title().startswith("α = – (accepted ÷ evaluated), τ = ")
    draw(ax)


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" the", "·the"),
        ("a\n", "a⏎"),
        ("\t", "⇥"),
        ("", "∅"),
        ("\x00", r"\x00"),
        ("\u200b", r"\u200b"),
        ("\xa0", r"\xa0"),
        ("é“", "é“"),
    ],
)
def test_what_is_invisible_is_made_visible(text, shown):
    assert visible(text) == shown


HARD = ["$x$", "a$", r"$\frac{1}{", "<b>&", "日本", "\x00", "a\r\n", "%", r"\$", "_^{}"]


@pytest.mark.parametrize("plot", [plot_next_tokens, plot_branch])
def test_tokens_are_never_formulas_and_never_warn(plot, ax):
    plot(HARD, np.linspace(0.2, 0.01, len(HARD)), ax=ax)
    axis = ax.yaxis if plot is plot_next_tokens else ax.xaxis
    draw(ax)
    for label in axis.get_ticklabels():
        _, kind = label._preprocess_math(label.get_text())
        assert kind is False
    shown = [label._preprocess_math(label.get_text())[0] for label in axis.get_ticklabels()]
    shown = [text.rpartition("\n")[2] for text in shown]
    ours = ["$x$", "a$", r"$\frac{1}{", "<b>&", r"\u65e5\u672c", r"\x00", r"a\r⏎", "%", r"\$"]
    assert shown == [*ours, "_^{}"]
