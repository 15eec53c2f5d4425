import dataclasses

import pytest
from loops_by_hand import PROMPT, timeless

from medusa_lib import make_generator, run_greedy
from medusa_lib.beyond.drafters import ModelDrafter, NgramDrafter, draft_lm
from medusa_lib.beyond.named_drafters import make_drafter
from medusa_lib.beyond.one_pass import Branch
from medusa_lib.beyond.speculative import speculate
from medusa_lib.measure.replay import Replays, replay
from medusa_lib.measure.stopwatch import draft_costs


def test_a_tree_cannot_be_replayed(lm, refuses) -> None:
    run = run_greedy(lm, PROMPT, 8)
    with refuses("drafter"):
        replay(lm, run, make_drafter("branches", lm), 3)
    for name in ("heads_chain", "heads_tree"):  # silent without the model's hidden states
        with refuses("drafter", lm=lm):
            replay(lm, run, make_drafter(name, lm), 3)
        with refuses("drafter"):
            draft_costs(lm, {"heads": make_drafter(name, lm)}, run)


@pytest.mark.parametrize("drafter", ["self", "ngram", "draft_model"])
@pytest.mark.parametrize("span", [1, 4, 9])
@pytest.mark.parametrize("prompt", [PROMPT, "Tom looked at the clock and"])
def test_a_replay_has_the_loops_of_the_real_run(lm, drafter, span, prompt) -> None:
    known = speculate(lm, prompt, None, 40)
    real = speculate(lm, prompt, drafter, 40, span=span)
    replayed = replay(lm, known, make_drafter(drafter, lm, generator=make_generator(7)), span)
    assert real.new_ids == known.new_ids
    extra = sum(loop.verify_passes for loop in real.loops) - len(real.loops)
    assert extra <= 2, "near ties are settled by further passes, which a replay does not need"
    real = [dataclasses.replace(loop, verify_passes=1) for loop in real.loops]
    assert timeless(replayed) == timeless(real)


def test_a_replay_ends_with_eos_as_the_run_did(tiny_gpt2, count_passes) -> None:
    """EOS is drafted, looked up and never emitted."""

    class Sure:
        def propose(self, state, span):
            at = len(state.ids) - len(known.prompt_ids)
            return Branch([*known.new_ids, tiny_gpt2.eos_id, 5, 5][at : at + span])

    known = speculate(tiny_gpt2, "abc", None, 6)
    known = dataclasses.replace(known, stop_reason="eos")
    with count_passes(tiny_gpt2) as passes:
        loops = replay(tiny_gpt2, known, Sure(), 4)
    assert not passes
    assert [token for loop in loops for token in loop.emitted] == known.new_ids
    assert loops[-1].branch[-1] == tiny_gpt2.eos_id
    assert loops[-1].bonus is loops[-1].correction is None


def test_a_replay_without_a_model_needs_none(lm, count_passes) -> None:
    known = speculate(lm, PROMPT, None, 20)
    with count_passes(lm) as passes:
        loops = replay(lm, known, NgramDrafter(), 4)
    assert not passes
    assert [token for loop in loops for token in loop.emitted] == known.new_ids


def test_replay_checks_its_span(lm, refuses) -> None:
    known = speculate(lm, PROMPT, None, 2)
    with refuses("span", 0, lm):
        replay(lm, known, NgramDrafter(), 0)


def test_an_unsure_drafter_spends_fewer_passes(lm) -> None:
    known = speculate(lm, PROMPT, None, 30)
    spent = []
    for sure in (0.0, 0.3, 0.9):
        drafter = ModelDrafter(draft_lm(lm), 0.0, 1.0, make_generator(0), sure=sure)
        loops = replay(lm, known, drafter, 8)
        spent.append(sum(loop.draft_passes for loop in loops))
    assert spent == sorted(spent, reverse=True)
    assert spent[0] > spent[-1]


def test_replays_are_those_of_every_text_and_are_kept(lm, count_passes) -> None:
    texts = {"a": [speculate(lm, p, None, 12) for p in (PROMPT, "Peter Rabbit")], "b": []}
    drafters = {
        "small": ModelDrafter(draft_lm(lm), 0.0, 1.0, make_generator(7)),
        "n-gram": NgramDrafter(),
    }
    replays = Replays(lm, texts, drafters)
    for name, drafter in drafters.items():
        loops = replays.loops(name, 3, "a")
        expected = [loop for run in texts["a"] for loop in replay(lm, run, drafter, 3)]
        assert timeless(loops) == timeless(expected)
        with count_passes(draft_lm(lm)) as passes:
            assert replays.loops(name, 3, "a") is loops
        assert not passes
    assert replays.loops("small", 3, "b") == []
    assert replays.loops("small", 1, "a") != replays.loops("small", 3, "a")
