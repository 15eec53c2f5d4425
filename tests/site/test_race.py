"""The live picture is the records, nothing else."""

from __future__ import annotations

from medusa_lib import run_greedy, speculate
from medusa_lib.site.race import DRAFTER, PROMPT, lane_of, run_race
from medusa_lib.teaching.shared.html import token_texts


def test_both_lanes_write_greedys_text_and_count_all_passes(lm, count_passes):
    run_race(lm, new_tokens=2)  # the first run measures its model with passes of its own
    with count_passes(lm) as passes:
        greedy, cure = run_race(lm, new_tokens=12)
    wanted = token_texts(lm, run_greedy(lm, PROMPT, 12).new_ids)
    assert [text for text, *_ in greedy.tokens] == [text for text, *_ in cure.tokens] == wanted
    assert [at for *_, at in greedy.tokens] == list(range(1, 13))
    assert greedy.passes == 12
    assert greedy.passes + cure.passes == len(passes)


def test_tokens_of_one_loop_appear_with_its_last_pass(lm):
    run = speculate(lm, PROMPT, DRAFTER, 12)
    lane = lane_of(lm, "cure", run)
    assert lane.passes == run.model_passes == max(at for *_, at in lane.tokens)
    assert lane.written(0) == 0
    assert lane.written(1) == len(run.loops[0].emitted)
    assert lane.written(lane.passes) == len(run.new_ids)
    assert [kind for _, kind, _ in lane.tokens] == list(run.sources)


def test_a_draft_models_passes_count_before_its_tokens_appear(lm):
    run = speculate(lm, PROMPT, "self", 8, span=3)
    lane = lane_of(lm, "self", run)
    assert max(at for *_, at in lane.tokens) == run.draft_passes + run.verify_passes
