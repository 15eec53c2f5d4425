"""Models by name, loaded once a process, among them random ones; and what tells them apart."""

from __future__ import annotations

import functools
import hashlib
import re

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from medusa_lib.base.config import SHIPPED_MODEL
from medusa_lib.steps.model import LM, load_lm, load_tokenizer, make_lm

RANDOM = re.compile(r"random-(gpt2|llama)-(\d+)")  # family and seed
RANDOM_CONTEXT = 256
SPREAD = 0.2  # of random weights: wide enough that the tokens vary


@functools.cache
def named_lm(name: str, device: str = "cpu") -> LM:
    """The model of that name, loaded once a process.

    name: as for load_lm, or "random-gpt2-7", "random-llama-7": a tiny model with the shipped
    tokenizer and weights drawn with seed 7. Raises ModelLoadError.
    """
    found = RANDOM.fullmatch(name)
    return load_lm(name, device) if found is None else random_lm(found[1], int(found[2]))


def random_lm(family: str, seed: int) -> LM:
    """A tiny random model of a family, "gpt2" or "llama", over the shipped vocabulary.

    Input and output embeddings are not tied: a tied random model mostly repeats its last token.
    """
    tokenizer = load_tokenizer(SHIPPED_MODEL)
    make = random_gpt2 if family == "gpt2" else random_llama
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make(len(tokenizer), tokenizer.eos_token_id)
    return make_lm(tokenizer, model, f"random-{family}-{seed}")


def random_gpt2(
    vocab_size: int, eos_id: int, context: int = RANDOM_CONTEXT, tied: bool = False
) -> GPT2LMHeadModel:
    """GPT-2's architecture, 2 blocks of width 32, weights by torch's own generator.

    context: most tokens. tied: input and output embeddings are one.
    """
    config = GPT2Config(
        vocab_size=vocab_size,
        n_positions=context,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=eos_id,
        eos_token_id=eos_id,
        initializer_range=SPREAD,
        tie_word_embeddings=tied,
    )
    return GPT2LMHeadModel(config)


def random_llama(vocab_size: int, eos_id: int, context: int = RANDOM_CONTEXT) -> LlamaForCausalLM:
    """Llama's architecture, of the same size. context: most tokens."""
    config = LlamaConfig(
        vocab_size=vocab_size,
        max_position_embeddings=context,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        bos_token_id=eos_id,
        eos_token_id=eos_id,
        initializer_range=SPREAD,
    )
    return LlamaForCausalLM(config)


def identity_of(lm: LM) -> str:
    """A digest of a model's weights, vocabulary and end: the same for the same model anywhere."""
    if "identity" not in lm.kept:
        digest = hashlib.blake2b(digest_size=8)
        vocabulary = sorted(lm.tokenizer.get_vocab().items())
        digest.update(repr((lm.eos_id, lm.context_length, vocabulary)).encode())
        for name, weight in lm.model.state_dict().items():
            raw = weight.detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(name.encode() + raw.numpy().tobytes())
        lm.kept["identity"] = digest.hexdigest()
    return lm.kept["identity"]


def refuse_another(lm: LM, identity: str) -> None:
    """Raises ValueError unless a worker's model is the one that is meant."""
    if identity_of(lm) != identity:
        raise ValueError(
            f"model must be the same everywhere, {identity}, got {identity_of(lm)} here"
        )
