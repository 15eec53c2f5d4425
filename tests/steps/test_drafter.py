"""STEP4: branches drafted token by token, by their seed, and safe from bad input."""

import inspect

import bad_values as bad
import pytest
import torch

from medusa_lib import (
    greedy_next,
    make_generator,
    medusa_loop_step,
    propose_branch,
    propose_one,
    sample_next,
)
from medusa_lib.steps.utilities import append_token

IDS = torch.tensor([[2, 3, 4]])
EOS = 0


def branch(lm, ids=IDS, span=4, temperature=2.0, top_p=None, accepted=0, seed=7, **knobs):
    generator = knobs.pop("generator", None) or make_generator(seed)
    return propose_branch(lm, ids, span, temperature, top_p, accepted, generator=generator, **knobs)


def one(lm, ids=IDS, temperature=2.0, top_p=None, accepted=0, **knobs):
    generator = knobs.pop("generator", None) or make_generator(7)
    return propose_one(lm, ids, temperature, top_p, accepted, generator=generator, **knobs)


@pytest.mark.parametrize("span", [1, 2, 7])
def test_a_branch_has_span_tokens_and_costs_a_pass_each(each_lm, count_passes, span):
    with count_passes(each_lm) as passes:
        drafted = branch(each_lm, span=span)
    assert len(drafted) == len(passes) == span
    assert all(type(token) is int and 0 <= token < each_lm.vocab_size for token in drafted)


def test_each_token_is_conditioned_on_the_ones_before(each_lm):
    drafted, generator, ids = branch(each_lm), make_generator(7), IDS
    for token in drafted:
        assert token == sample_next(each_lm, ids, 2.0, None, generator=generator)
        ids = append_token(ids, token)


def test_propose_one_is_one_draw_of_sample_next(tiny_gpt2):
    expected = sample_next(tiny_gpt2, IDS, 2.0, 0.9, True, 2, generator=make_generator(7))
    assert one(tiny_gpt2, top_p=0.9, ban_eos_first_n=1, rep_ban_n=2) == expected


def test_at_temperature_zero_the_draft_is_greedys_text(each_lm):
    ids = IDS
    for token in branch(each_lm, temperature=0):
        assert token == greedy_next(each_lm, ids)
        ids = append_token(ids, token)


def test_same_seed_same_branch_and_another_seed_another(each_lm):
    first = branch(each_lm, span=8, temperature=3.0)
    assert branch(each_lm, span=8, temperature=3.0) == first
    assert any(branch(each_lm, span=8, temperature=3.0, seed=s) != first for s in (8, 9))


def test_drafting_leaves_the_ids_as_they_were(tiny_gpt2):
    ids = IDS.clone()
    branch(tiny_gpt2, ids)
    assert torch.equal(ids, IDS)


@pytest.mark.parametrize(
    ("accepted", "first_n", "banned"), [(0, 0, False), (0, 1, True), (1, 2, True), (2, 2, False)]
)
def test_eos_is_banned_while_too_few_are_accepted(rows_lm, accepted, first_n, banned):
    lm = rows_lm([[1000.0, 1.0, 0.0]])
    ids = torch.tensor([[1]])
    expected = 1 if banned else EOS
    assert one(lm, ids, accepted=accepted, ban_eos_first_n=first_n) == expected
    drafted = branch(lm, ids, 3, accepted=accepted, ban_eos_first_n=first_n)
    assert drafted == [expected] * 3


def test_the_repetition_ban_sees_the_branch_itself(rows_lm):
    lm = rows_lm([[0.0, 60.0, 40.0, 20.0]])
    drafted = branch(lm, torch.tensor([[0]]), 6, temperature=1, rep_ban_n=2)
    assert drafted == [1, 2, 3, 1, 2, 3]


@pytest.mark.parametrize("span", [1, 3])
def test_a_branch_may_reach_just_past_the_context(tiny_gpt2, span):
    room = tiny_gpt2.context_length - span + 1
    assert len(branch(tiny_gpt2, torch.full((1, room), 2), span)) == span


@pytest.mark.parametrize("span", [1, 3])
def test_a_branch_without_room_is_refused_before_any_pass(tiny_gpt2, refuses, span):
    with refuses("ids", lm=tiny_gpt2):
        branch(tiny_gpt2, torch.full((1, tiny_gpt2.context_length - span + 2), 2), span)


CASES = {
    "temperature": bad.NO_TEMPERATURE,
    "top_p": bad.NO_TOP_P,
    "ban_eos_first_n": bad.NO_COUNT,
    "rep_ban_n": bad.NO_COUNT,
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in CASES.items() for v in vs])
def test_bad_knobs_are_refused(tiny_gpt2, refuses, name, value):
    for propose in (one, branch):
        with refuses(name, value, tiny_gpt2):
            propose(tiny_gpt2, **{name: value})


@pytest.mark.parametrize("value", bad.NO_COUNT)
def test_a_bad_accepted_count_is_refused(tiny_gpt2, refuses, value):
    for propose in (one, branch):
        with refuses("accepted_so_far", value, tiny_gpt2):
            propose(tiny_gpt2, accepted=value)


@pytest.mark.parametrize("value", bad.NO_POSITIVE)
def test_a_bad_span_is_refused(tiny_gpt2, refuses, value):
    with refuses("span", value, tiny_gpt2):
        branch(tiny_gpt2, span=value)


@pytest.mark.parametrize("value", bad.NO_IDS)
def test_bad_ids_are_refused(tiny_gpt2, refuses, value):
    with refuses("cur_ids", lm=tiny_gpt2):
        one(tiny_gpt2, value)
    with refuses("ids", lm=tiny_gpt2):
        branch(tiny_gpt2, value)


@pytest.mark.parametrize("value", bad.NO_GENERATOR[1:])
def test_a_generator_off_the_cpu_is_refused(tiny_gpt2, refuses, value):
    for propose in (one, branch):
        with refuses("generator", lm=tiny_gpt2):
            propose(tiny_gpt2, generator=value)


def test_a_generator_must_be_given(tiny_gpt2, refuses):
    with pytest.raises(TypeError, match="generator"):
        propose_one(tiny_gpt2, IDS, 1.0, None)
    with pytest.raises(TypeError, match="generator"):
        propose_branch(tiny_gpt2, IDS, 3, 1.0, None)
    with refuses("generator", None, tiny_gpt2):
        propose_branch(tiny_gpt2, IDS, 3, 1.0, None, generator=None)


@pytest.mark.parametrize("value", bad.NO_LM)
def test_what_is_no_lm_is_refused(refuses, value):
    for propose in (one, branch):
        with refuses("lm"):
            propose(value)


@pytest.mark.parametrize("step", [propose_one, propose_branch, medusa_loop_step])
def test_the_bans_are_named_and_none_is_misspelt_without_a_word(tiny_gpt2, step):
    named = inspect.signature(step).parameters
    assert [named[name].default for name in ("ban_eos_first_n", "rep_ban_n")] == [0, 0]
    knobs = {"temperature": 1.0, "top_p": None, "generator": make_generator(7)}
    knobs |= {} if step is propose_one else {"span": 2}
    with pytest.raises(TypeError, match="unexpected keyword argument 'ban_eos'"):
        step(tiny_gpt2, IDS, ban_eos=1, **knobs)
