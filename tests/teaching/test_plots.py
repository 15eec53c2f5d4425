import importlib
import inspect
from collections import namedtuple
from pkgutil import walk_packages

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from drawing import GREEDY, LOOPS, RUN, draw
from matplotlib.axes import Axes
from sweep_rows import SWEEP

from medusa_lib import teaching
from medusa_lib.bench.tables import plot_bench
from medusa_lib.classroom.attempts import Attempt, Exercise
from medusa_lib.classroom.progress import plot_progress
from medusa_lib.measure.numbers import PassGap
from medusa_lib.teaching.batches import plot_batch_costs, plot_gains, plot_latency
from medusa_lib.teaching.choosing import PlanView, plot_plan
from medusa_lib.teaching.device import plot_draft_and_verify
from medusa_lib.teaching.drafter import plot_branch
from medusa_lib.teaching.drafters import plot_reach
from medusa_lib.teaching.family import RELATIVES, plot_jacobi, plot_reached, plot_relative
from medusa_lib.teaching.formulas import plot_acceptance_by_position, plot_expected_speedup
from medusa_lib.teaching.heads_training import Scores, plot_learning, plot_walks
from medusa_lib.teaching.loops import plot_spread, plot_tokens_against_passes
from medusa_lib.teaching.medusa_heads import plot_top_guesses
from medusa_lib.teaching.model import plot_parameters
from medusa_lib.teaching.numbers import plot_differences, plot_margins
from medusa_lib.teaching.one_pass import plot_attention, plot_pass_cost
from medusa_lib.teaching.prefix_accept import plot_acceptance
from medusa_lib.teaching.sampling_exactly import (
    Measured,
    plot_alpha_and_overlap,
    plot_misfits,
    plot_overlap,
    plot_shares,
)
from medusa_lib.teaching.shared.page import plot_beyond, plot_course, plot_pipeline
from medusa_lib.teaching.sweeps import plot_alpha_against_cost, plot_heat_map
from medusa_lib.teaching.systems import plot_settings
from medusa_lib.teaching.tree_attention import plot_budgets, plot_tree, plot_tree_mask
from medusa_lib.teaching.typical import Trade, plot_bound, plot_trade
from medusa_lib.teaching.utilities import plot_next_tokens

