"""Texts that a tokenizer cuts in odd places: the decoders agree, and so do the pieces."""

import pytest
from drafts import Says
from odd_tokenizers import bos_lm, byte_lm
from own_settings import all_alike

from medusa_lib import decode, encode, run_greedy, speculate, stream, text_pieces
from medusa_lib.base.records import LoopRecord

TEXTS = ("a bad 🐉", "東京 a", "ab</s>a", "<|endoftext|>a", " two  spaces ", "é\u0301", "\na\t")


@pytest.fixture(scope="module", params=["bytes", "a larger table", "metaspace", "bookworm"])
def odd_lm(request):
    """Models whose tokenizers differ."""
    kinds = {"bytes": byte_lm, "a larger table": lambda: byte_lm(9), "metaspace": bos_lm}
    if request.param == "bookworm":
        return request.getfixturevalue("lm")
    return kinds[request.param]()


@pytest.mark.parametrize("text", TEXTS)
def test_print_and_the_pieces_show_the_same(odd_lm, text):
    for drafter, knobs in (("ngram", {}), (None, {"temperature": 1.5})):
        run = speculate(odd_lm, text, drafter, 12, **knobs)
        records = stream(odd_lm, text, drafter, 12, **knobs)
        pieces = list(text_pieces(odd_lm, text, records))
        assert "".join(pieces) == str(run)
        assert len(pieces) == len(run.loops) + 2  # the prompt, and what was held back


@pytest.mark.parametrize("text", TEXTS[:4])
def test_odd_texts_are_continued_as_generate_does(odd_lm, text):
    all_alike(odd_lm, text, 6, pad_token_id=odd_lm.eos_id)


def test_a_sign_that_is_cut_waits_for_its_rest():
    lm = byte_lm()
    dragon = encode(lm, "🐉")[0].tolist()
    assert len(dragon) == 4
    records = [LoopRecord(i, (), 0, (token,)) for i, token in enumerate(dragon)]
    assert list(text_pieces(lm, "a", records)) == ["a", "", "", "", "🐉", ""]
    assert list(text_pieces(lm, "a", records[:2])) == ["a", "", "", decode(lm, dragon[:2])]


def test_a_drafted_sign_is_cut_wherever_the_model_says(lm):
    dragon = encode(lm, "🐉")[0].tolist()
    run = speculate(lm, "Here is a dragon: ", Says(*dragon), 9)
    assert run.text == run_greedy(lm, "Here is a dragon: ", 9).text


def test_a_bad_prompt_is_refused_at_once(lm, refuses):
    with refuses("prompt", "", lm):
        text_pieces(lm, "", iter([]))
