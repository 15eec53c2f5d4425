"""STEP6: the whole loop writes greedy's tokens, counts every pass, and stops where it should."""

import time
from collections import Counter

import bad_values as bad
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import EOS as EOS_TEXT
from tiny_models import LETTERS

import medusa_lib.steps.loops as stage
from medusa_lib import (
    append_token,
    encode,
    first_difference,
    greedy_next,
    last_logits,
    make_generator,
    medusa_loop_step,
    medusa_tiny,
    prefix_accept_once,
    propose_branch,
    run_greedy,
    speculate,
)
from medusa_lib.steps.loops import draft_and_verify, start_ids

DECODERS = [run_greedy, medusa_tiny]
both = pytest.mark.parametrize("decoder", DECODERS)
EOS = 0
TEXT = st.text(LETTERS, min_size=1, max_size=8) | st.text(min_size=1, max_size=8)
KNOBS = {
    "max_new_tokens": st.integers(1, 14),
    "span": st.integers(1, 6),
    "temperature": st.sampled_from([0, 0.3, 0.9, 1.5]) | st.floats(0, 5),
    "top_p": st.none() | st.floats(0, 1),
    "seed": st.none() | st.integers(0, 2**63 - 1),
    "ban_eos_first_n": st.integers(0, 5),
    "rep_ban_n": st.integers(0, 5),
}


def explain(lm, greedy, medusa):
    """Where two runs part, and how near a tie greedy's choice was there."""
    at = first_difference(greedy.new_ids, medusa.new_ids)
    if at is None:
        return f"same tokens, but stopped by {greedy.stop_reason} and {medusa.stop_reason}"
    before = torch.tensor([greedy.prompt_ids + greedy.new_ids[:at]])
    first, second = last_logits(lm, before).topk(2).values.tolist()
    return (
        f"the runs differ first at new token {at}: greedy {greedy.new_ids[at : at + 3]}, "
        f"medusa {medusa.new_ids[at : at + 3]}; top-two margin there {first - second:.3g}"
    )


def test_medusa_writes_what_greedy_writes(each_lm):
    seen = Counter()

    @settings(max_examples=30, deadline=None)
    @given(
        prompt=TEXT.filter(lambda t: t.strip() and len(t.encode()) < 30),
        knobs=st.fixed_dictionaries(KNOBS),
    )
    def run(prompt, knobs):
        medusa = medusa_tiny(each_lm, prompt, **knobs)
        greedy = run_greedy(each_lm, prompt, knobs["max_new_tokens"])
        same = medusa.new_ids == greedy.new_ids and medusa.stop_reason == greedy.stop_reason
        assert same, explain(each_lm, greedy, medusa)
        assert medusa.text == greedy.text
        assert len(medusa.new_ids) <= knobs["max_new_tokens"]
        seen.update(medusa.sources)

    run()
    assert seen["accepted"] > 0, "vacuous: not one draft token was accepted"
    assert seen["corrected"] > 0, "vacuous: not one draft token was rejected"


def test_the_failure_message_names_the_place_and_the_margin(rows_lm):
    lm = rows_lm([[0, 1, 5, 3], [0, 1, 4, 3.5]])
    greedy = run_greedy(lm, "a", 3)
    medusa = stage.Generation(greedy.prompt_ids, [2, 3, 2], "", "length")
    said = explain(lm, greedy, medusa)
    assert "new token 1:" in said
    assert "margin there 0.5" in said


def generated(lm, prompt, count):
    """Transformers' own greedy text, EOS included if it came."""
    ids = encode(lm, prompt)
    out = lm.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=count,
        eos_token_id=lm.eos_id,
        pad_token_id=lm.eos_id,
        use_cache=False,
    )
    return out[0, ids.shape[1] :].tolist()


@pytest.mark.parametrize("prompt", ["a bad face", "In a distant future, ", "..."])
def test_greedy_is_generate_without_sampling(each_lm, prompt):
    out = generated(each_lm, prompt, 16)
    run = run_greedy(each_lm, prompt, 16)
    ended = out[-1] == each_lm.eos_id
    assert run.new_ids == out[: len(out) - ended]
    assert run.stop_reason == ("eos" if ended else "length")


def test_greedy_stops_where_generate_meets_eos(tiny_gpt2, tiny_llama):
    ended = 0
    for lm in (tiny_gpt2, tiny_llama):
        for letter in "abcdefghij":
            run = run_greedy(lm, letter, 12)
            eos = [lm.eos_id] if run.stop_reason == "eos" else []
            assert run.new_ids + eos == generated(lm, letter, 12)
            ended += len(eos)
    assert ended > 0


