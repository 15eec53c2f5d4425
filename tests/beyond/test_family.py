"""Jacobi iteration ends at greedy's text, and each pass makes sure of one token more."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_settings import settings_of

from medusa_lib import run_greedy
from medusa_lib.beyond.family import jacobi, jacobi_step, settled
from medusa_lib.beyond.one_pass import State


@settings(max_examples=25, deadline=None, database=None, derandomize=True)
@given(
    text=st.text("abcdefghij .", min_size=1, max_size=10).filter(str.strip),
    count=st.integers(1, 20),
    llama=st.booleans(),
)
def test_it_ends_at_greedys_text(tiny_gpt2, tiny_llama, text, count, llama) -> None:
    lm = tiny_llama if llama else tiny_gpt2
    guesses, greedy = jacobi(lm, text, count), run_greedy(lm, text, count)
    wanted = greedy.new_ids
    assert guesses[-1][: len(wanted)] == wanted
    assert len(guesses) <= count + 2
    for passes, guess in enumerate(guesses):
        assert guess[: min(passes, len(wanted))] == wanted[:passes]


def test_on_the_shipped_model(lm) -> None:
    guesses = jacobi(lm, "Once upon a time", 12)
    assert guesses[-1] == guesses[-2] == run_greedy(lm, "Once upon a time", 12).new_ids
    places = settled(guesses)
    assert all(place <= at for at, place in enumerate(places, start=1))


def test_a_step_says_what_follows_at_every_place(tiny_gpt2, count_passes) -> None:
    with count_passes(tiny_gpt2) as passes:
        state = State.start(tiny_gpt2, [2, 3])
        said = jacobi_step(state, [4, 5, 6])
    assert len(passes) == 1
    for at in range(3):
        again = State.start(tiny_gpt2, [2, 3, *[4, 5, 6][:at]])
        assert jacobi_step(again, [0]) == [said[at]]
    assert state.seen == 1


def test_when_each_place_settled() -> None:
    assert settled([[7, 7, 7], [1, 2, 4], [1, 3, 4], [1, 3, 5], [1, 3, 5]]) == [1, 2, 3]
    assert settled([[1, 2]]) == [0, 0]


@pytest.mark.parametrize("bad", [0, -1, "3", 2.5, 400])
def test_a_bad_count_is_refused_before_any_pass(tiny_gpt2, refuses, bad) -> None:
    with refuses("count", bad, tiny_gpt2):
        jacobi(tiny_gpt2, "abc", bad)


def test_a_models_settings_are_obeyed(lm) -> None:
    with settings_of(lm, repetition_penalty=1.4, suppress_tokens=[926]) as other:
        wanted = run_greedy(other, "The king", 8).new_ids
        assert jacobi(other, "The king", 8)[-1] == wanted
    assert wanted != run_greedy(lm, "The king", 8).new_ids
