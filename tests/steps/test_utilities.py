"""STEP2: text to tokens and back, one forward pass, one greedy token."""

import math

import bad_values as bad
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_tokenizers import CHAT, bos_lm
from own_settings import all_alike
from tiny_models import EOS

from medusa_lib import (
    append_token,
    decode,
    encode,
    greedy_next,
    last_logits,
    medusa_tiny,
    run_greedy,
    speculate,
)
from medusa_lib.steps.utilities import drops

IDS = torch.tensor([[2, 3, 4]])


def test_encode_gives_one_row_of_ids_on_the_device(each_lm):
    ids = encode(each_lm, "a bad face")
    assert ids.ndim == 2
    assert ids.shape[0] == 1
    assert ids.dtype == torch.int64
    assert ids.device == each_lm.device


def test_encode_adds_no_token_of_its_own(tiny_gpt2):
    assert encode(tiny_gpt2, "abc").tolist() == [[2, 3, 4]]


def test_the_shipped_model_loses_no_text(lm):
    @settings(max_examples=100, deadline=None)
    @given(st.text(min_size=1, max_size=20).filter(lambda text: EOS not in text))
    def run(text):
        assert decode(lm, encode(lm, text)) == text

    run()


def test_decode_takes_every_shape_of_ids(tiny_gpt2):
    for ids in (IDS, IDS[0], [2, 3, 4], (2, 3, 4), IDS.int()):
        assert decode(tiny_gpt2, ids) == "abc"
    assert decode(tiny_gpt2, []) == ""


def test_decode_leaves_special_tokens_out(tiny_gpt2):
    assert decode(tiny_gpt2, [2, tiny_gpt2.eos_id, 3]) == "ab"


def test_decode_does_not_tidy_spaces(tiny_gpt2):
    text = "a . b"
    assert decode(tiny_gpt2, encode(tiny_gpt2, text)) == text


def test_append_token_grows_a_copy_by_one():
    ids = IDS.clone()
    grown = append_token(ids, 9)
    assert grown.tolist() == [[2, 3, 4, 9]]
    assert grown.dtype == ids.dtype
    assert ids.tolist() == [[2, 3, 4]]


@pytest.fixture(scope="module")
def with_bos():
    return bos_lm()


def test_a_text_is_encoded_as_the_tokenizer_does(with_bos, lm):
    bos = with_bos.tokenizer.bos_token_id
    ids = encode(with_bos, "ab a")
    assert ids.tolist() == [with_bos.tokenizer("ab a")["input_ids"]]
    assert ids[0, 0] == bos
    assert encode(with_bos, "ab a", special=False).tolist() == [ids[0, 1:].tolist()]
    assert decode(with_bos, ids) == "ab a"
    assert torch.equal(encode(lm, "ab a"), encode(lm, "ab a", special=False))


def test_a_text_with_a_bos_is_continued_as_generate_does(with_bos):
    for prompt in ("ab a", "the bad</s>", "<s>a"):
        all_alike(with_bos, prompt, 10, pad_token_id=0)


def test_a_chat_template_is_the_models_own(with_bos, refuses):
    with refuses("chat", lm=with_bos):
        encode(with_bos, "hi", chat=True)
    with_bos.tokenizer.chat_template = CHAT
    try:
        ids = encode(with_bos, "a hi", chat=True)
        said = [{"role": "user", "content": "a hi"}]
        own = with_bos.tokenizer.apply_chat_template(said, add_generation_prompt=True)
        assert ids[0].tolist() == own["input_ids"]
        assert ids[0].tolist().count(with_bos.tokenizer.bos_token_id) == 1
        all_alike(with_bos, ids, 5, pad_token_id=0)
    finally:
        with_bos.tokenizer.chat_template = None


@pytest.mark.parametrize("name", ["special", "chat"])
@pytest.mark.parametrize("value", bad.NO_BOOL)
def test_encode_refuses_bad_flags(lm, refuses, name, value):
    with refuses(name, value):
        encode(lm, "a", **{name: value})


def test_ids_may_stand_for_a_prompt(lm, refuses):
    ids = encode(lm, "The king")
    wanted = run_greedy(lm, "The king", 6)
    for run in (run_greedy, medusa_tiny, speculate):
        found = run(lm, ids, max_new_tokens=6)
        assert (found.new_ids, found.text) == (wanted.new_ids, wanted.text)
        for wrong in (torch.tensor([[2, 10**6]]), torch.tensor([[-1]])):
            with refuses("ids", lm=lm):
                run(lm, wrong, max_new_tokens=6)
        for wrong in (torch.tensor([2]), torch.ones(1, 2), torch.ones(2, 2).long()):
            with refuses("prompt", lm=lm):
                run(lm, wrong, max_new_tokens=6)


