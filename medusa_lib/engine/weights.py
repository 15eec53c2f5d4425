"""A model's weights as the arrays that `forward` computes with.

You can skip this module: nothing in a lesson depends on how it works.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from transformers import GPT2LMHeadModel, LlamaForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from medusa_lib.engine.forward import Weights, in_strips
from medusa_lib.engine.narrow import as_array, narrow_type

GELUS = ("gelu_new", "gelu_pytorch_tanh")
ROPES = ("default", "linear", "llama3", "yarn")  # the same turns whatever the length of a text
ATTENTION = ("eager", "sdpa")  # not one that somebody has registered
NONE = np.zeros((0, 0), np.float32)


def read(model: PreTrainedModel) -> Weights | None:
    """A model's weights, or None for a model that `forward` does not compute."""
    kind, config = type(model), model.config
    if config._attn_implementation not in ATTENTION:
        return None
    if kind is GPT2LMHeadModel and is_plain_gpt2(config):
        return read_gpt2(model)
    if kind is LlamaForCausalLM and is_plain_llama(config):
        return read_llama(model)
    return None


def is_plain_gpt2(config: PretrainedConfig) -> bool:
    """True for a GPT-2 without the options that `forward` leaves out."""
    special = config.scale_attn_by_inverse_layer_idx or config.add_cross_attention
    return config.activation_function in GELUS and not special


def is_plain_llama(config: PretrainedConfig) -> bool:
    """True for a Llama without the options that `forward` leaves out."""
    rope = (config.rope_parameters or {}).get("rope_type", "default")
    return config.hidden_act == "silu" and rope in ROPES


def weight_of(layer: nn.Module) -> torch.Tensor:
    """A linear layer's weight `[out, in]`, whichever way it is stored."""
    return layer.weight.t() if isinstance(layer, Conv1D) else layer.weight


def stack(layers: Sequence[Sequence[nn.Module]], dtype: torch.dtype) -> np.ndarray:
    """The weights of one place in each block, in strips; several are put together, none is none."""
    nothing = torch.zeros(0, 1, dtype=dtype)
    whole = [torch.cat([weight_of(p) for p in parts]) if parts else nothing for parts in layers]
    return in_strips(as_array(torch.stack(whole), dtype))


def biases(layers: Sequence[Sequence[nn.Module]]) -> np.ndarray:
    """The biases of one place in each block → `[layers, out]`, or `[layers, 0]` for none."""
    having = {part.bias is not None for parts in layers for part in parts}
    if True not in having:
        return np.zeros((len(layers), 0), np.float32)
    return as_array(torch.stack([torch.cat([p.bias for p in parts]) for parts in layers]))


def read_gpt2(model: GPT2LMHeadModel) -> Weights:
    """The weights of a GPT-2."""
    body, blocks = model.transformer, model.transformer.h
    first = blocks[0].attn
    norms = [*(norm for block in blocks for norm in (block.ln_1, block.ln_2)), body.ln_f]
    parts = {
        "qkv": [[block.attn.c_attn] for block in blocks],
        "mix": [[block.attn.c_proj] for block in blocks],
        "up": [[block.mlp.c_fc] for block in blocks],
        "gate": [[] for _ in blocks],
        "down": [[block.mlp.c_proj] for block in blocks],
    }
    return assemble(
        model,
        parts,
        places=as_array(body.wpe.weight),
        norms=as_array(torch.stack([torch.stack([n.weight, n.bias]) for n in norms])),
        eps=norms[0].eps,
        gated=False,
        heads=first.num_heads,
        shared=1,
        scale=first.scaling,
        turns=np.zeros((2, 0, 0), np.float32),
    )


def read_llama(model: LlamaForCausalLM) -> Weights:
    """The weights of a Llama."""
    body, blocks = model.model, model.model.layers
    between = ((block.input_layernorm, block.post_attention_layernorm) for block in blocks)
    norms = [*(norm for both in between for norm in both), body.norm]
    attention, mlp = [block.self_attn for block in blocks], [block.mlp for block in blocks]
    first = attention[0]
    parts = {
        "qkv": [[a.q_proj, a.k_proj, a.v_proj] for a in attention],
        "mix": [[a.o_proj] for a in attention],
        "up": [[m.up_proj] for m in mlp],
        "gate": [[m.gate_proj] for m in mlp],
        "down": [[m.down_proj] for m in mlp],
    }
    shifts = [torch.stack([n.weight, torch.zeros_like(n.weight)]) for n in norms]
    return assemble(
        model,
        parts,
        places=NONE,
        norms=as_array(torch.stack(shifts)),
        eps=norms[0].variance_epsilon,
        gated=True,
        heads=model.config.num_attention_heads,
        shared=first.num_key_value_groups,
        scale=first.scaling,
        turns=turns_of(model),
    )


def turns_of(model: LlamaForCausalLM) -> np.ndarray:
    """The cosines and sines of all positions: `[2, context, head_dim / 2]`.

    What the model's own `rotary_emb` computes, but not by torch: its threads' first cosines of
    many numbers have now and then been right to four digits only.
    """
    rope, context = model.model.rotary_emb, model.config.max_position_embeddings
    places = np.arange(context, dtype=np.float32)[:, None]
    angles = (places * rope.inv_freq.float().numpy()).astype(np.float64)  # as exact as the model's
    return (np.stack([np.cos(angles), np.sin(angles)]) * rope.attention_scaling).astype(np.float32)


def assemble(
    model: PreTrainedModel, parts: dict[str, list[list[nn.Module]]], **rest: object
) -> Weights:
    """All weights of a model; parts: the linear layers of each place in a block."""
    table, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    every = [weight_of(p) for layers in parts.values() for layer in layers for p in layer]
    dtype = narrow_type([table, head, *every])
    matrices = {name: stack(layers, dtype) for name, layers in parts.items()}
    added = {f"{name}_bias": biases(layers) for name, layers in parts.items()}
    tokens, output = as_array(table, dtype), in_strips(as_array(head, dtype))
    return Weights(tokens=tokens, output=output, **matrices, **added, **rest)
