"""STEP2: text to ids and back, and one forward pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from medusa_lib.checks import check_ids, check_int
from medusa_lib.model import LM


def encode(lm: LM, text: str) -> torch.Tensor:
    """Text → token ids `[1, T]` on the model's device.

    Raises ValueError if text is no str or has no token.
    """
    if not isinstance(text, str) or not text:
        raise ValueError(f"text must be a non-empty str, got {text!r}")
    ids = lm.tokenizer(text, add_special_tokens=False, return_tensors="pt", verbose=False)
    return check_ids(ids["input_ids"].long(), "ids of text").to(lm.device)


def decode(lm: LM, ids: torch.Tensor | Sequence[int]) -> str:
    """Token ids, `[1, T]`, `[T]` or a list of ints → text without special tokens."""
    flat = ids.flatten().tolist() if isinstance(ids, torch.Tensor) else list(ids)
    return lm.tokenizer.decode(flat, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def append_token(ids: torch.Tensor, token_id: int) -> torch.Tensor:
    """`[1, T]` and one token id → `[1, T + 1]`. Raises ValueError for a negative id."""
    token_id = check_int("token_id", token_id, 0)
    return torch.cat([check_ids(ids), ids.new_tensor([[token_id]])], dim=1)


@torch.inference_mode()
def last_logits(lm: LM, ids: torch.Tensor) -> torch.Tensor:
    """One forward pass → logits `[V]` of the token after `ids`, float32.

    Raises ValueError if ids has more tokens than the context, or if the logits are not finite.
    """
    length = check_ids(ids).shape[1]
    if length > lm.context_length:
        raise ValueError(f"ids must have at most {lm.context_length} tokens, got {length}")
    logits = lm.model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[0, -1].float()
    if not bool(torch.isfinite(logits).all()):
        raise ValueError(f"logits must be finite, got NaN or infinity after {length} tokens")
    return logits


def greedy_next(lm: LM, ids: torch.Tensor) -> int:
    """One forward pass → the id of the most probable next token."""
    return int(last_logits(lm, ids).argmax())
