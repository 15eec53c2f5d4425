"""A lean twin of a model: the same weights, passes of a few tokens at almost the price of one.

You can skip this module: nothing in a lesson depends on how it works. On a CPU, PyTorch's usual
product of a weight matrix with 2 to 32 rows can take three times as long as with one row. Other
ways to compute the same product do not jump so. Which one is fastest differs between processors,
so it is timed here, once per shape of matrix, and checked against the usual one.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn import functional as F
from transformers import Cache, PreTrainedModel
from transformers.activations import NewGELUActivation
from transformers.models.gpt2.modeling_gpt2 import GPT2Block
from transformers.pytorch_utils import Conv1D

from medusa_lib.growing_cache import growing_cache

Product = Callable[[torch.Tensor], torch.Tensor]  # rows [n, in] → [n, out]
FEW_ROWS = 8  # how many rows "a few" is timed with
TRIES = 15  # timings of each product; the fastest counts
TOLERANCE = 1e-4  # largest difference from the usual product, relative to its largest number


def products(weight: torch.Tensor, bias: torch.Tensor | None) -> Iterator[Product]:
    """The ways to compute rows @ weight.T + bias, the usual one first. weight: `[out, in]`."""
    yield lambda rows: F.linear(rows, weight, bias)
    columns = weight.t().contiguous()  # for GPT-2's Conv1D, its own weights: no copy
    if bias is None:
        yield lambda rows: rows @ columns
    else:
        yield lambda rows: torch.addmm(bias, rows, columns)
    if packing_works(weight.device):
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), FEW_ROWS)
        fused = torch.ops.mkldnn._linear_pointwise
        yield lambda rows: fused(rows, packed, bias, "none", [], "")


def packing_works(device: torch.device) -> bool:
    """True where oneDNN's product on weights laid out beforehand is at hand."""
    names = ("_reorder_linear_weight", "_linear_pointwise")
    return (
        device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and all(hasattr(torch.ops.mkldnn, name) for name in names)
    )


def seconds_of(product: Product, rows: torch.Tensor) -> float:
    """The fastest of TRIES timings of one product."""
    times = []
    for _ in range(TRIES):
        began = time.perf_counter()
        product(rows)
        times.append(time.perf_counter() - began)
    return min(times)


def fastest(candidates: list[Product], rows: torch.Tensor) -> int:
    """Which product is fastest for `rows`, among those that agree with the first one."""
    usual = candidates[0](rows)
    bound = TOLERANCE * float(usual.abs().max())
    times = {}
    for i, product in enumerate(candidates):
        if float((product(rows) - usual).abs().max()) <= bound:
            times[i] = seconds_of(product, rows)
    return min(times, key=times.get)


class Direct(nn.Module):
    """A module whose call is its forward: looking for hooks takes longer than a small product."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward(x)


class LeanLinear(Direct):
    """A linear layer with one product for a single row and one for more."""

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None, choices: tuple[int, int]
    ) -> None:
        super().__init__()
        candidates = dict(enumerate(products(weight, bias)))
        self.one, self.few = (candidates[choice] for choice in choices)
        self.width = weight.shape[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Numbers `[..., in]` → `[..., out]`."""
        shape = x.shape
        rows = x.reshape(-1, shape[-1])
        out = self.one(rows) if rows.shape[0] == 1 else self.few(rows)
        return out.view(*shape[:-1], self.width)


class LeanNorm(Direct):
    """Layer normalisation."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.fixed = (norm.normalized_shape, norm.weight.detach(), norm.bias.detach(), norm.eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Numbers `[..., width]` → the same shape."""
        return torch.layer_norm(x, *self.fixed)


class LeanGelu(Direct):
    """GPT-2's activation, the same function in one step instead of eight."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Numbers of any shape → the same shape."""
        return F.gelu(x, approximate="tanh")


class Keep(Direct):
    """What is left of dropout in a model that is not being trained: nothing changes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Anything → itself."""
        return x