def test_last_logits_is_the_last_row_of_a_whole_pass(each_lm):
    ids = encode(each_lm, "a bad face")
    with torch.inference_mode():
        whole = each_lm.model(input_ids=ids).logits[0]
    found = last_logits(each_lm, ids)
    assert found.shape == (each_lm.vocab_size,)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, whole[-1], rtol=1e-4, atol=1e-4)


def test_one_pass_each(tiny_gpt2, count_passes):
    for function in (last_logits, greedy_next):
        with count_passes(tiny_gpt2) as passes:
            function(tiny_gpt2, IDS)
        assert len(passes) == 1


def test_greedy_next_is_the_largest_logit(rows_lm):
    assert greedy_next(rows_lm([[0.0, 3.0, 1.0, 2.0]]), torch.tensor([[1]])) == 1


def test_the_context_may_be_filled_to_its_last_token(tiny_gpt2, refuses):
    full = torch.full((1, tiny_gpt2.context_length), 2)
    assert last_logits(tiny_gpt2, full).shape == (tiny_gpt2.vocab_size,)
    with refuses("ids", lm=tiny_gpt2):
        last_logits(tiny_gpt2, append_token(full, 2))


@pytest.mark.parametrize("bad_id", [-1, 10**6])
def test_ids_outside_the_vocabulary_are_refused(tiny_gpt2, refuses, bad_id):
    for function in (last_logits, greedy_next):
        with refuses("ids", bad_id, tiny_gpt2):
            function(tiny_gpt2, torch.tensor([[2, bad_id, 3]]))


@pytest.mark.parametrize("value", bad.NO_IDS)
def test_bad_ids_are_refused(tiny_gpt2, refuses, value):
    with refuses("ids", lm=tiny_gpt2):
        last_logits(tiny_gpt2, value)
    with refuses("ids", lm=tiny_gpt2):
        greedy_next(tiny_gpt2, value)
    with refuses("ids"):
        append_token(value, 2)


@pytest.mark.parametrize("value", bad.NO_COUNT)
def test_append_token_refuses_bad_tokens(refuses, value):
    with refuses("token_id", value):
        append_token(IDS, value)


@pytest.mark.parametrize("value", bad.NO_TEXT)
def test_encode_refuses_what_is_no_text(tiny_gpt2, refuses, value):
    with refuses("text", value):
        encode(tiny_gpt2, value)


def test_encode_refuses_a_text_without_tokens(tiny_gpt2, refuses, monkeypatch):
    silent = type("Silent", (), {"__call__": lambda *_, **__: {"input_ids": []}})()
    monkeypatch.setitem(tiny_gpt2.__dict__, "tokenizer", silent)
    with refuses("text", "abc"):
        encode(tiny_gpt2, "abc")


@pytest.mark.parametrize(
    "value", [None, 7, "abc", [True], ["a"], [1.5], [-1], [10**6], torch.tensor([1.5])]
)
def test_decode_refuses_what_are_no_ids(tiny_gpt2, refuses, value):
    with refuses("ids"):
        decode(tiny_gpt2, value)


@pytest.mark.parametrize("value", bad.NO_LM)
def test_what_is_no_lm_is_refused(refuses, value):
    for call in (
        lambda: encode(value, "abc"),
        lambda: decode(value, [2]),
        lambda: last_logits(value, IDS),
        lambda: greedy_next(value, IDS),
    ):
        with refuses("lm"):
            call()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_refused(rows_lm, refuses, value):
    broken = rows_lm([[0.0, value, 1.0]])
    for function in (last_logits, greedy_next):
        with refuses("logits"):
            function(broken, torch.tensor([[1]]))


@pytest.mark.parametrize(
    ("part", "wanted"),
    [
        (torch.nn.Linear(2, 2), False),
        (torch.nn.Dropout(0.0), False),
        (torch.nn.Dropout(0.5), True),
        (torch.nn.Dropout(0.5).eval(), False),
        (torch.nn.Identity(), False),
    ],
)
def test_only_what_drops_numbers_is_refused_in_training(part, wanted):
    assert drops(part) == wanted
