"""One run, one row: counted as its records say, compared with greedy's where it must be."""

from __future__ import annotations

import dataclasses
import math

import pytest

from medusa_lib import (
    acceptance_rate,
    mean_accepted_length,
    medusa_tiny,
    passes_per_token,
    run_greedy,
    speculate,
)
from medusa_lib.measure.chances import alpha_of, draft_chances, known_text, passes_of, toss_loops
from medusa_lib.sweep import Grid, by_setting, run_grid, runs
from medusa_lib.sweep.models import identity_of
from medusa_lib.sweep.runs import check_grid, measured_point, run_point

PROMPT = "In the middle of the forest stood"


def rows_of(lm, **axes):
    return run_grid(Grid(**{"prompt": PROMPT, "model": "m", "new_tokens": 16, **axes}), {"m": lm})


def test_a_row_counts_what_its_records_say(lm) -> None:
    (row,) = rows_of(lm, drafter="heads_tree", span=3)
    run = speculate(lm, PROMPT, "heads_tree", 16, 3)
    assert (row.kind, row.written, row.stop_reason, row.compared) == ("run", 16, "length", 16)
    assert row.loops == len(run.loops)
    assert row.accepted / row.evaluated == acceptance_rate(run.loops)
    assert row.written / row.loops == mean_accepted_length(run.loops)
    assert (row.draft_passes + row.verify_passes) / row.written == passes_per_token(run)
    assert row.bonuses + row.corrections <= row.loops
    assert row.seconds > 0
    assert row == rows_of(lm, drafter="heads_tree", span=3)[0]


def test_medusa_tiny_is_compared_at_any_temperature_and_sampling_is_not(lm) -> None:
    tiny, sampled = rows_of(lm, drafter=["medusa_tiny", "ngram"], temperature=0.9, top_p=0.95)
    run = medusa_tiny(lm, PROMPT, 16, 3, 0.9, 0.95, 7)
    assert (tiny.loops, tiny.drafted) == (len(run.loops), sum(len(r.branch) for r in run.loops))
    assert (tiny.compared, sampled.compared) == (16, 0)


def test_greedy_writes_each_prompt_once(lm, monkeypatch) -> None:
    written = []
    monkeypatch.setattr(
        runs, "run_greedy", lambda lm, *what: written.append(what) or run_greedy(lm, *what)
    )
    fresh = dataclasses.replace(lm)
    rows_of(fresh, prompt=["a b", "c d"], drafter=["ngram", "none"], span=[1, 2], new_tokens=4)
    assert written == [("a b", 4), ("c d", 4)]


def test_another_text_than_greedys_is_a_row_of_its_own_kind_and_loud(lm, monkeypatch) -> None:
    monkeypatch.setattr(runs, "run_greedy", lambda lm, *what: run_greedy(lm, "Once", what[1]))
    fresh = dataclasses.replace(lm)
    grid = Grid(PROMPT, "m", 8)
    row = run_point({"m": fresh}.get, next(grid.points(lambda name: identity_of(fresh))))
    assert row.kind == "difference"
    assert row.differs_at is not None
    with pytest.raises(RuntimeError, match="1 runs differ from greedy's, the first: SweepRow"):
        run_grid(grid, {"m": dataclasses.replace(lm)})


def test_coins_are_tossed_as_the_lesson_tosses_them(lm) -> None:
    rows = rows_of(lm, drafter="coins", temperature=0.9, top_p=0.8, span=4, seed=[1, 2])
    chances = draft_chances(known_text(lm, PROMPT, 16), 0.9, 0.8)
    for row in rows:
        loops = toss_loops(chances, 4, row.seed)
        assert row.accepted / row.evaluated == alpha_of(loops)
        passes = row.draft_passes + row.verify_passes
        assert passes / row.written == pytest.approx(passes_of(loops))
        assert (row.written, row.compared) == (16, 0)


def test_a_worker_adds_where_it_computed(lm) -> None:
    grid = Grid(PROMPT, "m", 4)
    row = measured_point({"m": lm}.get, next(grid.points(lambda name: identity_of(lm))))
    assert row == rows_of(lm, new_tokens=4)[0], "where does not tell rows apart"
    assert row.processor
    assert row.threads >= 1
    assert "torch" in row.versions


def test_what_does_not_fit_is_refused_before_any_pass(tiny_gpt2, refuses) -> None:
    lms = {"m": tiny_gpt2}
    for axes in ({"drafter": "heads_tree"}, {"prompt": 99 * "a"}, {"drafter": "draft_model"}):
        grid = Grid(**{"prompt": "abc", "model": "m", **axes})
        with pytest.raises(ValueError, match=" must "):
            check_grid(grid, lms.__getitem__)
    with refuses("model", "other", tiny_gpt2):
        run_grid(Grid("abc", "other"), lms)


def test_another_model_of_that_name_is_refused(tiny_gpt2, tiny_llama) -> None:
    point = next(Grid("abc", "m").points(lambda name: identity_of(tiny_gpt2)))
    with pytest.raises(ValueError, match="model must be the same everywhere"):
        run_point({"m": tiny_llama}.get, point)


def test_figures_are_ratios_of_sums(lm) -> None:
    rows = rows_of(lm, prompt=[PROMPT, "The ship"], drafter=["ngram", "none"], seed=[1, 2])
    alphas = by_setting(rows, "alpha", by=("drafter",))
    ours = [row for row in rows if row.drafter == "ngram" and row.seed == 1]
    assert alphas["ngram",][0] == sum(r.accepted for r in ours) / sum(r.evaluated for r in ours)
    assert [len(found) for found in alphas.values()] == [2, 2]
    assert all(map(math.isnan, alphas["none",])), "nothing was evaluated"
    assert list(by_setting(rows, "tau")) == [(0.0, 1.0, None)]
    with pytest.raises(ValueError, match="figure must be one of alpha, .*, got 'beta'"):
        by_setting(rows, "beta")
