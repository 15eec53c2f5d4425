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
FEW, MANY, LARGE = 4, 16, 2**20  # pieces of a small network and a large one, and which is large
Linear = tuple[torch.Tensor, torch.Tensor | None]  # weight and bias


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


def in_rows(numbers: torch.Tensor, pieces: int) -> torch.Tensor:
    """A weight or bias `[out, …]`, cut by its outputs → `[pieces, size, …]`; zeros fill it up."""
    missing = -len(numbers) % pieces
    whole = torch.cat([numbers, numbers.new_zeros(missing, *numbers.shape[1:])])
    return whole.reshape(pieces, -1, *numbers.shape[1:])


def in_columns(weight: torch.Tensor, pieces: int) -> torch.Tensor:
    """A weight `[out, in]`, cut by what it is given → `[pieces, out, size]`."""
    return in_rows(weight.t(), pieces).transpose(1, 2)


def joined_rows(parts: Sequence[torch.Tensor | None], pieces: int) -> torch.Tensor | None:
    """Some weights, or biases, each cut by its outputs, side by side in each piece."""
    if parts[0] is None:
        return None
    return torch.cat([in_rows(part, pieces) for part in parts], dim=1)


def network_of(up: nn.Module, gate: nn.Module | None, down: nn.Module) -> dict[str, Linear]:
    """A layer's network, cut into pieces of its inner numbers."""
    weights = [weight_of(layer) for layer in (up, gate, down) if layer is not None]
    pieces = FEW if weights[0].numel() < LARGE else MANY
    cut = {"up": up} if gate is None else {"up": up, "gate": gate}
    rows = {
        name: (in_rows(weight_of(layer), pieces), joined_rows([layer.bias], pieces))
        for name, layer in cut.items()
    }
    none = {"gate": (weights[0].new_zeros(pieces, 0, 1), None)}
    return {**none, **rows, "down": (in_columns(weights[-1], pieces), down.bias)}


def read_gpt2(model: GPT2LMHeadModel) -> Weights:
    """The weights of a GPT-2."""
    body, blocks = model.transformer, model.transformer.h
    first, layers = blocks[0].attn, []
    norms = [*(norm for block in blocks for norm in (block.ln_1, block.ln_2)), body.ln_f]
    for attention, mlp in ((block.attn, block.mlp) for block in blocks):
        count, bias = first.num_heads, attention.c_attn.bias
        qkv = [joined_rows(each.chunk(3), count) for each in (weight_of(attention.c_attn), bias)]
        mix = in_columns(weight_of(attention.c_proj), count), attention.c_proj.bias
        layers.append({"qkv": tuple(qkv), "mix": mix, **network_of(mlp.c_fc, None, mlp.c_proj)})
    return assemble(
        model,
        layers,
        places=as_array(body.wpe.weight),
        norms=as_array(torch.stack([torch.stack([n.weight, n.bias]) for n in norms])),
        eps=norms[0].eps,
        gated=False,
        shared=1,
        scale=first.scaling,
        turns=np.zeros((2, 0, 0), np.float32),
    )


def read_llama(model: LlamaForCausalLM) -> Weights:
    """The weights of a Llama."""
    body, blocks = model.model, model.model.layers
    between = ((block.input_layernorm, block.post_attention_layernorm) for block in blocks)
    norms = [*(norm for both in between for norm in both), body.norm]
    first, layers, count = blocks[0].self_attn, [], model.config.num_key_value_heads
    for attention, mlp in ((block.self_attn, block.mlp) for block in blocks):
        parts = attention.q_proj, attention.k_proj, attention.v_proj
        qkv = [joined_rows([getattr(p, kind) for p in parts], count) for kind in ("weight", "bias")]
        mix = in_columns(attention.o_proj.weight, count), attention.o_proj.bias
        network = network_of(mlp.up_proj, mlp.gate_proj, mlp.down_proj)
        layers.append({"qkv": tuple(qkv), "mix": mix, **network})
    shifts = [torch.stack([n.weight, torch.zeros_like(n.weight)]) for n in norms]
    return assemble(
        model,
        layers,
        places=NONE,
        norms=as_array(torch.stack(shifts)),
        eps=norms[0].variance_epsilon,
        gated=True,
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


def biases_of(layers: Sequence[dict[str, Linear]], name: str) -> np.ndarray:
    """The biases of one place in each block; an array of none has as many dimensions."""
    found = [layer[name][1] for layer in layers]
    if found[0] is not None:
        return as_array(torch.stack(found))
    pieces = () if name in ("mix", "down") else (len(layers[0][name][0]),)
    return np.zeros((len(layers), *pieces, 0), np.float32)


def assemble(
    model: PreTrainedModel, layers: Sequence[dict[str, Linear]], **rest: object
) -> Weights:
    """All weights of a model; layers: the linear layers of each block, in pieces."""
    table, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    dtype = narrow_type(
        [table, head, *(weight for layer in layers for weight, _ in layer.values())]
    )
    found = {}
    for name in layers[0]:
        whole = torch.stack([layer[name][0] for layer in layers])
        found[name] = in_strips(as_array(whole, dtype))
        found[f"{name}_bias"] = biases_of(layers, name)
    tokens, output = as_array(table, dtype), in_strips(as_array(head, dtype))
    return Weights(tokens=tokens, output=output, **found, **rest)
