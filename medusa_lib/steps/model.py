"""STEP1: tokenizer and model, from the shipped folder, any other folder, or the hub."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
import transformers  # its models, which take long to import, only when they are asked for
from huggingface_hub import constants, get_session, is_offline_mode
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from medusa_lib.base.checks import checked
from medusa_lib.base.config import (
    MODEL_VARIABLE,
    SHIPPED_MODEL,
    SHIPPED_MODELS,
    default_model_id,
    shipped_folder,
)
from medusa_lib.base.words import ModelId
from medusa_lib.steps.device import check_device
from medusa_lib.steps.settings import Obeyed, named_ends

if TYPE_CHECKING:
    from transformers import PreTrainedModel
else:  # the real one takes two seconds to import, which only loading a model is worth
    PreTrainedModel = torch.nn.Module
EOS_TEXT = "<|endoftext|>"
# Misshapen weights are then listed in the report, not raised without a name.
CONTEXTS = ("max_position_embeddings", "max_target_positions")  # names of the same setting
WITH_REPORT = {"output_loading_info": True, "ignore_mismatched_sizes": True}


class ModelLoadError(RuntimeError):
    """A model or tokenizer could not be loaded; the message says how to go on."""


@dataclass(frozen=True)
class LM:
    """A language model ready to use: what every later step takes as its first argument.

    eos_id: the tokenizer's EOS; where the model's own settings name others, `end_ids` are those.
    context_length: the most tokens, prompt included, that a sequence may have. obeyed: what the
    model's settings make of its logits in the run under way, see settings. kept: what later
    lessons make of the model and want to find again; a copy starts with nothing.
    """

    model_id: str
    tokenizer: PreTrainedTokenizerBase
    model: PreTrainedModel
    device: torch.device
    eos_id: int
    context_length: int
    obeyed: Obeyed | None = field(default=None, compare=False, repr=False)
    own_end: bool = field(init=False, compare=False, repr=False)
    kept: dict[str, object] = field(init=False, compare=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        # An EOS that is not the tokenizer's was chosen by whoever made this LM: it alone counts.
        own, theirs = self.eos_id, self.tokenizer.eos_token_id
        object.__setattr__(self, "own_end", own != theirs)

    @property
    def vocab_size(self) -> int:
        """How many token ids the model knows: 0 to vocab_size - 1."""
        return self.model.get_input_embeddings().num_embeddings

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The tokens that end a text: those that the model's settings name, else `eos_id`."""
        named = () if self.own_end else named_ends(self.model)
        if self.kept.get("named", ((),))[0] != named:  # looked up anew only where they change
            real = tuple(each for each in named if 0 <= each < self.vocab_size)
            self.kept["named"] = named, real
        return (named and self.kept["named"][1]) or (self.eos_id,)

    @property
    def ends_in_words(self) -> str:
        """The ids that end a text, as STEP1 prints them."""
        return f"EOS_ID={', '.join(map(str, self.end_ids))}"

    def is_end(self, token: int) -> bool:
        """True for a token that ends a text. Nobody else decides where a text ends."""
        return token in self.end_ids

    def obeying(self, obeyed: Obeyed | None) -> LM:
        """The same LM for one run, whose logits the model's settings change so; None: not at all.

        It shares what is kept.
        """
        if obeyed is self.obeyed:
            return self
        run = replace(self, obeyed=obeyed)
        object.__setattr__(run, "kept", self.kept)
        return run

    @classmethod
    def check_argument(cls, name: str, value: object) -> LM:
        """`value` as an LM. Raises ValueError for anything else, such as a model's name."""
        if not isinstance(value, cls):
            kind = type(value).__name__
            raise ValueError(f"{name} must be an LM, as load_lm() returns it, got {kind}")
        return value

    def __getstate__(self) -> dict[str, object]:
        """What a copy or a file of it holds: the fields; what was kept is made anew."""
        return {**self.__dict__, "kept": {}}

    def __repr__(self) -> str:
        size = sum(p.numel() for p in self.model.parameters()) / 1e6
        return f"LM({self.model_id}, {size:.1f} M parameters, {self.device}, {self.ends_in_words})"


def model_source(model_id: str) -> str:
    """What `from_pretrained` is given: a shipped model's folder for its name, else the id."""
    if model_id in SHIPPED_MODELS:
        return str(shipped_folder(model_id))
    return model_id


def hub_reachable(seconds: float = 3.0) -> bool:
    """True if the model hub answers one short request.

    Asked first because the hub's own client retries for about a minute before it gives up.
    """
    if is_offline_mode():
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=seconds)
    except Exception:  # whatever the reason, there is no hub to load from
        return False
    return True


def cache_only(model_id: str) -> bool:
    """True if `model_id` is no folder and no hub answers: its files can only come from cache."""
    return not os.path.isdir(model_source(model_id)) and not hub_reachable()


