"""STEP2: text to ids and back, and one forward pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from medusa_lib.base.checks import check_ids, check_int, check_text
from medusa_lib.steps.model import LM, check_lm


def encode(lm: LM, text: str) -> torch.Tensor:
    """Text → token ids `[1, T]` on the model's device.

    Raises ValueError if text is no str or has no token.
    """
    check_lm(lm), check_text("text", text)
    ids = lm.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    if not ids:
        raise ValueError(f"text must have at least one token, got {text!r}")
    return torch.tensor([ids], device=lm.device)


def decode(lm: LM, ids: torch.Tensor | Sequence[int]) -> str:
    """Token ids, `[1, T]`, `[T]` or a list of ints → text without special tokens.

    Raises ValueError for ids that are no tokens of this tokenizer.
    """
    flat = ids.flatten().tolist() if isinstance(ids, torch.Tensor) else ids
    if not isinstance(flat, Sequence) or isinstance(flat, str):
        raise ValueError(f"ids must be a tensor or a list of ints, got {ids!r}")
    known = check_lm(lm).vocab_size
    for token in flat:
        if check_int("each of ids", token, 0) >= known:
            raise ValueError(f"ids must be in [0, {known}), got {token}")
    flat = [int(token) for token in flat]
    return lm.tokenizer.decode(flat, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def append_token(ids: torch.Tensor, token_id: int) -> torch.Tensor:
    """`[1, T]` and one token id → `[1, T + 1]`. Raises ValueError for a negative id."""
    check_ids(ids), check_int("token_id", token_id, 0)
    return torch.cat([ids, ids.new_tensor([[token_id]])], dim=1)


def check_fits(lm: LM, ids: torch.Tensor, more: int = 0) -> None:
    """Raises ValueError if the model could not read `ids` `[1, T]` grown by `more` tokens.

    That is: if T + more exceeds the context, or an id is outside the vocabulary.
    """
    length, limit = check_ids(ids).shape[1], check_lm(lm).context_length
    if length + more > limit:
        grown = f"{length} and {more} more" if more else f"{length}"
        raise ValueError(f"ids must have at most {limit} tokens, got {grown}")
    low, high = (int(end) for end in ids.aminmax())
    if low < 0 or high >= lm.vocab_size:
        raise ValueError(f"ids must be in [0, {lm.vocab_size}), got {low if low < 0 else high}")


@torch.inference_mode()
def last_logits(lm: LM, ids: torch.Tensor) -> torch.Tensor:
    """One forward pass → logits `[V]` of the token after `ids`, float32.

    Raises ValueError for ids over the context or outside the vocabulary, before the pass, and
    for logits that are not finite.
    """
    check_fits(lm, ids)
    logits = lm.model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[0, -1].float()
    if not bool(torch.isfinite(logits).all()):
        raise ValueError(f"logits must be finite, got NaN or infinity after {ids.shape[1]} tokens")
    return logits


def greedy_next(lm: LM, ids: torch.Tensor) -> int:
    """One forward pass → the id of the most probable next token."""
    return int(last_logits(lm, ids).argmax())
