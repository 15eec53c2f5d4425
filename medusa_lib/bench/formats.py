"""A model of GPT-2's kind in the formats of llama.cpp (GGUF) and CTranslate2.

Neither gets the tokenizer: the bench feeds token ids, so that tokenizers cannot differ.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from medusa_lib.steps.model import LM

GELUS = ("gelu_new", "gelu_pytorch_tanh")  # one function by two names, and the peers' own
# Names in GPT-2's state_dict → names in a GGUF file: outside of the blocks, and in each.
OUTSIDE = {
    "transformer.wte": "token_embd",
    "transformer.wpe": "position_embd",
    "transformer.ln_f": "output_norm",
    "lm_head": "output",
}
IN_BLOCK = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}


def can_be_written(lm: LM) -> bool:
    """True for a plain GPT-2, which is what both formats' writers here know."""
    config = lm.model.config
    return (
        config.model_type == "gpt2"
        and config.activation_function in GELUS
        and config.scale_attn_weights
        and not config.scale_attn_by_inverse_layer_idx
        and not config.add_cross_attention
    )


def check_can_be_written(lm: LM) -> None:
    """Raises ValueError for a model of another kind."""
    if not can_be_written(lm):
        raise ValueError(f"lm must be a plain GPT-2, got {lm.model_id}")


def gguf_tensors(lm: LM) -> Iterator[tuple[str, torch.Tensor]]:
    """(name in the file, tensor) of all weights; matrices of products as `[out, in]`."""
    layers = range(lm.model.config.n_layer)
    blocks = {
        f"transformer.h.{i}.{ours}": (f"blk.{i}.{theirs}", ours)
        for i in layers
        for ours, theirs in IN_BLOCK.items()
    }
    names = {ours: (theirs, "") for ours, theirs in OUTSIDE.items()} | blocks
    for key, tensor in lm.model.state_dict().items():
        stem, kind = key.rsplit(".", 1)
        theirs, part = names[stem]
        turned = part and tensor.dim() == 2  # GPT-2 keeps these as [in, out]
        yield f"{theirs}.{kind}", tensor.t() if turned else tensor


def as_stored(name: str, tensor: torch.Tensor, half: bool) -> np.ndarray:
    """A tensor's numbers as a file holds them: half precision is for matrices of products only."""
    numbers = tensor.detach().float().cpu().contiguous().numpy()
    matrix = numbers.ndim == 2 and not name.startswith("position_embd")
    return numbers.astype(np.float16) if half and matrix else numbers


def write_gguf(lm: LM, path: Path, half: bool = False) -> None:
    """Write a model for llama.cpp, in float32 or with matrices in float16.

    Raises ValueError for a model that is no plain GPT-2.
    """
    check_can_be_written(lm)
    config = lm.model.config
    file = importlib.import_module("gguf").GGUFWriter(str(path), "gpt2")
    file.add_context_length(lm.context_length)
    file.add_embedding_length(config.n_embd)
    file.add_block_count(config.n_layer)
    file.add_feed_forward_length(config.n_inner or 4 * config.n_embd)
    file.add_head_count(config.n_head)
    file.add_layer_norm_eps(config.layer_norm_epsilon)
    file.add_file_type(int(half))
    file.add_vocab_size(config.vocab_size)
    file.add_tokenizer_model("no_vocab")
    for name, tensor in gguf_tensors(lm):
        file.add_tensor(name, as_stored(name, tensor, half))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def write_ctranslate2(lm: LM, folder: Path) -> None:
    """Write a model for CTranslate2 in float32; its vocabulary is the ids as words.

    Raises ValueError for a model that is no plain GPT-2.
    """
    check_can_be_written(lm)
    loader = importlib.import_module("ctranslate2.converters.transformers").GPT2Loader()
    spec = loader.get_model_spec(lm.model)
    words = [str(token) for token in range(lm.model.config.vocab_size)]
    spec.config.bos_token = spec.config.eos_token = spec.config.unk_token = words[lm.eos_id]
    spec.register_vocabulary(words)
    spec.validate()
    spec.optimize(quantization=None)
    folder.mkdir()
    spec.save(str(folder))
