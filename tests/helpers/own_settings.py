"""Models with settings of their own, and what transformers makes of them."""

import contextlib
import copy
import dataclasses

import torch
from hypothesis import strategies as st

from medusa_lib import encode, medusa_tiny, run_greedy, speculate
from medusa_lib.beyond.named_drafters import DRAFTERS

OF_BOOKWORM = ("draft_model", "heads_chain", "heads_tree", "heads_ngram")


@contextlib.contextmanager
def settings_of(lm, **settings):
    """`lm` while its model's generation_config has these settings, too."""
    before = lm.model.generation_config
    lm.model.generation_config = copy.deepcopy(before)
    for name, value in settings.items():
        assert hasattr(before, name), f"no such setting: {name}"
        setattr(lm.model.generation_config, name, value)
    other = dataclasses.replace(lm)
    other.kept.update({name: kept for name, kept in lm.kept.items() if name != "ignored"})
    try:
        yield other
    finally:
        lm.model.generation_config = before


def generated(lm, prompt, count, **options):
    """What `generate` writes greedily after a prompt by the model's own settings, without ends."""
    ids = encode(lm, prompt) if isinstance(prompt, str) else prompt
    known = {"attention_mask": torch.ones_like(ids), "max_new_tokens": count}
    out = lm.model.generate(ids, do_sample=False, use_cache=False, **known, **options)
    return [token for token in out[0, ids.shape[1] :].tolist() if not lm.is_end(token)]


def drafters_for(lm):
    """The names of all drafters that fit a model, and None."""
    return [None, *(n for n in DRAFTERS if lm.model_id == "bookworm" or n not in OF_BOOKWORM)]


def all_texts(lm, prompt, count):
    """What each decoder writes → new ids by its name."""
    runs = {"greedy": run_greedy(lm, prompt, count), "tiny": medusa_tiny(lm, prompt, count)}
    runs |= {str(name): speculate(lm, prompt, name, count) for name in drafters_for(lm)}
    return {name: run.new_ids for name, run in runs.items()}


def all_alike(lm, prompt, count, **options):
    """Raises AssertionError unless every decoder writes what `generate` does; → that text."""
    wanted = generated(lm, prompt, count, **options)
    found = all_texts(lm, prompt, count)
    assert {name: ids for name, ids in found.items() if ids != wanted} == {}, wanted
    return wanted


def some_settings(tokens, most=20):
    """Random settings that change greedy's text, over these tokens and at most `most` of them."""
    token = st.sampled_from(sorted(tokens))
    words = st.lists(token, min_size=1, max_size=3)
    few = st.lists(token, min_size=1, max_size=4, unique=True)
    penalty = st.sampled_from([0.7, 0.9, 1.1, 1.3, 2.0])
    bias = st.lists(
        st.tuples(words, st.sampled_from([-9.0, -1.5, 1.5, 9.0])), min_size=1, max_size=3
    )
    each = {
        "eos_token_id": st.one_of(token, few),
        "repetition_penalty": penalty,
        "encoder_repetition_penalty": penalty,
        "no_repeat_ngram_size": st.integers(1, 4),
        "encoder_no_repeat_ngram_size": st.integers(1, 3),
        "bad_words_ids": st.lists(words, min_size=1, max_size=3),
        "sequence_bias": bias.map(lambda pairs: [[list(seq), value] for seq, value in pairs]),
        "suppress_tokens": few,
        "begin_suppress_tokens": few,
        "forced_bos_token_id": token,
        "forced_eos_token_id": st.one_of(token, few),
        "min_length": st.integers(1, most),
        "min_new_tokens": st.integers(1, most),
        "exponential_decay_length_penalty": st.tuples(
            st.integers(0, most), st.sampled_from([1.01, 1.3, 2.0])
        ),
        "renormalize_logits": st.just(True),
        "remove_invalid_values": st.just(True),
    }
    return (
        st.sets(st.sampled_from(sorted(each)), min_size=1, max_size=4)
        .flatmap(lambda names: st.fixed_dictionaries({name: each[name] for name in sorted(names)}))
        .filter(is_taken)
    )


def is_taken(chosen):
    """False for what transformers itself refuses: to force only tokens that it must suppress."""
    forced = (chosen.get(f"forced_{end}_token_id", []) for end in ("bos", "eos"))
    forced = [{one} if isinstance(one, int) else set(one) for one in forced]
    return not any(one and one <= set(chosen.get("suppress_tokens", [])) for one in forced)
