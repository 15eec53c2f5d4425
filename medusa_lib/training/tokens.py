"""From clean tales to training windows: the BPE tokenizer and the token stream."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

EOS = "<|endoftext|>"


def train_tokenizer(
    texts: Iterable[str], vocab_size: int = 4096, context: int = 512
) -> PreTrainedTokenizerFast:
    """Byte-level BPE on `texts` (Sennrich et al. 2016; byte level as in GPT-2).

    Every byte is in the vocabulary, so any text at all can be encoded and decoded again.
    vocab_size: the most tokens it may have, 256 bytes and EOS among them; few texts give fewer.
    context: the length beyond which the tokenizer warns.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=EOS,
        bos_token=EOS,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def encode_tales(tokenizer: PreTrainedTokenizerFast, tales: Sequence[str]) -> list[np.ndarray]:
    """Each tale → its token ids `[T]`, EOS last."""
    # verbose=False: a tale may well be longer than the context, windows cut it later.
    encoded = tokenizer(list(tales), add_special_tokens=False, verbose=False)["input_ids"]
    return [np.array([*ids, tokenizer.eos_token_id], dtype=np.int32) for ids in encoded]


def space_splits(tokenizer: PreTrainedTokenizerFast) -> dict[int, list[int]]:
    """Token id of " word" → ids of " " and "word" apart, for every token that starts a word.

    Books never contain the lone-space token, but a learner who ends a prompt with a space
    sends it. Training on some words split this way teaches the model to go on from there.
    """
    space = tokenizer.encode(" ")
    splits = {}
    for token_id in range(len(tokenizer)):
        text = tokenizer.decode([token_id])
        if len(text) > 1 and text[0] == " " and text[1].isalpha():
            splits[token_id] = space + tokenizer.encode(text[1:])
    return splits


def split_some(
    ids: np.ndarray, splits: dict[int, list[int]], rate: float, rng: np.random.Generator
) -> np.ndarray:
    """Ids `[T]` with the leading space split off a share `rate` in [0, 1] of the words.

    The text stays the same. splits: see space_splits.
    """
    chosen = np.flatnonzero(rng.random(len(ids)) < rate)
    pieces, start = [], 0
    for at in chosen:
        if int(ids[at]) in splits:
            pieces += [ids[start:at], np.array(splits[int(ids[at])], dtype=np.int32)]
            start = at + 1
    return np.concatenate([*pieces, ids[start:]])


def epoch_windows(
    tales: Sequence[np.ndarray],
    splits: dict[int, list[int]],
    context: int,
    rate: float,
    seed: int,
    epoch: int,
) -> torch.Tensor:
    """All tales of one epoch as shuffled windows `[n, context + 1]`.

    Tales are shuffled, some of their words split, joined, and cut from a random start; each
    window's last token is the next one's first, so that every token is predicted once.
    A function of its arguments only, so that a resumed run sees the very same windows.
    Raises ValueError if the tales do not fill one window.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(tales))
    stream = np.concatenate([split_some(tales[i], splits, rate, rng) for i in order])
    stream = stream[rng.integers(context) if len(stream) > 3 * context else 0 :]
    count = (len(stream) - 1) // context
    if count < 1:
        raise ValueError(f"corpus must hold more than {context} tokens, got {len(stream)}")
    starts = rng.permutation(count) * context
    windows = np.stack([stream[s : s + context + 1] for s in starts])
    return torch.from_numpy(windows.astype(np.int64))
