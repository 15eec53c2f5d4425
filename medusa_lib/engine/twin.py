"""A quick twin of a model: the same weights, quicker passes of one token and of a few.

You can skip this module: nothing in a lesson depends on how it works.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from transformers import Cache, PreTrainedModel
from transformers.activations import NewGELUActivation
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions
from transformers.models.gpt2.modeling_gpt2 import GPT2MLP, GPT2Block, GPT2Model
from transformers.pytorch_utils import Conv1D

from medusa_lib.engine.cache import growing_cache, is_growing
from medusa_lib.engine.products import (
    GELU_MAKERS,
    MAKERS,
    MOST_ROWS,
    TOLERANCE,
    Choices,
    Chooser,
    Maker,
    chooser,
    gelu,
)
from medusa_lib.steps.model import LM


class Direct(nn.Module):
    """A module whose call is its forward: looking for hooks takes longer than a small product."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward(x)


class QuickLinear(Direct):
    """A linear layer with one product for a single row, one for a few and one for many.

    choices: their places in `makers`.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        choices: Choices,
        makers: Sequence[Maker] = MAKERS,
    ) -> None:
        super().__init__()
        made = {choice: makers[choice](weight, bias) for choice in choices}
        self.one, self.few, self.many = (made[choice] for choice in choices)
        self.width = weight.shape[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Numbers `[..., in]` → `[..., out]`."""
        if x.dim() != 2:
            return self(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], self.width)
        count = x.shape[0]
        product = self.one if count == 1 else self.few if count <= MOST_ROWS else self.many
        return product(x)


class QuickNorm(Direct):
    """Layer normalisation."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.fixed = (norm.normalized_shape, norm.weight.detach(), norm.bias.detach(), norm.eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Numbers `[..., width]` → the same shape."""
        return torch.layer_norm(x, *self.fixed)


class QuickGelu(Direct):
    """GPT-2's activation as a module."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Numbers of any shape → the same shape."""
        return gelu(x)


class Keep(Direct):
    """What is left of dropout in a model that is not being trained: nothing changes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Anything → itself."""
        return x


class QuickMLP(Direct):
    """The second half of a block of GPT-2: up, the activation in the same step, and down."""

    def __init__(self, mlp: GPT2MLP, choose: Chooser) -> None:
        super().__init__()
        up, down = weight_and_bias(mlp.c_fc), weight_and_bias(mlp.c_proj)
        self.up = QuickLinear(*up, choose(*up, GELU_MAKERS), GELU_MAKERS)
        self.down = QuickLinear(*down, choose(*down))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Numbers `[..., width]` → the same shape."""
        return self.down(self.up(x))


class QuickBlock(nn.Module):
    """A block of GPT-2: the same sums, without the options that decoding never asks for."""

    def __init__(self, block: GPT2Block) -> None:
        super().__init__()
        attention = block.attn
        self.ln_1, self.ln_2, self.mlp = block.ln_1, block.ln_2, block.mlp
        self.qkv, self.proj = attention.c_attn, attention.c_proj
        self.layer, self.heads, self.scaling = (
            attention.layer_idx,
            attention.num_heads,
            attention.scaling,
        )

    def __call__(
        self,
        x: torch.Tensor,
        cache: Cache | None,
        mask: torch.Tensor | None,
        *_: object,
        **__: object,
    ) -> torch.Tensor:
        """Hidden numbers `[B, T, width]` → the same shape; the cache grows by T tokens."""
        return self.rows(x.reshape(-1, x.shape[-1]), x.shape[0], cache, mask).view(x.shape)

    def rows(
        self, x: torch.Tensor, texts: int, cache: Cache | None, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """The same for all tokens of `texts` texts as rows: `[B · T, width]`."""
        # [B · T, 3 width] → [B, T, 3, heads, head_dim]
        parts = self.qkv(self.ln_1(x)).view(texts, -1, 3, self.heads, x.shape[1] // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)  # [B, heads, T, head_dim] each
        if cache is not None:
            k, v = cache.update(k, v, self.layer)  # [B, heads, seen + T, head_dim]
        causal = mask is None and q.shape[2] > 1
        mixed = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, scale=self.scaling, is_causal=causal
        )
        x = x + self.proj(mixed.transpose(1, 2).reshape(x.shape))  # [B · T, width]
        return x + self.mlp(self.ln_2(x))


class Plain(NamedTuple):
    """What a plain pass gives, with the names that transformers' own outputs have."""

    last_hidden_state: torch.Tensor
    past_key_values: Cache
    hidden_states: None = None
    attentions: None = None
    cross_attentions: None = None


