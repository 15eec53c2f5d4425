"""STEP1: tokenizer and model, from the shipped folder, any other folder, or the hub."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from medusa_lib.config import MODEL_VARIABLE, SHIPPED_MODEL, default_model_id
from medusa_lib.device import pick_device

EOS_TEXT = "<|endoftext|>"


class ModelLoadError(RuntimeError):
    """A model or tokenizer could not be loaded; the message says how to go on."""


@dataclass(frozen=True)
class LM:
    """A language model ready to use: what every later step takes as its first argument.

    context_length: the most tokens, prompt included, that a sequence may have.
    """

    model_id: str
    tokenizer: PreTrainedTokenizerBase
    model: PreTrainedModel
    device: torch.device
    eos_id: int
    context_length: int

    def __repr__(self) -> str:
        size = sum(p.numel() for p in self.model.parameters()) / 1e6
        return f"LM({self.model_id}, {size:.1f} M parameters, {self.device}, EOS_ID={self.eos_id})"


def model_source(model_id: str) -> str:
    """What `from_pretrained` is given: the shipped model's folder for its name, else the id."""
    if model_id == SHIPPED_MODEL:
        return str(Path(__file__).parent / "pretrained" / SHIPPED_MODEL)
    return model_id


@contextlib.contextmanager
def _clear_errors(model_id: str, what: str) -> Iterator[None]:
    """Turn a loader's pages of traceback into one line that says how to go on."""
    try:
        yield
    except ModelLoadError:
        raise
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        if "connect" in str(error).lower() or "offline" in str(error).lower():
            reason = "it is no local folder, and the hub cannot be reached"
        raise ModelLoadError(
            f"{what} of model_id {model_id!r} could not be loaded: {reason[:200]}. "
            f"To go on offline, use the shipped model (MODEL_ID={SHIPPED_MODEL!r}, "
            f"--model {SHIPPED_MODEL}, or unset {MODEL_VARIABLE}) or the path of a model's folder."
        ) from None


def load_tokenizer(model_id: str) -> PreTrainedTokenizerBase:
    """The tokenizer of `model_id`, sure to have an EOS token and a PAD token.

    A missing EOS becomes a real new token; a missing PAD reuses EOS. Raises ModelLoadError.
    """
    with _clear_errors(model_id, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(model_source(model_id))
    if tokenizer.eos_token_id is None:
        tokenizer.add_special_tokens({"eos_token": EOS_TEXT})
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(model_id: str, device: torch.device | str) -> PreTrainedModel:
    """The model of `model_id` on `device`: float32, eval mode, `use_cache` on.

    Raises ModelLoadError for files that are missing, truncated or lack weights.
    """
    device = torch.device(device)
    with _clear_errors(model_id, "weights"), _quiet_loading():
        model, info = AutoModelForCausalLM.from_pretrained(
            model_source(model_id), dtype=torch.float32, output_loading_info=True
        )
        # transformers fills missing weights with random numbers and only warns.
        broken = sorted(info["missing_keys"]) + sorted(map(str, info["mismatched_keys"]))
        if broken:
            raise ModelLoadError(
                f"weights of model_id {model_id!r} are incomplete: {len(broken)} missing "
                f"or of the wrong shape, the first is {broken[0]}"
            )
    model.config.use_cache = True
    return model.to(device).eval()


@contextlib.contextmanager
def _quiet_loading() -> Iterator[None]:
    """No progress bars and no report tables while weights load; errors still raise."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        transformers_logging.enable_progress_bar()


def fit_embeddings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Grow the model's embeddings, in place, if the tokenizer has gained tokens."""
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer))


def make_lm(
    tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, model_id: str = "custom"
) -> LM:
    """An LM from a tokenizer and a model that are already in memory."""
    fit_embeddings(model, tokenizer)
    context = getattr(model.config, "max_position_embeddings", None)
    return LM(
        model_id=model_id,
        tokenizer=tokenizer,
        model=model,
        device=model.device,
        eos_id=tokenizer.eos_token_id,
        context_length=int(context or tokenizer.model_max_length),
    )


def load_lm(model_id: str | None = None, device: torch.device | str | None = None) -> LM:
    """Tokenizer and model as one LM. None: the model MEDUSA_MODEL names, else the shipped one.

    device: None picks the best at hand. Raises ModelLoadError, or ValueError for a bad device.
    """
    if model_id is None:
        model_id = default_model_id()
    if not isinstance(model_id, str) or not model_id.strip():
        raise ValueError(f"model_id must be None or a non-empty str, got {model_id!r}")
    try:
        chosen = pick_device() if device is None else torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f"device must be cpu, cuda or mps, got {device!r}") from None
    tokenizer = load_tokenizer(model_id)
    return make_lm(tokenizer, load_model(model_id, chosen), model_id)