# EOS, in every place, against a model whose greedy text is known.

SPAN = 4


@pytest.mark.parametrize("length", range(SPAN * 2 + 2))
def test_eos_at_every_position_of_an_accepted_run(scripted_lm, length):
    script = [2 + n % 9 for n in range(length)]
    lm = scripted_lm(script)
    greedy = run_greedy(lm, "a", 30)
    medusa = medusa_tiny(lm, "a", 30, span=SPAN, temperature=0)
    assert greedy.new_ids == medusa.new_ids == script
    assert greedy.stop_reason == medusa.stop_reason == "eos"
    assert greedy.text == medusa.text
    assert EOS_TEXT not in medusa.text
    assert medusa.loops[-1].accepted == length % SPAN + 1  # EOS itself was an accepted draft
    assert medusa.loops[-1].correction is None
    assert medusa.sources == ["accepted"] * length


@pytest.mark.parametrize("length", range(SPAN * 2 + 2))
def test_eos_as_the_correction_after_every_accepted_run(scripted_lm, length):
    script = [2 + n % 9 for n in range(length)]
    lm = scripted_lm(script)
    medusa = medusa_tiny(lm, "a", 30, span=SPAN, temperature=0, ban_eos_first_n=99)
    assert medusa.new_ids == run_greedy(lm, "a", 30).new_ids == script
    assert medusa.stop_reason == "eos"
    assert medusa.loops[-1].accepted == length % SPAN
    assert medusa.loops[-1].correction == EOS
    assert medusa.sources == ["accepted"] * length


def test_eos_drafted_where_greedy_goes_on_is_rejected(rows_lm):
    # EOS is nearly as probable as greedy's token, so drafts hold it, in the middle too.
    lm = rows_lm([[4.9, 0, 5, 4], [4.9, 0, 4, 5]] * 12)
    greedy = run_greedy(lm, "a", 20)
    assert len(greedy.new_ids) == 20
    rejected = 0
    for seed in range(20):
        medusa = medusa_tiny(lm, "a", 20, span=SPAN, seed=seed)
        assert medusa.new_ids == greedy.new_ids
        for loop in medusa.loops:
            at = loop.accepted
            rejected += loop.evaluated > at and loop.branch[at] == EOS
            assert EOS not in loop.emitted
    assert rejected > 0


def test_nothing_after_a_drafted_eos_is_verified(scripted_lm):
    lm = scripted_lm([3])
    records = []
    ids, accepted = medusa_loop_step(
        lm, torch.tensor([[2]]), SPAN, 0, None, generator=make_generator(7), records=records
    )
    assert ids.tolist() == [[2, 3, EOS]]
    assert accepted == 2
    assert records[0].branch == (3, EOS, EOS, EOS)
    assert (records[0].evaluated, records[0].unused) == (2, 2)
    assert (records[0].draft_passes, records[0].verify_passes) == (4, 2)
    assert records[0].emitted == (3,)


@both
def test_eos_right_after_the_limit_is_not_reached(scripted_lm, decoder):
    run = decoder(scripted_lm([3, 4, 5]), "a", 3)
    assert (run.new_ids, run.stop_reason) == ([3, 4, 5], "length")
    run = decoder(scripted_lm([3, 4]), "a", 3)
    assert (run.new_ids, run.stop_reason) == ([3, 4], "eos")


@both
def test_an_eos_within_the_prompt_does_not_stop(scripted_lm, decoder):
    lm = scripted_lm([3, 4], start=2)
    assert decoder(lm, "a" + EOS_TEXT, 9).new_ids == [3, 4]


# Lengths.


