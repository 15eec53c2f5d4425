"""Tiny random models of two architectures, over a vocabulary of letters."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from medusa_lib.sweep.models import random_gpt2, random_llama

EOS, UNKNOWN, LETTERS = "<|endoftext|>", "<unk>", "abcdefghij ."
CONTEXT = 40


def small_tokenizer(*, eos=True):
    """One token a character. EOS is 0, unknown 1, "a" 2; without EOS all are one less."""
    texts = [*([EOS] if eos else []), UNKNOWN, *LETTERS]
    raw = Tokenizer(models.WordLevel({t: i for i, t in enumerate(texts)}, unk_token=UNKNOWN))
    raw.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    raw.decoder = decoders.Fuse()
    named = {"unk_token": UNKNOWN, **({"eos_token": EOS} if eos else {})}
    return PreTrainedTokenizerFast(tokenizer_object=raw, model_max_length=CONTEXT, **named)


def small_gpt2(vocab_size):
    """A random GPT-2, wide enough in its weights that its tokens vary."""
    torch.manual_seed(3)
    return random_gpt2(vocab_size, 0, CONTEXT, tied=True)


def small_llama(vocab_size):
    """A random Llama of the same size."""
    torch.manual_seed(5)
    return random_llama(vocab_size, 0, CONTEXT)


def same_weights(one, other):
    """True if two models hold the same numbers, to the bit.

    Their logits may still differ in the last bits: on some processors a product depends on
    where in memory the weights begin.
    """
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def replaced_eos(lm, token):
    """The same model, with another token as its end."""
    return type(lm)(lm.model_id, lm.tokenizer, lm.model, lm.device, token, lm.context_length)
