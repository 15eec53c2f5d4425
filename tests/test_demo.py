"""STEP7: all decoders on one prompt, their report, and what JSON holds of it."""

import dataclasses
import json

import pytest

from medusa_lib import (
    Cfg,
    Comparison,
    Generation,
    LoopRecord,
    compare,
    describe_loop,
    medusa_tiny,
    metrics,
    report,
    run_greedy,
)
from medusa_lib.demo import SPEEDUP_LABEL, as_json, speedup_row

CFG = Cfg(MAX_NEW_TOKENS=12, SPAN=4, TEMPERATURE=1.5, TOP_P=None, SEED=3)


def test_compare_runs_all_decoders_with_the_knobs_of_cfg(each_lm):
    cfg = dataclasses.replace(CFG, BAN_EOS_FIRST_N=2, REP_BAN_N=3)
    both = compare(each_lm, "a bad face", cfg)
    medusa = medusa_tiny(each_lm, "a bad face", 12, 4, 1.5, None, 3, 2, 3)
    assert both.greedy.new_ids == run_greedy(each_lm, "a bad face", 12).new_ids
    assert both.medusa.new_ids == medusa.new_ids
    assert [r.branch for r in both.medusa.loops] == [r.branch for r in medusa.loops]
    assert both.identical
    assert both.first_difference is None


def test_compare_without_cfg_uses_the_defaults(tiny_gpt2):
    both = compare(tiny_gpt2, "abc")
    assert both.cfg == Cfg()
    assert both.prompt == "abc"


def test_on_loop_sees_the_loops_of_all(tiny_gpt2):
    seen = []
    both = compare(tiny_gpt2, "abc", CFG, seen.append)
    assert seen == [record for run in both.runs.values() for record in run.loops]


def run_of(new_ids, loops=()):
    return Generation([2], list(new_ids), "text", "length", list(loops))


def test_a_difference_is_found_and_reported():
    same, other = run_of([3, 4, 5]), run_of([3, 4, 6])
    for runs in ((same, other, same, same), (same, same, other, same), (same, same, same, other)):
        differing = Comparison("a", Cfg(), *runs)
        assert not differing.identical
        assert differing.first_difference == 2
        assert "identical: NO, first at new token 2" in report(differing)
    assert Comparison("a", Cfg(), same, same, same, same).identical


@pytest.mark.parametrize("value", [{}, "cfg", 0, Cfg])
def test_compare_refuses_what_is_no_cfg(tiny_gpt2, refuses, value):
    with refuses("cfg", lm=tiny_gpt2):
        compare(tiny_gpt2, "abc", value)


def test_compare_checks_for_all_decoders_before_greedys_passes(tiny_gpt2, refuses, monkeypatch):
    monkeypatch.setattr("medusa_lib.beyond.speculative.turning_point", lambda _lm: 8)  # longrope's
    with refuses("max_new_tokens", lm=tiny_gpt2):
        compare(tiny_gpt2, "abc", CFG)


@pytest.mark.parametrize("value", [None, "", "  ", 7])
def test_compare_refuses_bad_prompts(tiny_gpt2, refuses, value):
    with refuses("prompt", value, tiny_gpt2):
        compare(tiny_gpt2, value, CFG)


def test_metrics_by_hand():
    loops = [
        LoopRecord(0, (5, 6, 7), 3, (5, 6, 7), draft_passes=3, verify_passes=3),
        LoopRecord(1, (9, 6, 7), 0, (5,), correction=5, draft_passes=3, verify_passes=1),
    ]
    figures = metrics(Generation([2], [5, 6, 7, 5], "text", "length", loops, 1.5, 10))
    assert figures == {
        "new_tokens": 4,
        "stop_reason": "length",
        "loops": 2,
        "draft_passes": 6,
        "verify_passes": 4,
        "model_passes": 10,
        "passes_per_token": 2.5,
        "acceptance_rate": 0.75,
        "draft_efficiency": 0.5,
        "mean_accepted_length": 2.0,
        "seconds": 1.5,
    }