@contextlib.contextmanager
def _clear_errors(model_id: str, what: str, offline: bool) -> Iterator[None]:
    """Turn a loader's pages of traceback into one line that says how to go on."""
    try:
        yield
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        if offline:
            reason = "it is no local folder, and the hub cannot be reached"
        raise ModelLoadError(
            f"{what} of model_id {model_id!r} could not be loaded: {reason[:200].rstrip('.! ')}. "
            f"To go on offline, use the shipped model (MODEL_ID={SHIPPED_MODEL!r}, "
            f"--model {SHIPPED_MODEL}, or unset {MODEL_VARIABLE}) or the path of a model's folder."
        ) from None


@checked
def load_tokenizer(model_id: ModelId) -> PreTrainedTokenizerBase:
    """The tokenizer of `model_id`, sure to have a token that ends a text.

    A missing EOS becomes a real new token; a missing PAD reuses EOS. Raises ModelLoadError.
    """
    offline = cache_only(model_id)
    with _clear_errors(model_id, "tokenizer", offline):
        source = model_source(model_id)
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, local_files_only=offline)
        refuse_empty(tokenizer)
    return ensure_eos(tokenizer)


def refuse_empty(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises ValueError for what transformers makes, without a word, where files are missing."""
    if tokenizer.vocab_size <= len(tokenizer.all_special_ids):
        raise ValueError("it has no vocabulary, its files are missing")


def ensure_eos(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer itself: a missing EOS becomes a real new token, a missing PAD reuses EOS."""
    if tokenizer.eos_token_id is None:
        tokenizer.add_special_tokens({"eos_token": EOS_TEXT})
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


@checked
def load_model(model_id: ModelId, device: torch.device | str) -> PreTrainedModel:
    """The model of `model_id` on `device`: float32, and in the mode for use, not training.

    Its setting `use_cache` is on. Raises ModelLoadError for files that are missing, truncated or
    lack weights.
    """
    device, offline = check_device(device), cache_only(model_id)
    with _clear_errors(model_id, "weights", offline), _quiet_loading():
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            model_source(model_id),
            dtype=torch.float32,
            local_files_only=offline,
            **WITH_REPORT,
        )
        refuse_gaps(info)
    model.config.use_cache = True
    return model.to(device).eval()


def refuse_gaps(info: dict[str, object]) -> None:
    """Raises ValueError for weights that are missing from a model's files, or misshapen.

    transformers fills such gaps with random numbers and only warns. info: its report.
    """
    broken = sorted(info["missing_keys"]) + sorted(key for key, *_ in info["mismatched_keys"])
    if broken:
        raise ValueError(f"{len(broken)} missing or misshapen, the first is {broken[0]}")


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
    """Grow the model's embeddings, in place, if the tokenizer has gained tokens.

    New rows start near the mean of the old; a fixed seed makes them the same at each loading.
    """
    if len(tokenizer) <= model.get_input_embeddings().num_embeddings:
        return
    with torch.random.fork_rng(devices=[]), _quiet_loading():
        torch.manual_seed(0)
        model.resize_token_embeddings(len(tokenizer))


def context_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """The most tokens that a model can read: as its settings say, or its tokenizer.

    Where positions are counted from after the padding's, as in RoBERTa, that many are lost.
    """
    config, words = model.config, model.get_input_embeddings()
    if hasattr(config, "get_text_config"):  # of a model that also sees or hears
        config = config.get_text_config()
    sizes = [getattr(config, name, None) for name in CONTEXTS]
    most = next((size for size in sizes if size and size > 0), tokenizer.model_max_length)
    tables = (part for part in model.modules() if isinstance(part, torch.nn.Embedding))
    places = [t for t in tables if t is not words and t.num_embeddings == most]
    return int(most) - max(
        (t.padding_idx + 1 for t in places if t.padding_idx is not None), default=0
    )


def make_lm(
    tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, model_id: str = "custom"
) -> LM:
    """An LM from a tokenizer and a model that are already in memory, both changed in place.

    The tokenizer gets an EOS token if it has none, the model is put in eval mode.
    """
    fit_embeddings(model.eval(), ensure_eos(tokenizer))
    return LM(
        model_id=model_id,
        tokenizer=tokenizer,
        model=model,
        device=model.device,
        eos_id=tokenizer.eos_token_id,
        context_length=context_of(model, tokenizer),
    )


@checked
def load_lm(model_id: ModelId | None = None, device: torch.device | str | None = None) -> LM:
    """Tokenizer and model as one LM. None: the model MEDUSA_MODEL names, else the shipped one.

    device: None picks the best at hand. Raises ModelLoadError, or ValueError for a bad device.
    """
    model_id = default_model_id() if model_id is None else model_id
    chosen = check_device(device)
    tokenizer = load_tokenizer(model_id)
    return make_lm(tokenizer, load_model(model_id, chosen), model_id)