class QuickGPT2(GPT2Model):
    """GPT-2's body for passes over a cache, which asks once and not per option what is wanted."""

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        **options: object,
    ) -> Plain | BaseModelOutputWithPastAndCrossAttentions:
        """What GPT-2's own gives; where more than these four matters, it is asked for it.

        Never what happens within: hidden_states and attentions are None.
        """
        if not is_plain_pass(input_ids, past_key_values, attention_mask, position_ids, options):
            return super().forward(
                input_ids=input_ids,
                past_key_values=past_key_values,
                attention_mask=attention_mask,
                position_ids=position_ids,
                **options,
            )
        x = F.embedding(input_ids, self.wte.weight) + F.embedding(position_ids, self.wpe.weight)
        shape, texts = x.shape, x.shape[0]
        x = x.view(-1, shape[-1])
        for block in self.h:
            x = block.rows(x, texts, past_key_values, attention_mask)
        return Plain(self.ln_f(x).view(shape), past_key_values)


def is_plain_pass(
    ids: torch.Tensor | None,
    cache: Cache | None,
    mask: torch.Tensor | None,
    positions: torch.Tensor | None,
    options: dict[str, object],
) -> bool:
    """True for a pass over a growing cache with known positions, a mask for each place or none."""
    asked = {name: value for name, value in options.items() if value is not None}
    if ids is None or cache is None or positions is None or asked != {"use_cache": True}:
        return False
    if not is_growing(cache):
        return False
    if mask is None:
        return ids.shape[1] == 1 or cache.get_seq_length() == 0
    return mask.dim() == 4


def is_plain_body(body: GPT2Model) -> bool:
    """True for a body of quick blocks on two plain tables, which is all that QuickGPT2 runs."""
    tables = (body.wte, body.wpe)
    return (
        all(isinstance(block, QuickBlock) for block in body.h)
        and all(type(table) is nn.Embedding and table.max_norm is None for table in tables)
        and isinstance(body.drop, Keep)
    )


def is_plain_block(module: nn.Module) -> bool:
    """True for a block of GPT-2 that does nothing but what LeanBlock does."""
    return (
        type(module) is GPT2Block
        and not hasattr(module, "crossattention")
        and not module.attn.reorder_and_upcast_attn
        and module.attn.config._attn_implementation == "sdpa"
    )


def is_plain_mlp(module: nn.Module) -> bool:
    """True for the second half of a block of GPT-2 that QuickMLP computes."""
    return (
        type(module) is GPT2MLP
        and type(module.act) is NewGELUActivation
        and type(module.c_fc) is type(module.c_proj) is Conv1D
        and isinstance(module.dropout, nn.Dropout)
    )


def weight_and_bias(module: nn.Module) -> tuple[torch.Tensor, torch.Tensor | None] | None:
    """A linear layer's weight `[out, in]` and bias, or None for any other module."""
    if type(module) is Conv1D:
        return module.weight.detach().t(), module.bias.detach()
    if type(module) is nn.Linear:
        return module.weight.detach(), None if module.bias is None else module.bias.detach()
    return None


def quick_module(module: nn.Module, choose: Chooser) -> nn.Module | None:
    """What takes a module's place in the twin, or None if it stays."""
    if isinstance(module, nn.Dropout):
        return Keep()
    if isinstance(module, NewGELUActivation):
        return QuickGelu()
    if type(module) is nn.LayerNorm and module.weight is not None and module.bias is not None:
        return QuickNorm(module)
    parts = weight_and_bias(module)
    return None if parts is None else QuickLinear(*parts, choose(*parts))