@pytest.mark.parametrize("temperature", [0, 3.0])
@pytest.mark.parametrize("span", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("count", range(1, 11))
def test_exact_length_for_every_limit_and_span(rows_lm, count, span, temperature):
    lm = rows_lm([[-99, 1, 3, 2]])
    medusa = medusa_tiny(lm, "a", count, span=span, temperature=temperature)
    assert medusa.new_ids == run_greedy(lm, "a", count).new_ids == [2] * count
    assert medusa.stop_reason == "length"


@both
@pytest.mark.parametrize("room", [1, 2, 3, 7])
def test_a_full_context_stops_the_run(rows_lm, decoder, room):
    lm = rows_lm([[-99, 1, 3, 2]], context_length=12)
    run = decoder(lm, "a" * (12 - room), 30)
    assert run.new_ids == [2] * room
    assert run.stop_reason == "context"
    assert decoder(lm, "a" * (12 - room), room).stop_reason == "length"


def test_medusa_equals_greedy_into_a_full_context(tiny_gpt2, tiny_llama):
    reasons = Counter()
    for lm in (tiny_gpt2, tiny_llama):
        for length in range(lm.context_length - 4, lm.context_length):
            prompt = (LETTERS.strip() * 9)[:length]
            greedy = run_greedy(lm, prompt, 30)
            for span in (1, 5):
                medusa = medusa_tiny(lm, prompt, 30, span=span)
                assert medusa.new_ids == greedy.new_ids, explain(lm, greedy, medusa)
                assert medusa.stop_reason == greedy.stop_reason
            reasons[greedy.stop_reason] += 1
            assert length + len(greedy.new_ids) <= lm.context_length
    assert reasons["context"] > 0


@both
def test_a_prompt_of_the_whole_context_is_refused(tiny_gpt2, refuses, decoder):
    limit = tiny_gpt2.context_length
    assert len(decoder(tiny_gpt2, "a" * (limit - 1), 5).new_ids) <= 1
    for length in (limit, limit + 1, limit * 9):
        with refuses("prompt", length, tiny_gpt2):
            decoder(tiny_gpt2, "a" * length, 5)


# Accounts.


def test_passes_in_the_records_are_the_passes_that_happened(each_lm, count_passes):
    for knobs in ({}, {"span": 1}, {"span": 5, "temperature": 0}, {"ban_eos_first_n": 9}):
        with count_passes(each_lm) as passes:
            medusa = medusa_tiny(each_lm, "a bad face", 12, **knobs)
        assert medusa.model_passes == len(passes) == medusa.draft_passes + medusa.verify_passes
    with count_passes(each_lm) as passes:
        greedy = run_greedy(each_lm, "a bad face", 12)
    assert greedy.model_passes == len(passes) == greedy.verify_passes == len(greedy.loops)
    assert greedy.draft_passes == 0


def test_records_add_up(each_lm):
    run = medusa_tiny(each_lm, "a bad face", 20, span=4, temperature=1.0)
    assert [t for loop in run.loops for t in loop.emitted] == run.new_ids
    assert [loop.index for loop in run.loops] == list(range(len(run.loops)))
    assert len(run.sources) == len(run.new_ids)
    assert run.prompt_ids == encode(each_lm, "a bad face")[0].tolist()
    for loop in run.loops:
        assert loop.draft_passes == len(loop.branch)
        assert loop.verify_passes == loop.evaluated
        assert loop.branch[: len(loop.emitted)][: loop.accepted] == loop.emitted[: loop.accepted]
        assert loop.seconds > 0


@pytest.mark.parametrize("decoder", [run_greedy, medusa_tiny, speculate])
def test_seconds_are_those_of_the_loops_and_end_before_the_text_is_made(
    tiny_gpt2, monkeypatch, decoder
):
    ends = []

    def slow(*_):
        ends.append(time.perf_counter())
        time.sleep(0.2)  # longer than all before the run's own clock starts
        return "text"

    monkeypatch.setattr(stage, "decode", slow)
    began = time.perf_counter()
    run = decoder(tiny_gpt2, "a bad face", max_new_tokens=12)
    assert sum(loop.seconds for loop in run.loops) <= run.seconds <= ends[0] - began
    assert len(run.loops) > 1


def test_a_step_is_a_branch_then_a_prefix_accept(tiny_gpt2):
    ids = torch.tensor([[2, 3, 4]])
    records = []
    found = medusa_loop_step(
        tiny_gpt2, ids, 3, 1.5, 0.9, 2, 5, generator=make_generator(7), records=records
    )
    branch = propose_branch(tiny_gpt2, ids, 3, 1.5, 0.9, 2, generator=make_generator(7))
    assert EOS not in branch
    expected = prefix_accept_once(tiny_gpt2, ids, branch)
    assert torch.equal(found[0], expected[0])
    assert found[1] == expected[1] == records[0].accepted
    assert records[0].index == 5
    assert records[0].branch == tuple(branch)


def test_the_ban_counts_accepted_drafts_over_all_loops(rows_lm):
    # The drafter would always draft EOS (0); greedy's token is the same but for EOS's row.
    lm = rows_lm([[-99, 1, 5, 4]] * 4 + [[9, 1, 5, 4]])
    run = medusa_tiny(lm, "a", 9, span=2, temperature=0, ban_eos_first_n=4)
    assert run.new_ids == [2] * 4
    assert [loop.branch for loop in run.loops] == [(2, 2), (2, 2), (EOS, EOS)]
    run = medusa_tiny(lm, "a", 9, span=2, temperature=0, ban_eos_first_n=5)
    assert run.loops[-1].branch == (2, 2)
    assert run.loops[-1].correction == EOS


# Seeds.


def test_same_seed_same_run_and_another_seed_other_drafts(each_lm):
    def branches(seed):
        run = medusa_tiny(each_lm, "a bad face", 6, temperature=2.0, seed=seed)
        return [loop.branch for loop in run.loops]

    first = branches(7)
    torch.manual_seed(123)
    assert branches(7) == first
    assert any(branches(seed) != first for seed in (8, 9))
    assert len({str(branches(None)) for _ in range(3)}) > 1


def test_a_run_leaves_the_global_random_state_alone(tiny_gpt2):
    state = torch.get_rng_state()
    medusa_tiny(tiny_gpt2, "abc", 8)
    assert torch.equal(torch.get_rng_state(), state)


# Watching, cancelling, interrupting.


@both
def test_on_loop_sees_every_loop(tiny_gpt2, decoder):
    seen = []
    run = decoder(tiny_gpt2, "abc", 12, on_loop=seen.append)
    assert seen == run.loops


@both
@pytest.mark.parametrize("at", [0, 1, 2])
def test_false_cancels_after_that_loop(rows_lm, decoder, at):
    lm = rows_lm([[-99, 1, 3, 2]])
    run = decoder(lm, "a", 30, on_loop=lambda record: record.index != at)
    assert run.stop_reason == "cancelled"
    assert len(run.loops) == at + 1
    assert run.new_ids == [2] * len(run.new_ids)
    assert run.new_ids == [t for loop in run.loops for t in loop.emitted]
    assert run.text == "a" * (1 + len(run.new_ids))


@both
@pytest.mark.parametrize("answer", [None, True, 0, ""])
def test_only_false_itself_cancels(rows_lm, decoder, answer):
    run = decoder(rows_lm([[-99, 1, 3, 2]]), "a", 5, on_loop=lambda _: answer)
    assert run.stop_reason == "length"


@both
def test_false_at_the_end_does_not_hide_the_end(scripted_lm, decoder):
    run = decoder(scripted_lm([]), "a", 5, on_loop=lambda _: False)
    assert run.stop_reason == "eos"
    run = decoder(scripted_lm([3]), "a", 1, on_loop=lambda _: False)
    assert run.stop_reason == "length"


@both
def test_an_interrupt_says_what_happened_and_the_next_run_works(rows_lm, decoder):
    lm = rows_lm([[-99, 1, 3, 2]])
    expected = decoder(lm, "a", 9).new_ids

    def interrupt(record):
        if record.index == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"keyboard after [2-9] new tokens") as raised:
        decoder(lm, "a", 9, on_loop=interrupt)
    assert "\n" not in str(raised.value)
    assert decoder(lm, "a", 9).new_ids == expected


