"""transformers' own decoders, to measure ourselves against: `generate` and its two speed-ups."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from medusa_lib.steps.model import LM
from medusa_lib.steps.utilities import encode, without_end

LOOKUP_TOKENS = 7  # drafted per loop by prompt lookup; our n-gram drafter's span


@contextlib.contextmanager
def count_passes(model: PreTrainedModel | None) -> Iterator[list[int]]:
    """A list that grows by one with each forward pass of `model`."""
    passes: list[int] = []
    if model is None:
        yield passes
        return
    hook = model.register_forward_hook(lambda *_: passes.append(1))
    try:
        yield passes
    finally:
        hook.remove()


@contextlib.contextmanager
def no_advice() -> Iterator[None]:
    """Errors only: `generate` warns of settings that are meant as they are."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)


def generate(lm: LM, prompt: str, count: int, **options: object) -> dict:
    """Greedy `generate` → new ids without EOS, seconds, passes of the model and of its assistant.

    options: `prompt_lookup_num_tokens` or `assistant_model`, else plain greedy.
    """
    ids = encode(lm, prompt)
    ends = {"pad_token_id": lm.eos_id, "eos_token_id": list(lm.end_ids)}
    options = {"do_sample": False, **ends, **options}
    count = min(count, lm.context_length - ids.shape[1])
    with (
        count_passes(lm.model) as passes,
        count_passes(options.get("assistant_model")) as drafts,
        no_advice(),
        torch.inference_mode(),
    ):
        began = time.perf_counter()
        out = lm.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, **options
        )
        seconds = time.perf_counter() - began
    new = out[0, ids.shape[1] :].tolist()
    return {
        "ids": without_end(lm, new),
        "seconds": seconds,
        "verify_passes": len(passes),
        "draft_passes": len(drafts),
        "loops": len(passes),
    }
