"""The tokenizer and the windows, on a few made-up tales."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medusa_lib.training.tokens import (
    EOS,
    encode_tales,
    epoch_windows,
    space_splits,
    split_some,
    train_tokenizer,
)

SENTENCE = "the king and his daughter went down to the river where a little man sat weeping"
WORDS = SENTENCE.split()


def make_tales(count=30, words=60, seed=1):
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=words)).capitalize() + "." for _ in range(count)]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(make_tales(), vocab_size=300, context=32)


@pytest.fixture(scope="module")
def tales(tokenizer):
    return encode_tales(tokenizer, make_tales())


@given(text=st.text(max_size=80))
def test_any_text_survives_encoding_and_decoding(text, tokenizer):
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    plain = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    assert plain == text
    assert all(0 <= token < len(tokenizer) for token in ids)


def test_the_vocabulary_has_the_size_asked_for_with_every_byte_and_eos(tokenizer):
    assert len(tokenizer) == 300
    assert tokenizer.eos_token == EOS
    assert tokenizer.eos_token_id == 0
    assert tokenizer.model_max_length == 32


def test_training_a_tokenizer_twice_gives_the_same_one(tokenizer):
    again = train_tokenizer(make_tales(), vocab_size=300, context=32)
    assert again.get_vocab() == tokenizer.get_vocab()


def test_each_tale_ends_in_one_eos_and_decodes_to_itself(tokenizer, tales):
    for text, ids in zip(make_tales(), tales, strict=True):
        assert ids.dtype == np.int32
        assert (ids == tokenizer.eos_token_id).nonzero()[0].tolist() == [len(ids) - 1]
        assert tokenizer.decode(ids[:-1]) == text


def test_encoding_a_tale_longer_than_the_context_says_nothing(tokenizer, caplog, capfd):
    assert len(encode_tales(tokenizer, [" ".join(make_tales())])[0]) > 1000
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


def test_splits_are_of_words_only_and_keep_their_text(tokenizer):
    splits = space_splits(tokenizer)
    (space,) = tokenizer.encode(" ")
    assert " man" in [tokenizer.decode([token]) for token in splits]
    for token, parts in splits.items():
        assert parts[0] == space
        assert space not in parts[1:]
        assert tokenizer.decode(parts) == tokenizer.decode([token])


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.3, 1.0])
def test_splitting_keeps_the_text_and_its_rate(rate, tokenizer, tales):
    splits = space_splits(tokenizer)
    ids = np.concatenate(tales * 5)
    split = split_some(ids, splits, rate, np.random.default_rng(3))
    assert tokenizer.decode(split) == tokenizer.decode(ids)
    (space,) = tokenizer.encode(" ")
    words = sum(int(token) in splits for token in ids)
    share = (np.sum(split == space) - np.sum(ids == space)) / words
    # Five standard deviations of a binomial share; exact at the ends.
    assert abs(share - rate) <= 5 * (rate * (1 - rate) / words) ** 0.5


def windows_of(tales, seed=7, epoch=0, context=32, rate=0.0):
    return epoch_windows(tales, {}, context, rate, seed, epoch)


def test_windows_are_a_function_of_seed_and_epoch(tales, tokenizer):
    splits = space_splits(tokenizer)
    first = epoch_windows(tales, splits, 32, 0.2, 7, 1)
    assert torch.equal(first, epoch_windows(tales, splits, 32, 0.2, 7, 1))
    for seed, epoch in ((7, 0), (7, 2), (8, 1)):
        other = epoch_windows(tales, splits, 32, 0.2, seed, epoch)
        assert other.shape[1] == 33
        assert not torch.equal(first[:5], other[:5])


def test_windows_are_whole_runs_of_the_stream_and_cover_it():
    # Every token has its own id, so that its place shows.
    tales = [np.arange(at, at + 50, dtype=np.int32) for at in range(0, 5000, 50)]
    windows = windows_of(tales)
    predicted = windows[:, 1:].flatten().tolist()
    assert len(predicted) == len(set(predicted)), "a token is predicted twice"
    # Lost: at most a context before the random start, and an unfilled window at the end.
    assert len(predicted) > 5000 - 2 * 33
    last_to_first = {int(w[0]): int(w[-1]) for w in windows}
    assert sum(end in last_to_first for end in last_to_first.values()) == len(windows) - 1
    inside = [(a, b) for w in windows.tolist() for a, b in zip(w, w[1:], strict=False)]
    assert all(b == a + 1 or (a % 50 == 49 and b % 50 == 0) for a, b in inside)


def test_too_few_tokens_for_one_window_are_refused(tales):
    with pytest.raises(ValueError, match="must hold more than 9999 tokens, got"):
        windows_of(tales, context=9999)