@both
def test_an_interrupt_within_a_pass_says_so_too(rows_lm, decoder):
    lm, passes = rows_lm([[-99, 1, 3, 2]]), []

    def interrupt(*_):
        passes.append(1)
        if len(passes) == 8:
            raise KeyboardInterrupt

    hook = lm.model.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt, match="stopped from the keyboard"):
        decoder(lm, "a", 30)
    hook.remove()
    assert decoder(lm, "a", 9).new_ids == [2] * 9


# Bad input.

CASES = {
    "max_new_tokens": bad.NO_POSITIVE,
    "span": bad.NO_POSITIVE,
    "temperature": bad.NO_TEMPERATURE,
    "top_p": bad.NO_TOP_P,
    "seed": bad.NO_SEED,
    "ban_eos_first_n": bad.NO_COUNT,
    "rep_ban_n": bad.NO_COUNT,
    "on_loop": bad.NO_FUNCTION,
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in CASES.items() for v in vs])
def test_medusa_tiny_refuses_bad_knobs_before_any_pass(tiny_gpt2, refuses, name, value):
    with refuses(name, value, tiny_gpt2):
        medusa_tiny(tiny_gpt2, "abc", **{name: value})


@pytest.mark.parametrize(
    ("name", "value"), [(n, v) for n in ("max_new_tokens", "on_loop") for v in CASES[n]]
)
def test_run_greedy_refuses_bad_knobs_before_any_pass(tiny_gpt2, refuses, name, value):
    with refuses(name, value, tiny_gpt2):
        run_greedy(tiny_gpt2, "abc", **{name: value})