GAP = PassGap(torch.tensor([0.0, 0.5]), torch.tensor([0.1, 0.2]), torch.tensor([True, False]))
Faster = namedtuple("Faster", "name over_greedy")
EXAMPLES = {
    plot_pipeline: (3,),
    plot_course: (),
    plot_draft_and_verify: ([" the", "a"], 1, " an"),
    plot_parameters: ({"token embeddings": 1000, "block 1": 500, "output": 20},),
    plot_next_tokens: ([" the", "a"], [0.6, 0.4], [True, False]),
    plot_branch: ([" the", "a"], [0.6, 0.4]),
    plot_acceptance: (LOOPS,),
    plot_tokens_against_passes: ({"greedy": GREEDY, "Medusa-tiny": RUN},),
    plot_spread: ([1, 2], {"cool": [[0.5, 0.7], [0.6, 0.8]], "warm": [[0.1, 0.3], [0.2]]}),
    plot_heat_map: (SWEEP,),
    plot_alpha_against_cost: (SWEEP,),
    plot_bench: (
        [Faster("n-gram", 1.3), Faster("generate", 0.6)],
        [Faster("n-gram", 1.9)],
    ),
    plot_progress: ([Attempt("a $b$", Exercise("STEP3", "one", "STEP3_x"), "correct")],),
    plot_beyond: (1,),
    plot_reach: (["n-gram", "self"], {"goes on": [1.2, 4.8], "circles": [2.0, 4.8]}),
    plot_expected_speedup: ([1, 2], {"a": [1.5, 1.25]}, {"a": [1.0, 1.0]}),
    plot_acceptance_by_position: ({"a": [(9, 6), (6, 3), (2, 2)], "b": [(5, 0)]},),
    plot_attention: ([[0.4, 0.6, 0.0], [0.2, 0.3, 0.5]], ["the", " king", "said"]),
    plot_pass_cost: ({"small": {1: 0.5, 2: 0.75}, "big": {1: 2.0, 2: 3.0}},),
    plot_shares: (["sun", "moon"], {"draft": [0.3, 0.7], "target": [0.6, 0.4]}),
    plot_overlap: (["sun", "moon"], [0.6, 0.4], [0.3, 0.7]),
    plot_learning: ([Scores(0, (0.1, 0.0)), Scores(20, (0.4, 0.2))],),
    plot_top_guesses: ({"own": [[0.5, 0.6], [0.4, 0.5]]},),
    plot_walks: ({"slow": [0.0, 0.5, 0.75], "fast": [0.0, 4.0, 1.0]},),
    plot_bound: ([" a", "b"], [0.6, 0.1], [True, False], 0.2),
    plot_alpha_and_overlap: ([0.5, 1.0], {"a drafter": [Measured([0.0, 1.0], [0.5], LOOPS)] * 2}),
    plot_settings: (),
    plot_differences: ({"float32": {"one": GAP}}, {"float32": 1e-3}),
    plot_margins: (GAP, 0.25),
    plot_trade: ({"exact": Trade(1.5, 0.01), "typical": Trade(2.5, 0.2)}, 0.02),
    plot_tree: ([" the", "a"], (-1, 0)),
    plot_tree_mask: ([" the", "a"], (-1, 0)),
    plot_budgets: ({"τ": {1: 1.5, 2: 2.0}}, "τ"),
    plot_batch_costs: ({(1, 1): 0.01, (8, 1): 0.03, (1, 4): 0.02, (8, 4): 0.12}, (1, 4)),
    plot_gains: ({"a": {1: (1.5, 1.4), 8: (0.5, 0.6)}},),
    plot_latency: ({"plain": {1: (10.0, 100.0), 8: (30.0, 260.0)}},),
    plot_plan: (PlanView("words", 8, {1: 2.0, 8: 1.0}, {1: 1.8}, {8: 0.9}),),
    plot_relative: (RELATIVES[0],),
    plot_jacobi: ([["a", "a"], ["b", "x"], ["b", "c"]], [1, 2]),
    plot_reached: ({"a": (0.5, 1.5, 2.0), "b": (0.7, 2.5, 1.5)},),
    plot_misfits: ({"right": [0.5, -0.5], "wrong": [7.0, -5.0]}, ["a b", "b a"], [0.4, 1e-9]),
}


def test_every_plot_has_an_example_here():
    modules = (
        importlib.import_module(m.name)
        for m in walk_packages(teaching.__path__, "medusa_lib.teaching.")
        if not m.name.endswith("_config")  # only another program can read it
    )
    named = {
        f
        for module in modules
        for name, f in inspect.getmembers(module, inspect.isfunction)
        if name.startswith("plot_")
    }
    assert named | {plot_bench, plot_progress} == set(EXAMPLES)


@pytest.mark.parametrize("plot", EXAMPLES, ids=lambda plot: plot.__name__)
def test_it_draws_on_the_axes_given_or_on_new_ones(plot, ax):
    assert plot(*EXAMPLES[plot], ax=ax) is ax
    assert not plt.get_fignums()
    new = plot(*EXAMPLES[plot])
    assert isinstance(new, Axes)
    assert new is not ax
    assert len(plt.get_fignums()) == 1
    draw(ax), draw(new)


@pytest.mark.parametrize(
    ("plot", "x", "y"),
    [
        (plot_parameters, "parameters", ""),
        (plot_next_tokens, "probability of being the next token", "token"),
        (plot_branch, "position in the branch, token", "drafter's probability"),
        (plot_acceptance, "loop", "tokens per loop"),
        (plot_tokens_against_passes, "model passes spent (draft + verify)", "tokens written"),
        (
            plot_expected_speedup,
            "span (tokens drafted per loop)",
            "speed-up over plain decoding",
        ),
        (plot_reach, "", "τ = tokens emitted ÷ loops"),
        (plot_attention, "looks at", "fed"),
        (plot_acceptance_by_position, "position in the branch", "accepted ÷ reached"),
        (plot_pass_cost, "positions in one pass", "seconds ÷ seconds of one position"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_axes_say_what_they_measure(plot, x, y, ax):
    plot(*EXAMPLES[plot], ax=ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == (x, y)


def test_lengths_that_differ_are_refused(ax):
    with pytest.raises(ValueError, match="shorter|longer"):
        plot_next_tokens(["a", "b"], [0.6], [True, True], ax)
    with pytest.raises(ValueError, match="shorter|longer"):
        plot_branch(["a", "b"], [0.6], ax)


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
