"""How well a model predicts a text: the loss it is trained on, and the score of a whole book."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from medusa_lib.training.books import Book
from medusa_lib.training.tokens import encode_tales

Score = dict[str, float]


def loss_of(model: GPT2LMHeadModel, windows: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    """Cross-entropy in nats of predicting `windows[:, 1:]` from what stands before.

    windows: ids `[n, T + 1]`. reduction: "mean" → a scalar, "none" → `[n * T]`.
    """
    logits = model(input_ids=windows[:, :-1], use_cache=False).logits.float()
    return F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten(), reduction=reduction)


def _score(nats: float, tokens: int, size: int) -> Score:
    return {
        "tokens": tokens,
        "bytes": size,
        "nats_per_token": nats / tokens,
        "bits_per_byte": nats / math.log(2) / size,
    }


@torch.inference_mode()
def held_out_loss(
    model: GPT2LMHeadModel,
    tokenizer: PreTrainedTokenizerFast,
    book: Book,
    stride: int | None = None,
) -> Score:
    """Nats per token and bits per byte (UTF-8) over a whole book, tale by tale joined by EOS.

    Windows overlap so that each scored token sees at least `context - stride` tokens before
    it, where the book has them (the sliding window of Hugging Face's perplexity guide).
    EOS tokens are scored too. stride: in [1, context]; None is half the context.
    """
    context = model.config.n_positions
    stride = stride or context // 2
    ids = [tokenizer.eos_token_id]
    for tale in encode_tales(tokenizer, book.tales):
        ids += tale.tolist()
    nats, done = 0.0, 1
    while done < len(ids):
        end = min(len(ids), max(done + stride, context))
        window = torch.tensor([ids[max(0, end - context - 1) : end]], device=model.device)
        losses = loss_of(model, window, reduction="none")
        nats += losses[-(end - done) :].double().sum().item()
        done = end
    return _score(nats, len(ids) - 1, sum(len(tale.encode()) for tale in book.tales))


def pooled(scores: Sequence[Score]) -> Score:
    """The score over several books together: all their nats over all their tokens and bytes."""
    nats = sum(score["nats_per_token"] * score["tokens"] for score in scores)
    tokens, size = sum(s["tokens"] for s in scores), sum(s["bytes"] for s in scores)
    return _score(nats, tokens, size)
