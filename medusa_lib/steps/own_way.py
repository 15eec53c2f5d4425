"""Whether a model writes as the course does: a pass over the text so far, one token more.

Nearly all do. Some are asked in a way of their own by `generate`: with more tokens than the text,
in two streams, by pictures or sound. They are found by trying, before a first run, and refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from medusa_lib.steps.model import LM

KNOWN = ("gpt2", "llama")  # families that need no trial
ALIKE = 2e-3  # of the largest logit; a model asked in another way differs by far more


def check_own_way(lm: LM) -> None:
    """Raises ValueError, by name, for a model that `generate` asks otherwise. Tried only once."""
    model = lm.model
    if not hasattr(model, "generate") or model.config.model_type in KNOWN:
        return
    if "own way" not in lm.kept:
        lm.kept["own way"] = tried_once(lm)
    if lm.kept["own way"]:
        raise ValueError(
            "lm must be a model that writes by passes over its text alone, "
            f"got {model.config.model_type}: {lm.kept['own way']}"
        )


@torch.inference_mode()
def tried_once(lm: LM) -> str | None:
    """Write two tokens by `generate` → what is otherwise in a pass over the same text, or None."""
    ids = ordinary_ids(lm, 6)
    try:
        wanted = rows_of_text(lm, ids)
    except Exception as error:  # whatever the reason, it cannot be asked so
        return first_line(error)
    if wanted.shape != (len(ids), lm.vocab_size):
        return f"it says {list(wanted.shape)} numbers of {lm.vocab_size} tokens"
    if not lm.model.can_generate():
        return None
    from transformers import GenerationConfig  # noqa: PLC0415 - slow to import

    settings = GenerationConfig(
        max_new_tokens=2,
        do_sample=False,
        num_beams=1,
        pad_token_id=lm.eos_id,
        output_logits=True,
        return_dict_in_generate=True,
    )
    try:
        asked = torch.tensor([ids], device=lm.device)
        made = lm.model.generate(asked, generation_config=settings)
    except Exception as error:
        return f"generate itself fails, {first_line(error)}"
    written = made.sequences[0].tolist()
    rows = torch.cat(list(made.logits)).float()
    return differ(rows, rows_of_text(lm, written)[len(ids) - 1 : -1])


def first_line(error: Exception) -> str:
    """What an error says, in a line."""
    return (str(error).strip() or repr(error)).splitlines()[0][:120]


def rows_of_text(lm: LM, ids: Sequence[int]) -> torch.Tensor:
    """One pass over a whole text → logits `[T, V]`, as STEP2's `last_logits` makes the last."""
    asked = torch.tensor([list(ids)], device=lm.device)
    return lm.model(input_ids=asked, use_cache=False).logits[0].float()


def differ(rows: torch.Tensor, wanted: torch.Tensor, least: float = 0.0) -> str | None:
    """How far two sets of logits differ, in words; None if by no more than passes do.

    least: so much may differ whatever the size of the logits.
    """
    if rows.shape != wanted.shape:
        return f"it says {list(rows.shape)} numbers, not {list(wanted.shape)}"
    largest = float((rows - wanted).abs().max())
    allowed = max(least, ALIKE * float(wanted.abs().max()))
    return None if largest <= allowed else f"logits differ by {largest:.2g}"


def ordinary_ids(lm: LM, count: int) -> list[int]:
    """Some different ids that mean nothing special, as many as the context holds at most."""
    config = lm.model.config
    names = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
    special = {*lm.tokenizer.all_special_ids, *(getattr(config, name, None) for name in names)}
    plain = [token for token in range(lm.vocab_size) if token not in special] or [0]
    step = max(1, len(plain) // (count + 1))
    ids = [plain[(1 + place) * step % len(plain)] for place in range(count)]
    return ids[: max(1, lm.context_length - 2)]