def test_metrics_without_meaning_are_none(tiny_gpt2):
    figures = metrics(run_greedy(tiny_gpt2, "abc", 3))
    assert figures["acceptance_rate"] is None
    assert figures["draft_efficiency"] is None
    assert figures["passes_per_token"] is not None


def test_a_loop_in_words(tiny_gpt2):
    part = LoopRecord(4, (2, 3, 4), 1, (2, 5), correction=5)
    assert describe_loop(tiny_gpt2, part).splitlines() == [
        "loop 4: drafted 3, accepted 1",
        "  draft 'a' == greedy: accepted",
        "  draft 'b' != greedy 'd': corrected, stop",
        "  draft 'c': unused",
    ]


def test_eos_in_words(tiny_gpt2):
    accepted = LoopRecord(0, (0, 2), 1, ())
    assert "  draft EOS == greedy: accepted" in describe_loop(tiny_gpt2, accepted)
    corrects = LoopRecord(0, (2,), 0, (), correction=0)
    assert "  draft 'a' != greedy EOS: corrected, stop" in describe_loop(tiny_gpt2, corrects)


def test_the_report_shows_both_texts_and_what_each_cost(each_lm):
    both = compare(each_lm, "a bad face", CFG)
    said = report(both)
    lines = {line[:26].strip(): line[26:].split() for line in said.splitlines()}
    assert said.count("a bad face") == 4
    assert lines["identical: yes"] == []
    assert lines["new tokens"] == [str(len(both.greedy.new_ids))] * 4
    assert lines["model passes"] == [str(run.model_passes) for run in both.runs.values()]
    assert lines["draft passes"] == ["0", str(both.medusa.draft_passes), "0", "0"]
    assert lines[SPEEDUP_LABEL][2] == "1.00"
    assert lines["α = accepted ÷ evaluated"][0] == "–"


def test_json_holds_the_whole_comparison(each_lm):
    both = compare(each_lm, "a bad face", CFG)
    data = json.loads(json.dumps(as_json(both), allow_nan=False))
    assert data["cfg"] == dataclasses.asdict(CFG)
    assert data["identical"] is True
    assert data["prompt"] == "a bad face"
    for name in ("greedy", "medusa", "cached", "cure"):
        run = getattr(both, name)
        assert data[name]["new_ids"] == run.new_ids
        assert data[name]["text"] == run.text
        assert data[name]["model_passes"] == run.model_passes


def test_a_run_of_eos_alone_has_a_report_and_json(tiny_gpt2):
    first = run_greedy(tiny_gpt2, "a", 1).new_ids[0]
    both = compare(dataclasses.replace(tiny_gpt2, eos_id=first), "a", CFG)
    assert both.identical
    assert both.greedy.new_ids == []
    assert "eos" in report(both)
    assert json.loads(json.dumps(as_json(both), allow_nan=False))["greedy"]["new_tokens"] == 0


def test_the_cure_takes_the_drafter_it_is_given(lm, refuses):
    both = compare(lm, "Once upon a time", CFG, drafter="draft_model")
    assert both.identical
    assert both.cure.draft_passes > 0
    assert both.cached.model_passes == len(both.greedy.new_ids)
    with refuses("drafter", "oracle", lm):
        compare(lm, "Once upon a time", CFG, drafter="oracle")


def test_a_bonus_in_words(lm):
    loop = LoopRecord(0, (5, 6), 2, (5, 6, 7), bonus=7)
    assert describe_loop(lm, loop).splitlines()[-1].startswith("  bonus ")


def test_a_speedup_of_another_text_is_a_dash():
    fast, slow = (dataclasses.replace(run_of([3, 4]), seconds=s) for s in (1.0, 2.0))
    other = dataclasses.replace(run_of([9]), seconds=1.0)
    row = speedup_row(Comparison("a", Cfg(), other, slow, slow, fast))
    assert row == (SPEEDUP_LABEL, "–", "1.00", "1.00", "2.00")
