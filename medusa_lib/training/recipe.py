"""Every choice that decides the weights: sizes, optimisers, learning rate, seed."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from medusa_lib.base.checks import check_fields, check_int
from medusa_lib.base.words import Positive, Seed


@dataclass(frozen=True)
class Recipe:
    """Every number that decides the weights; stored beside them.

    Raises ValueError naming a field out of range.
    """

    layers: Positive = 4
    width: Positive = 256
    heads: Positive = 4
    context: Positive = 512
    vocab_size: int = 4096
    epochs: float = 3.0
    batch: Positive = 16  # windows of `context` tokens a step
    lr: float = 3e-3
    warmup: Positive = 100  # steps
    weight_decay: float = 0.1
    clip: float = 1.0
    space_split: float = 0.02  # share of words split from their leading space
    seed: Seed = 7

    def __post_init__(self) -> None:
        check_fields(self)
        check_int("vocab_size", self.vocab_size, 257)  # each byte, and EOS
        for name in ("epochs", "lr", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a number > 0, got {getattr(self, name)!r}")
        for name in ("weight_decay", "space_split"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)!r}")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads {self.heads}, got {self.width}")

    def as_dict(self) -> dict[str, int | float]:
        """The fields by name, for checkpoints and figures."""
        return dataclasses.asdict(self)

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one step trains on."""
        return self.batch * self.context


def build_model(recipe: Recipe, eos_id: int) -> GPT2LMHeadModel:
    """A GPT-2 architecture (Radford et al. 2019) with fresh weights, float32, seeded.

    Dropout is off: in the few epochs of a recipe the books are not overfitted.
    """
    torch.manual_seed(recipe.seed)
    config = GPT2Config(
        vocab_size=recipe.vocab_size,
        n_positions=recipe.context,
        n_embd=recipe.width,
        n_layer=recipe.layers,
        n_head=recipe.heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=eos_id,
        eos_token_id=eos_id,
    )
    return GPT2LMHeadModel(config)


def build_optimizers(model: GPT2LMHeadModel, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for embeddings, biases and norms.

    Muon: Jordan et al. 2024, from torch.optim, its step scaled to AdamW's (Liu et al. 2025).
    """
    named = list(model.named_parameters())
    matrices = [p for n, p in named if ".h." in n and p.ndim == 2]
    tables = [p for n, p in named if ".h." not in n and p.ndim == 2]
    vectors = [p for _, p in named if p.ndim < 2]
    muon = torch.optim.Muon(
        matrices,
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    adamw = torch.optim.AdamW(
        [{"params": tables, "weight_decay": recipe.weight_decay}, {"params": vectors}],
        lr=recipe.lr,
        betas=(0.9, 0.95),
        weight_decay=0.0,
    )
    return [muon, adamw]


def learning_rate(step: int, total: int, recipe: Recipe) -> float:
    """The rate of step `step` in [0, total): linear warm-up, then linear decay to zero.

    The warm-up takes `recipe.warmup` steps, or a quarter of a shorter run.
    """
    warm = min(1.0, (step + 1) / max(1, min(recipe.warmup, total // 4)))
    return recipe.lr * warm * (1 - step / total)
