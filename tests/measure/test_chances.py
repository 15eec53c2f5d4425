import math

import bad_values as bad
import pytest

from medusa_lib import acceptance_rate, medusa_tiny, passes_per_token, run_greedy
from medusa_lib.measure.chances import (
    alpha_of,
    clear_changes,
    draft_chances,
    known_text,
    passes_of,
    toss_loops,
)

PROMPT = "In the middle of the forest stood"


@pytest.fixture(scope="module")
def text(lm):
    return known_text(lm, PROMPT, 20)


def pairs(run):
    return [(len(loop.branch), loop.accepted) for loop in run.loops]


def test_a_known_text_is_greedys_with_the_logits_that_chose_it(lm, text):
    assert text.tokens == run_greedy(lm, PROMPT, 20).new_ids
    assert [row.shape for row in text.logits] == 20 * [(lm.vocab_size,)]
    assert [int(row.argmax()) for row in text.logits] == text.tokens


@pytest.mark.parametrize("span", [1, 3, 8])
def test_a_drafter_at_temperature_0_is_always_right(lm, text, span):
    for temperature, top_p in ((0.0, 0.95), (0.9, 0.0)):
        chances = draft_chances(text, temperature, top_p)
        assert chances == [1.0] * 20
        real = medusa_tiny(lm, PROMPT, 20, span=span, temperature=temperature, top_p=top_p)
        assert toss_loops(chances, span, 7) == pairs(real)


@pytest.mark.parametrize(("temperature", "top_p"), [(0.9, 0.95), (0.9, 0.5)])
def test_the_coins_are_loaded_as_medusa_tinys_drafts(lm, text, temperature, top_p):
    """With a span of 1 each draft is one toss: their sum has a known mean and spread."""
    chances = draft_chances(text, temperature, top_p)
    seeds = range(20)
    runs = [medusa_tiny(lm, PROMPT, 20, 1, temperature, top_p, seed) for seed in seeds]
    accepted = sum(loop.accepted for run in runs for loop in run.loops)
    spread = math.sqrt(len(seeds) * sum(p * (1 - p) for p in chances))
    assert abs(accepted - len(seeds) * sum(chances)) < 3 * spread


def test_loops_are_tossed_coin_by_coin():
    assert toss_loops([1.0, 0.0, 1.0, 1.0, 1.0], 3, 7) == [(3, 1), (3, 3)]
    assert toss_loops([0.0, 0.0], 3, 7) == [(2, 0), (1, 0)]
    assert toss_loops([], 3, 7) == []
    assert toss_loops([0.5] * 30, 4, 7) == toss_loops([0.5] * 30, 4, 7)
    emitted = [min(kept + 1, drafted) for drafted, kept in toss_loops([0.5] * 30, 4, 7)]
    assert sum(emitted) == 30


def test_figures_of_loops_are_those_of_records(lm):
    run = medusa_tiny(lm, PROMPT, 20, temperature=0.5)
    assert alpha_of(pairs(run)) == acceptance_rate(run.loops)
    assert passes_of(pairs(run)) == pytest.approx(passes_per_token(run))
    assert math.isnan(alpha_of([]))
    assert math.isnan(passes_of([]))


def test_a_change_is_clear_where_no_two_runs_overlap():
    figures = {
        (0.5, 1, 3): [0.9, 0.8],
        (0.5, 1, 5): [0.9, 0.5],
        (0.9, 1, 3): [0.7, 0.6],
        (0.9, 1, 5): [0.7, 0.6],
    }
    assert clear_changes(figures, 0, (0.5, 0.9)) == (1, 0, 2)
    assert clear_changes(figures, 0, (0.9, 0.5)) == (0, 1, 2)
    assert clear_changes(figures, 2, (3, 5)) == (0, 0, 2)
    touching = {(0.5, 1, 3): [0.9, 0.7], (0.9, 1, 3): [0.7, 0.6]}
    assert clear_changes(touching, 0, (0.5, 0.9)) == (0, 0, 1)


def test_bad_values_are_refused_before_any_pass(lm, text, refuses):
    for prompt in bad.NO_PROMPT:
        with refuses("prompt", lm=lm):
            known_text(lm, prompt, 3)
    for count in bad.NO_POSITIVE:
        with refuses("count", lm=lm):
            known_text(lm, PROMPT, count)
    with refuses("temperature"):
        draft_chances(text, -1, 0.9)
    with refuses("top_p"):
        draft_chances(text, 0.9, 2)
    with refuses("span"):
        toss_loops([0.5], 0, 7)
    with refuses("seed"):
        toss_loops([0.5], 1, -1)


def test_a_text_ends_before_eos(scripted_lm):
    for script in ([], [1, 2]):
        text = known_text(scripted_lm(script), "a", 5)
        assert text.tokens == script
        assert len(text.logits) == len(draft_chances(text, 0.9, 0.9)) == len(script)


def test_a_count_beyond_the_context_is_refused_before_any_pass(scripted_lm, refuses):
    small = scripted_lm([1, 1, 1], context_length=4)
    assert len(known_text(small, "a", 3).tokens) == 3
    with refuses("ids", lm=small):
        known_text(small, "a", 5)