class LeanBlock(nn.Module):
    """A block of GPT-2: the same sums, without the options that decoding never asks for."""

    def __init__(self, block: GPT2Block) -> None:
        super().__init__()
        attention, mlp = block.attn, block.mlp
        self.ln_1, self.ln_2 = block.ln_1, block.ln_2
        self.qkv, self.proj = attention.c_attn, attention.c_proj
        self.up, self.act, self.down = mlp.c_fc, mlp.act, mlp.c_proj
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
        """Hidden numbers `[1, T, width]` → the same shape; the cache grows by T tokens."""
        one, count, width = x.shape
        parts = self.qkv(self.ln_1(x)).view(one, count, 3, self.heads, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        if cache is not None:
            k, v = cache.update(k, v, self.layer)
        causal = mask is None and count > 1
        mixed = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, scale=self.scaling, is_causal=causal
        )
        x = x + self.proj(mixed.transpose(1, 2).reshape(one, count, width))
        return x + self.down(self.act(self.up(self.ln_2(x))))


def is_plain_block(module: nn.Module) -> bool:
    """True for a block of GPT-2 that does nothing but what LeanBlock does."""
    return (
        type(module) is GPT2Block
        and not hasattr(module, "crossattention")
        and not module.attn.reorder_and_upcast_attn
        and module.attn.config._attn_implementation == "sdpa"
    )


def weight_and_bias(module: nn.Module) -> tuple[torch.Tensor, torch.Tensor | None] | None:
    """A linear layer's weight `[out, in]` and bias, or None for any other module."""
    if type(module) is Conv1D:
        return module.weight.detach().t(), module.bias.detach()
    if type(module) is nn.Linear:
        return module.weight.detach(), None if module.bias is None else module.bias.detach()
    return None


def lean_module(module: nn.Module, choose: Callable[..., tuple[int, int]]) -> nn.Module | None:
    """What takes a module's place in the twin, or None if it stays."""
    if isinstance(module, nn.Dropout):
        return Keep()
    if isinstance(module, NewGELUActivation):
        return LeanGelu()
    if type(module) is nn.LayerNorm and module.weight is not None and module.bias is not None:
        return LeanNorm(module)
    parts = weight_and_bias(module)
    return None if parts is None else LeanLinear(*parts, choose(*parts))


def chooser() -> Callable[..., tuple[int, int]]:
    """A function (weight, bias) → the products for one row and for a few, timed once a shape."""
    known: dict[tuple, tuple[int, int]] = {}

    def choose(weight: torch.Tensor, bias: torch.Tensor | None) -> tuple[int, int]:
        key = (*weight.shape, weight.is_contiguous(), bias is None)
        if key not in known:
            candidates = list(products(weight, bias))
            size = FEW_ROWS * weight.shape[1]
            rows = torch.linspace(-1, 1, size, dtype=weight.dtype).view(FEW_ROWS, -1)
            known[key] = fastest(candidates, rows[:1]), fastest(candidates, rows)
        return known[key]

    return choose


@torch.no_grad()
def lean_twin(model: PreTrainedModel) -> PreTrainedModel:
    """A model with the same weights and the same answers to about 1e-5, faster for few tokens.

    The model itself stays as it is. The twin has copies of some weights, so it is of no use once
    they change: see is_stale. Where there is nothing to gain (no CPU, no float32, training
    mode), or the answers differ, it is the model itself.
    """
    plain = not isinstance(model, PreTrainedModel) or model.training
    if plain or model.device.type != "cpu" or model.dtype != torch.float32:
        return model
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    twin, choose = copy.deepcopy(model, shared), chooser()
    replace_modules(twin, lambda module: lean_module(module, choose))
    replace_modules(twin, lambda module: LeanBlock(module) if is_plain_block(module) else None)
    twin.made_from = stamp(model)
    return twin if answers_alike(twin, model) else model


def stamp(model: PreTrainedModel) -> tuple[object, ...]:
    """What changes whenever a weight of the model is changed in place."""
    return (model.dtype, model.device, *(p._version for p in model.parameters()))


def is_stale(twin: PreTrainedModel, model: PreTrainedModel) -> bool:
    """True if the model's weights were changed since its twin was made."""
    return twin is not model and twin.made_from != stamp(model)


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
    ids = torch.arange(6)[None] % size
    answers = []
    for each in (twin, model):
        cache = growing_cache(model.config)
        parts = (each(input_ids=part, past_key_values=cache) for part in (ids[:, :5], ids[:, 5:]))
        answers.append(torch.cat([part.logits for part in parts], dim=1))
    difference = float((answers[0] - answers[1]).abs().max())
    return difference <= TOLERANCE * max(1.0, float(answers[1].abs().max()))
