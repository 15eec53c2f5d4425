import dataclasses

import pytest
from loops_by_hand import PROMPT

from medusa_lib import acceptance_rate, make_generator
from medusa_lib.beyond.drafters import ModelDrafter, NgramDrafter, draft_lm
from medusa_lib.beyond.one_pass import Branch, one_pass
from medusa_lib.beyond.speculative import speculate
from medusa_lib.measure.stopwatch import draft_costs, measured_speedups, pass_seconds


def test_every_timed_pass_is_rolled_back(tiny_gpt2, count_passes) -> None:
    with count_passes(tiny_gpt2) as passes:
        taken = pass_seconds(tiny_gpt2, (1, 3), context=35, repeats=4)  # else the context is full
    assert list(taken) == [1, 3]
    assert len(passes) == 1 + 2 * 4


class Slow:
    """Drafts two tokens or none, in a time known beforehand, and notes what it was shown."""

    def __init__(self, clock, tokens) -> None:
        self.clock, self.tokens, self.shown = clock, tokens, []

    def propose(self, state, span):
        self.clock.now += 8.0 if self.shown else 100.0
        self.shown.append(list(state.ids))
        return Branch(self.tokens[:span])


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 0.0

    monkeypatch.setattr("medusa_lib.measure.stopwatch.time.perf_counter", lambda: Clock.now)
    return Clock


@pytest.mark.parametrize(("tokens", "each"), [([5, 6], 4.0), ([], 2.0)])
def test_draft_steps_are_timed_on_a_growing_text(lm, clock, monkeypatch, tokens, each) -> None:
    def timed(state, branch):
        clock.now += 0.5
        return one_pass(state, branch)

    known = speculate(lm, PROMPT, None, 5)
    monkeypatch.setattr("medusa_lib.measure.stopwatch.one_pass", timed)
    drafters = {"a": Slow(clock, tokens), "b": Slow(clock, [7])}
    costs = draft_costs(lm, drafters, known, span=4)
    assert costs == {"a": each / 0.5, "b": 8.0 / 0.5}, "the first, slow one is not counted"
    ids = known.prompt_ids
    assert drafters["a"].shown == [ids + known.new_ids[:n] for n in range(6)]


def test_a_draft_step_needs_a_span(lm, refuses) -> None:
    known = speculate(lm, PROMPT, None, 2)
    with refuses("span", 0, lm):
        draft_costs(lm, {"n-gram": NgramDrafter()}, known, 0)


def test_speedups_are_those_of_the_fastest_round(lm, monkeypatch) -> None:
    seconds = iter([6.0, 3.0, 2.0, 8.0, 1.0, 5.0])  # plain, span 1, span 2; twice
    real, calls = speculate, []

    def timed(lm, prompt, drafter, max_new_tokens, span):
        calls.append((drafter, span))
        run = real(lm, prompt, drafter, max_new_tokens, span)
        return dataclasses.replace(run, seconds=next(seconds))

    monkeypatch.setattr("medusa_lib.measure.stopwatch.speculate", timed)
    small = ModelDrafter(draft_lm(lm), 0.0, 1.0, make_generator(0))
    found, alphas = measured_speedups(lm, [PROMPT], {"small": small}, (1, 2), 12)
    assert found == {"small": [6.0 / 1.0, 6.0 / 2.0]}
    assert calls == [(None, 1), (small, 1), (small, 2)] * 2
    real_alphas = [acceptance_rate(real(lm, PROMPT, small, 12, span).loops) for span in (1, 2)]
    assert alphas == {"small": real_alphas}


def test_a_silent_drafter_has_a_speedup_and_an_alpha_of_nothing(lm, refuses) -> None:
    class Silent:
        def propose(self, state, span):
            return Branch()

    found, alphas = measured_speedups(lm, [PROMPT], {"silent": Silent()}, (1,), 3, rounds=1)
    assert alphas == {"silent": [0.0]}
    assert found["silent"][0] > 0
    with refuses("rounds", 0):
        measured_speedups(lm, [PROMPT], {}, (1,), 3, rounds=0)


def test_pass_seconds_asks_for_passes_that_fit(tiny_gpt2, refuses) -> None:
    assert set(pass_seconds(tiny_gpt2, (1, 3), context=4, repeats=1)) == {1, 3}
    with refuses("context", 39, tiny_gpt2):
        pass_seconds(tiny_gpt2, (1, 2), context=39)
    with refuses("repeats", 0, tiny_gpt2):
        pass_seconds(tiny_gpt2, (1,), context=2, repeats=0)
    with refuses("each of counts", 0, tiny_gpt2):
        pass_seconds(tiny_gpt2, (0,), context=2)
