"""STEP2: text to ids and back, and one forward pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from medusa_lib.base.checks import check_int, checked
from medusa_lib.base.words import Count, Flag, Ids, Logits, Text, Token
from medusa_lib.steps.model import LM
from medusa_lib.steps.settings import settings_for
from medusa_lib.steps.team import few_threads


@checked
def encode(lm: LM, text: Text, *, special: Flag = True, chat: Flag = False) -> Ids:
    """Text → token ids `[1, T]` on the model's device, as the tokenizer encodes by default.

    special: with the tokens that it adds itself, such as BOS; False for a piece of a text. chat:
    as said by a user, in the model's chat template. Raises ValueError if text is no str or has
    no token, or if there is no template.
    """
    if chat:
        text, special = in_template(lm, text), False  # the template has its own
    ids = lm.tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]
    if not ids:
        raise ValueError(f"text must have at least one token, got {text!r}")
    return torch.tensor([ids], device=lm.device)  # [1, T]


def in_template(lm: LM, text: str) -> str:
    """What a user says → the text that the model's own chat template makes of it.

    Raises ValueError if the tokenizer has no chat template.
    """
    if not lm.tokenizer.chat_template:
        raise ValueError(f"chat must be False for {lm.model_id}, which has no template, got True")
    said = [{"role": "user", "content": text}]
    return lm.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)


@checked
def decode(lm: LM, ids: torch.Tensor | Sequence[int]) -> str:
    """Token ids, `[1, T]`, `[T]` or a list of ints → text without special tokens.

    Raises ValueError for ids that are no tokens of this tokenizer.
    """
    flat = known_ids(lm, ids)
    return lm.tokenizer.decode(flat, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def known_ids(lm: LM, ids: object) -> list[int]:
    """Token ids of any kind as a list. Raises ValueError for what is no token of the model."""
    flat = ids.flatten().tolist() if isinstance(ids, torch.Tensor) else ids
    if not isinstance(flat, Sequence) or isinstance(flat, str):
        raise ValueError(f"ids must be a tensor or a list of ints, got {ids!r}")
    known = lm.vocab_size
    for token in flat:
        if check_int("each of ids", token, 0) >= known:
            raise ValueError(f"ids must be in [0, {known}), got {token}")
    return [int(token) for token in flat]


@checked
def append_token(ids: Ids, token_id: Token) -> Ids:
    """`[1, T]` and one token id → `[1, T + 1]`. Raises ValueError for a negative id."""
    return torch.cat([ids, ids.new_tensor([[token_id]])], dim=1)  # [1, T + 1]


@checked
def check_fits(lm: LM, ids: Ids, more: Count = 0) -> None:
    """Raises ValueError if the model could not read `ids` `[1, T]` grown by `more` tokens.

    That is: if T + more exceeds the context, or an id is outside the vocabulary.
    """
    length, limit = ids.shape[1], lm.context_length
    if length + more > limit:
        grown = f"{length} and {more} more" if more else f"{length}"
        raise ValueError(f"ids must have at most {limit} tokens, got {grown}")
    low, high = (int(end) for end in ids.aminmax())
    if low < 0 or high >= lm.vocab_size:
        raise ValueError(f"ids must be in [0, {lm.vocab_size}), got {low if low < 0 else high}")


def check_in_use(lm: LM) -> None:
    """Raises ValueError for a model in training: it then drops numbers at random.

    Two passes over the same text would disagree.
    """
    if hasattr(lm.model, "config") and any(map(drops, lm.model.modules())):
        raise ValueError(
            "lm must have its model in eval mode, got one in training: lm.model.eval()"
        )


def drops(part: torch.nn.Module) -> bool:
    """True for a part that may drop numbers at random: a dropout or transformers' own, in training.

    A new adapter in its place is in training, too, and does no harm.
    """
    if not part.training:
        return False
    kind = type(part).__module__
    return kind.startswith("transformers.") or (kind.endswith(".dropout") and part.p > 0)


@checked
@torch.inference_mode()
def last_logits(lm: LM, ids: Ids) -> Logits:
    """One forward pass → logits `[V]` of the token after `ids`, float32.

    As the model's own settings leave them, see settings. Raises ValueError for ids over the
    context or outside the vocabulary, before the pass, and for logits that are not finite.
    """
    check_fits(lm, ids)
    with few_threads(lm, ids.shape[1]):  # as many as pay at the moment
        logits = logits_of(lm.model(input_ids=ids, use_cache=False, logits_to_keep=1))[0, -1]  # [V]
    logits = obey_settings(lm, ids, logits.float())
    if not bool(torch.isfinite(logits).all()):
        raise ValueError(f"logits must be finite, got NaN or infinity after {ids.shape[1]} tokens")
    return logits


def logits_of(said: object) -> torch.Tensor:
    """The logits of what a model returned: a hook may have made a plain tuple of it."""
    return said[0] if isinstance(said, tuple) else said.logits


def obey_settings(lm: LM, ids: Ids, logits: torch.Tensor) -> torch.Tensor:
    """Logits `[V]` of the token after `ids` as the model's own settings leave them, see settings.

    As the run under way has it, see loops.for_run; a pass outside a run is the first after a
    prompt.
    """
    obeyed = lm.obeyed or settings_for(lm.model, ids, lm.context_length, lm.end_ids)
    return logits if obeyed is None else obeyed(ids, logits)


@checked
def greedy_next(lm: LM, ids: Ids) -> int:
    """One forward pass → the id of the most probable next token."""
    return int(last_logits(lm, ids).argmax())


def up_to_end(lm: LM, tokens: Sequence[int]) -> list[int]:
    """The tokens up to and including the first that ends a text; all if none does."""
    ends = lm.end_ids
    end = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
    return list(tokens[: end + 1])


def without_end(lm: LM, tokens: Sequence[int]) -> tuple[int, ...]:
    """What is emitted of some tokens: EOS never is."""
    ends = lm.end_ids
    return tuple(token for token in tokens if token not in ends)
