"""STEP5: the longest prefix that greedy agrees with, then its correction."""

import math

import bad_values as bad
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medusa_lib import accept_one, append_token, greedy_next, prefix_accept_once

SCRIPT = [3, 4, 5, 6]
START = torch.tensor([[2]])


@pytest.fixture(scope="module")
def scripted(scripted_lm):
    return scripted_lm(SCRIPT)


@pytest.mark.parametrize(("token", "go_on"), [(3, True), (4, False), (10**6, False)])
def test_accept_one_always_appends_greedys_token(scripted, count_passes, token, go_on):
    with count_passes(scripted) as passes:
        ids, said = accept_one(scripted, START, token)
    assert ids.tolist() == [[2, 3]]
    assert said is go_on
    assert len(passes) == 1


@pytest.mark.parametrize(
    ("branch", "new", "accepted"),
    [
        ([3], [3], 1),
        ([9], [3], 0),
        ([3, 4, 5], [3, 4, 5], 3),
        ([3, 4, 9], [3, 4, 5], 2),
        ([3, 9, 5], [3, 4], 1),  # what would match again later is unused
        ([9, 4, 5], [3], 0),
        ((3, 4), [3, 4], 2),
    ],
)
def test_the_matching_prefix_is_kept_and_the_first_miss_corrected(
    scripted, count_passes, branch, new, accepted
):
    with count_passes(scripted) as passes:
        ids, count = prefix_accept_once(scripted, START, branch)
    assert ids[0].tolist() == [2, *new]
    assert count == accepted
    assert len(passes) == len(new)
    assert START.tolist() == [[2]]


def test_eos_is_compared_like_any_token(scripted_lm):
    lm = scripted_lm([3])
    assert prefix_accept_once(lm, START, [3, 0])[0].tolist() == [[2, 3, 0]]
    assert prefix_accept_once(lm, START, [3, 0])[1] == 2
    ids, accepted = prefix_accept_once(lm, START, [3, 7])  # EOS as the correction
    assert (ids.tolist(), accepted) == ([[2, 3, 0]], 1)


def test_whatever_is_drafted_greedys_text_comes_out(each_lm):
    vocab = min(each_lm.vocab_size, 20)

    @settings(max_examples=25, deadline=None)
    @given(
        st.lists(st.integers(2, vocab - 1), min_size=1, max_size=4),
        st.lists(st.one_of(st.none(), st.integers(0, vocab - 1)), min_size=1, max_size=4),
    )
    def run(context, drafted):
        ids = grown = torch.tensor([context])
        branch, matching = [], True
        for token in drafted:  # None drafts greedy's own token
            greedy = greedy_next(each_lm, grown)
            branch.append(greedy if token is None else token)
            if matching:
                grown = append_token(grown, greedy)
            matching = matching and branch[-1] == greedy
        found, accepted = prefix_accept_once(each_lm, ids, branch)
        assert torch.equal(found, grown)
        agreed = grown.shape[1] - ids.shape[1] - (not matching)
        assert accepted == agreed

    run()


@pytest.mark.parametrize("length", [1, 3])
def test_a_branch_may_reach_just_past_the_context(tiny_gpt2, length):
    ids = torch.full((1, tiny_gpt2.context_length - length + 1), 2)
    assert prefix_accept_once(tiny_gpt2, ids, [2] * length)[0].shape[1] > ids.shape[1]


@pytest.mark.parametrize("length", [1, 3])
def test_a_branch_without_room_is_refused_before_any_pass(tiny_gpt2, refuses, length):
    ids = torch.full((1, tiny_gpt2.context_length - length + 2), 2)
    with refuses("ids", lm=tiny_gpt2):
        prefix_accept_once(tiny_gpt2, ids, [2] * length)


@pytest.mark.parametrize("value", [None, 7, [], (), {3}, torch.tensor([3])])
def test_what_is_no_branch_is_refused(scripted, refuses, value):
    with refuses("branch", lm=scripted):
        prefix_accept_once(scripted, START, value)


@pytest.mark.parametrize("value", [True, 1.5, "3", None, math.nan, -1, torch.tensor(3)])
def test_a_bad_token_is_refused(scripted, refuses, value):
    with refuses("token", value, scripted):
        accept_one(scripted, START, value)
    with refuses("branch token", value, scripted):
        prefix_accept_once(scripted, START, [3, 4, value])


@pytest.mark.parametrize("value", bad.NO_IDS)
def test_bad_ids_are_refused(scripted, refuses, value):
    with refuses("cur", lm=scripted):
        accept_one(scripted, value, 3)
    with refuses("ids", lm=scripted):
        prefix_accept_once(scripted, value, [3])


@pytest.mark.parametrize("value", bad.NO_LM)
def test_what_is_no_lm_is_refused(refuses, value):
    with refuses("lm"):
        accept_one(value, START, 3)
    with refuses("lm"):
        prefix_accept_once(value, START, [3])
