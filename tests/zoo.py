"""Every causal architecture of transformers, tiny and random, decoded by every drafter that fits.

python tests/zoo.py [NAME …]: walk, keep what became of each in tests/zoo.json, write README's
table. Each model is built in a process of its own, which may crash or take too long.
"""

from __future__ import annotations

import json
import logging
import os
import random
import re
import signal
import sys
import warnings
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from medusa_lib import encode, make_lm, medusa_tiny, run_greedy, speculate
from medusa_lib.beyond.manners import manner_of
from medusa_lib.beyond.one_pass import Branch

NAMES = list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
KEPT = Path(__file__).with_name("zoo.json")
README = Path(__file__).parents[1] / "README.md"
PROMPT, VOCAB, PLACES, LARGEST = "hello you there", 32, 48, 2e7
SECONDS = 120  # for one architecture
SIZES = {  # by the names that configs have for them; a config takes those that it knows
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), VOCAB),
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embed_dim"), 32),
    **dict.fromkeys(("embedding_size",), 32),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner", "dim_ff", "d_ff", "d_inner"), 48),
    **dict.fromkeys(("decoder_ffn_dim", "encoder_ffn_dim"), 48),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 2),
    **dict.fromkeys(("decoder_layers", "encoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads", "encoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_global_key_value_heads"), 2),
    **dict.fromkeys(("head_dim", "global_head_dim", "d_kv", "dim_head", "d_head"), 8),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), PLACES),
    **dict.fromkeys(("max_sequence_length", "max_target_positions"), PLACES),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("moe_num_experts",), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk"), 2),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 16),
    **dict.fromkeys(("n_shared_experts", "num_shared_experts", "n_group", "topk_group"), 1),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "qk_head_dim"), 16),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"), 8),
    **dict.fromkeys(("mamba_n_heads", "mamba_d_head", "mamba_d_state", "mamba_head_dim"), 8),
    **dict.fromkeys(("mamba_num_heads", "ssm_state_size", "state_size", "chunk_size"), 8),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "index_head_dim"), 8),
    **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads", "index_n_heads"), 2),
    **{"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2},
    **{"mamba_d_conv": 2, "mamba_n_groups": 1, "first_k_dense_replace": 1, "index_topk": 64},
    **{"initializer_range": 0.2, "is_decoder": True, "rotary_dim": 4, "num_codebooks": 1},
    **{"num_kv_shared_layers": 0, "hidden_size_per_layer_input": 8, "audio_channels": 1},
}
LATENT = {"head_dim": 8, "num_key_value_heads": 4}  # of attention over few numbers
FOUR = ("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "qwen4_exp_text", "lfm3")
OWN = {  # what single architectures want beside; of layers, one with attention at least
    **dict.fromkeys((*FOUR, "bailing_hybrid"), {"num_hidden_layers": 4}),
    "recurrent_gemma": {"num_hidden_layers": 3},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "bamba": {"attn_layer_indices": [1]},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8},
        "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "falcon_h1": {"mamba_d_ssm": 64},
    "gemma4_assistant": {"hidden_size_per_layer_input": 0},
}


class AnyTokens:
    """Bets with tokens at random, most of which are wrong."""

    span = 3

    def __init__(self):
        self.random = random.Random(1)

    def propose(self, _state, span):
        return Branch([self.random.randrange(4, VOCAB) for _ in range(span)])