@torch.no_grad()
def quick_twin(model: PreTrainedModel) -> PreTrainedModel:
    """A model with the same weights and the same answers to about 1e-4, faster for few tokens.

    The model itself stays as it is. The twin has copies of some weights, so it is of no use once
    they change: see stamp. Where there is nothing to gain (no CPU, no float32, training
    mode), a part has hooks, or the answers differ, it is the model itself.
    """
    special = not isinstance(model, PreTrainedModel) or model.training or has_hooks(model)
    if special or model.device.type != "cpu" or model.dtype != torch.float32:
        return model
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    twin, choose = copy.deepcopy(model, shared), chooser()
    replace_modules(twin, lambda module: QuickMLP(module, choose) if is_plain_mlp(module) else None)
    replace_modules(twin, lambda module: quick_module(module, choose))
    replace_modules(twin, lambda module: QuickBlock(module) if is_plain_block(module) else None)
    body = twin.base_model
    if type(body) is GPT2Model and is_plain_body(body):
        body.__class__ = QuickGPT2
    return twin if answers_alike(twin, model) else model


def quick(lm: LM) -> PreTrainedModel:
    """The faster twin of a model, for passes of a few tokens; made when first asked for."""
    if "twin" not in lm.kept:
        refresh(lm)
    return lm.kept["twin"][1]


def refresh(lm: LM) -> None:
    """Make the twin now: for the first time, or anew if the model has changed since."""
    now = stamp(lm.model)
    if lm.kept.get("twin", (None,))[0] != now:
        lm.kept["twin"] = (now, quick_twin(lm.model))


@torch.no_grad()
def quick_linear(weight: torch.Tensor, bias: torch.Tensor | None = None) -> QuickLinear:
    """One linear layer, with the fastest products for it. weight: `[out, in]`."""
    parts = weight.detach(), None if bias is None else bias.detach()
    return QuickLinear(*parts, chooser()(*parts))


@torch.no_grad()
def quick_layers(module: nn.Module, but: Sequence[str] = ()) -> nn.Module:
    """A copy of a module on the CPU, with the same answers, its linear layers made quick.

    but: names of parts that stay as they are.
    """
    shared = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    twin, choose = copy.deepcopy(module, shared), chooser()
    stay = {twin.get_submodule(name) for name in but}
    replace_modules(twin, lambda part: None if part in stay else quick_module(part, choose))
    return twin


def stamp(model: nn.Module) -> tuple[object, ...]:
    """What changes with a weight that is changed in place or replaced, with hooks, with training.

    A change by way of `weight.data` alone, such as `weight.data.zero_()`, is seen only if it
    changes the number in the middle.
    """
    parts = [
        (p.data_ptr(), p.dtype, p.device, version_of(p), middle(p)) for p in model.parameters()
    ]
    return (model.training, has_hooks(model), *parts)


def middle(tensor: torch.Tensor) -> float:
    """One number of a matrix on the CPU: a fused optimizer changes it and counts no version.

    Not of a bias, which is hardly ever trained alone: that would take as long again.
    """
    if tensor.device.type != "cpu" or tensor.dim() < 2 or tensor.numel() == 0:
        return 0.0
    return float(tensor.detach()[tuple(size // 2 for size in tensor.shape)])


def version_of(tensor: torch.Tensor) -> int:
    """How often a tensor was changed in place; one made in inference mode does not count."""
    return 0 if tensor.is_inference() else tensor._version


def has_hooks(model: nn.Module) -> bool:
    """True if something is called before or after a part of the model.

    The whole and its body do not count: hooks there, such as one that counts passes, still work.
    """
    whole = {model, getattr(model, "base_model", model)}
    parts = (part for part in model.modules() if part not in whole)
    return any(part._forward_hooks or part._forward_pre_hooks for part in parts)


def replace_modules(model: nn.Module, replacement: Callable[[nn.Module], nn.Module | None]) -> None:
    """Put `replacement(module)` in the place of each module for which it is not None."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            new = replacement(child)
            if new is not None:
                setattr(parent, name, new)


def answers_alike(twin: PreTrainedModel, model: PreTrainedModel) -> bool:
    """True if both say the same of a short text, read in two parts so that the cache is used."""
    size = model.get_input_embeddings().num_embeddings
    most = getattr(model.config, "max_position_embeddings", 6)
    places = torch.arange(min(6, most))[None]
    answers = []
    for each in (twin, model):
        cache, parts = growing_cache(model.config), []
        for part in places.split(max(1, places.shape[1] - 1), dim=1):
            fed = {"input_ids": part % size, "position_ids": part}
            parts.append(each(**fed, past_key_values=cache, use_cache=True).logits)
        answers.append(torch.cat(parts, dim=1))
    difference = float((answers[0] - answers[1]).abs().max())
    return difference <= TOLERANCE * max(1.0, float(answers[1].abs().max()))