@both
@pytest.mark.parametrize("value", bad.NO_PROMPT)
def test_bad_prompts_are_refused_before_any_pass(tiny_gpt2, refuses, decoder, value):
    with refuses("prompt", value, tiny_gpt2):
        decoder(tiny_gpt2, value)
    with refuses("prompt", value):
        start_ids(tiny_gpt2, value)


@both
@pytest.mark.parametrize("value", bad.NO_LM)
def test_what_is_no_lm_is_refused(refuses, decoder, value):
    with refuses("lm"):
        decoder(value, "abc")


STEP_CASES = {
    "accepted_total": bad.NO_COUNT,
    "loop_idx": bad.NO_COUNT,
    "span": bad.NO_POSITIVE,
    "temperature": bad.NO_TEMPERATURE,
    "top_p": bad.NO_TOP_P,
    "ban_eos_first_n": bad.NO_COUNT,
    "rep_ban_n": bad.NO_COUNT,
    "generator": bad.NO_GENERATOR,
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in STEP_CASES.items() for v in vs])
def test_a_step_refuses_bad_knobs_before_any_pass(tiny_gpt2, refuses, name, value):
    knobs = {"span": 3, "temperature": 0.9, "top_p": 0.95, "generator": make_generator(7)}
    quoted = ... if name == "generator" else value
    with refuses(name, quoted, tiny_gpt2):
        medusa_loop_step(tiny_gpt2, torch.tensor([[2]]), **{**knobs, name: value})


@pytest.mark.parametrize("value", bad.NO_IDS)
def test_a_step_refuses_bad_ids_before_any_pass(tiny_gpt2, refuses, value):
    with refuses("ids", lm=tiny_gpt2):
        medusa_loop_step(tiny_gpt2, value, 3, 0.9, 0.95, generator=make_generator(7))


def test_a_step_without_room_is_refused_before_any_pass(tiny_gpt2, refuses):
    full = torch.full((1, tiny_gpt2.context_length), 2)
    ids, _ = medusa_loop_step(tiny_gpt2, full, 1, 0.9, 0.95, generator=make_generator(7))
    assert ids.shape[1] == full.shape[1] + 1
    for grown, span in ((full, 2), (append_token(full, 2), 1)):
        with refuses("ids", lm=tiny_gpt2):
            medusa_loop_step(tiny_gpt2, grown, span, 0.9, 0.95, generator=make_generator(7))


@pytest.mark.parametrize("drafted", [[1], [2, 3, 4], (5, 1, 1, 1, 1, 1, 1)])
def test_the_bare_loop_writes_greedys_tokens_whatever_is_drafted(each_lm, drafted):
    start = torch.tensor([[2, 3, 4]])
    ids = draft_and_verify(each_lm, start, 5, lambda ids: drafted)
    greedy = start
    for _ in range(5):
        greedy = append_token(greedy, greedy_next(each_lm, greedy))
    assert ids.tolist() == greedy.tolist()


@pytest.mark.parametrize("drafted", [[], (), "ab", [-1], [1.5], [True], [1, None], 7, None])
def test_the_bare_loop_refuses_what_is_no_branch(tiny_gpt2, refuses, drafted):
    with refuses("drafted", lm=tiny_gpt2):
        draft_and_verify(tiny_gpt2, torch.tensor([[2]]), 3, lambda ids: drafted)


BARE_CASES = {
    "lm": bad.NO_LM,
    "ids": bad.NO_IDS,
    "count": bad.NO_POSITIVE,
    "draft": [*bad.NO_FUNCTION, None],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in BARE_CASES.items() for v in vs])
def test_the_bare_loop_refuses_bad_arguments_before_any_pass(tiny_gpt2, refuses, name, value):
    good = {"lm": tiny_gpt2, "ids": torch.tensor([[2]]), "count": 2, "draft": lambda ids: [1]}
    with refuses(name, lm=tiny_gpt2):
        draft_and_verify(**{**good, name: value})


def test_the_bare_loop_refuses_more_than_the_context_before_any_pass(tiny_gpt2, refuses):
    ids, room = torch.tensor([[2, 3]]), tiny_gpt2.context_length - 2
    full = draft_and_verify(tiny_gpt2, ids, room, lambda ids: [1] * 9)
    assert full.shape[1] == tiny_gpt2.context_length
    with refuses("ids", lm=tiny_gpt2):
        draft_and_verify(tiny_gpt2, ids, room + 2, lambda ids: [1] * 9)