def letters():
    """A tokenizer of one token a character."""
    texts = ["<s>", "<pad>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz ."]
    raw = Tokenizer(models.WordLevel({t: i for i, t in enumerate(texts)}, unk_token="<unk>"))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.Split("", "isolated"), decoders.Fuse()
    named = {"unk_token": "<unk>", "eos_token": "</s>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=raw, model_max_length=PLACES, **named)


def small(kind, name):
    """The settings that make a config of that kind tiny, those of its parts among them."""
    usual = kind()
    known = {**usual.to_dict(), **getattr(kind, "attribute_map", {})}
    settings = {key: value for key, value in SIZES.items() if key in known}
    if "kv_lora_rank" in known:
        settings |= {key: value for key, value in LATENT.items() if key in known}
    for part in getattr(kind, "sub_configs", None) or {}:
        inner = getattr(usual, part, None)
        if isinstance(inner, PreTrainedConfig):
            settings[part] = {
                **small(type(inner), inner.model_type),
                "model_type": inner.model_type,
            }
    return {**settings, **OWN.get(name, {})}


def tiny(name):
    """A random model of that architecture as an LM. Raises ValueError for one still large."""
    kind = CONFIG_MAPPING[name]
    config = kind(**small(kind, name))
    with torch.device("meta"):
        size = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    if size > LARGEST:
        raise ValueError(f"its smallest has {size / 1e6:.0f} M parameters")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    model.generation_config = GenerationConfig()  # what a model's own settings do is not asked here
    return make_lm(letters(), model, name)


def judged(name):
    """What becomes of an architecture: equal, refused, not built or different, and why."""
    try:
        lm = tiny(name)
    except Exception as error:  # whatever the reason, there is nothing to decode
        return f"not built: {said(error)}"
    try:
        greedy = run_greedy(lm, PROMPT, 10).new_ids
        speculate(lm, PROMPT, None, 1)
    except ValueError as refusal:
        return f"refused: {said(refusal)}"
    found = differences(lm, greedy)
    if found:
        return f"different: {', '.join(found)}"
    return "equal: chains and trees" if manner_of(lm).trees else "equal: chains"


def differences(lm, greedy):
    """Who writes other tokens than greedy, which are to be generate's."""
    ids = encode(lm, PROMPT)
    asked = GenerationConfig(
        max_new_tokens=10, do_sample=False, num_beams=1, eos_token_id=lm.eos_id, pad_token_id=1
    )
    theirs = lm.model.generate(ids, generation_config=asked)[0, ids.shape[1] :].tolist()
    trees = ("branches", "lookahead") if manner_of(lm).trees else ()
    runs = {"generate": [token for token in theirs if token != lm.eos_id]}
    runs["Medusa-tiny"] = medusa_tiny(lm, PROMPT, 10).new_ids
    for drafter in (None, "self", "ngram", AnyTokens(), *trees):
        runs[str(drafter)] = speculate(lm, PROMPT, drafter, 10).new_ids
        speculate(lm, PROMPT, drafter, 4, temperature=0.8)
    found = [name for name, ids in runs.items() if ids != greedy]
    whole = run_greedy(lm, PROMPT, PLACES).new_ids
    if speculate(lm, PROMPT, AnyTokens(), PLACES).new_ids != whole:
        found.append("at the context's end")
    return found


def said(error):
    """An error in a line, without what follows the first sentence's end."""
    line = next((line for line in str(error).splitlines() if line.strip()), repr(error))
    return re.sub(r"^lm must be (an? )?", "", line.strip())[:160]


def apart(name):
    """`judged` in a process of its own, with a time-out."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        signal.alarm(SECONDS)
        os.write(writer, judged(name).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        told = answer.read()
    os.waitpid(child, 0)
    return told or f"not built: it crashed or took more than {SECONDS} s"


def walk(names=NAMES):
    """Every architecture's name and what became of it, one after the other."""
    transformers.logging.set_verbosity(logging.CRITICAL)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for name in names:
        yield name, apart(name)


def kept():
    """What became of each when the list was made."""
    return json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}


def table(found):
    """README's table: what becomes of how many, which they are, and why."""
    groups = {}
    for name, outcome in sorted(found.items()):
        what, _, why = outcome.partition(": ")
        if what == "refused":
            why = re.sub(r", got .*?(: |, |$)", r"\1", why, count=1).split(": ")[0]
        key = (what, why if what in ("equal", "refused") else "")
        groups.setdefault(key, []).append(name)
    order = ("equal", "refused", "not built", "different")
    rows = ["| what becomes of it | how many | architectures |", "| --- | ---: | --- |"]
    for (what, why), names in sorted(groups.items(), key=lambda g: (order.index(g[0][0]), g[0])):
        label = f"{what}: {why}" if why else what
        rows.append(f"| {label} | {len(names)} | {', '.join(names)} |")
    return "\n".join(rows)


def write_readme(found):
    """Write the table between its marks."""
    text = README.read_text(encoding="utf-8")
    part = f"{START}\n\n{table(found)}\n\n{END}"
    README.write_text(re.sub(f"{START}.*{END}", lambda _: part, text, flags=re.S), encoding="utf-8")


START, END = "<!-- zoo: written by the command, not by hand -->", "<!-- /zoo -->"


def main(names):
    """Walk the named ones, or all; what is kept of the others stays."""
    found = kept()
    for name, outcome in walk(names or NAMES):
        found[name] = outcome
        print(f"{name}: {outcome}", flush=True)
        text = json.dumps({key: found[key] for key in NAMES if key in found}, indent=1)
        KEPT.write_text(text + "\n", encoding="utf-8")
    write_readme(found)


if __name__ == "__main__":
    main(sys.argv[1:])
