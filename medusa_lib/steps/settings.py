"""A model's own settings, its `generation_config`, where they change what greedy writes.

You can skip this module: bookworm has no such settings. Others come with a penalty for repeating
themselves, with words they must not say or a token they must end with, and `generate` obeys.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
import transformers  # what its names stand for is slow to import, and only named here

# What changes greedy's choice by changing a row of logits, and the values that change nothing.
OBEYED = {
    "sequence_bias": (None,),
    "encoder_repetition_penalty": (None, 1.0),
    "repetition_penalty": (None, 1.0),
    "no_repeat_ngram_size": (None, 0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "bad_words_ids": (None,),
    "min_length": (None, 0),
    "min_new_tokens": (None, 0),
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "remove_invalid_values": (None, False),
    "exponential_decay_length_penalty": (None,),
    "suppress_tokens": (None,),
    "begin_suppress_tokens": (None,),
    "watermarking_config": (None,),
    "renormalize_logits": (None, False),
}
# What would make it another search than greedy's, or stop by other signs than a token.
IGNORED = {
    "num_beams": (None, 1),
    "num_beam_groups": (None, 1),
    "penalty_alpha": (None, 0),
    "dola_layers": (None,),
    "constraints": (None,),
    "force_words_ids": (None,),
    "guidance_scale": (None, 1),
    "stop_strings": (None,),
    "max_time": (None,),
    "token_healing": (None, False),
}
# What other ways to the same text there are, and what is asked of `generate`, not of the model.
PLAIN = {
    **dict.fromkeys(IGNORED),
    **dict.fromkeys(("prompt_lookup_num_tokens", "assistant_early_exit", "use_mtp", "max_length")),
    **{"do_sample": False, "num_beams": 1, "num_return_sequences": 1, "use_cache": True},
    **{"cache_implementation": None, "return_dict_in_generate": False},
}
FINITE = torch.finfo(torch.float32)
SYNTH_ID = "SynthIDTextWatermarkingConfig"  # a class of transformers


def named_ends(model: object) -> tuple[int, ...]:
    """The ids that a model's settings say end a text, the first first; () if they name none.

    As `generate` does: those of `generation_config`, which without a file of its own repeats the
    model's config.
    """
    config = getattr(model, "generation_config", None)
    named = None if config is None else config.eos_token_id
    if named is None:
        return ()
    if isinstance(named, torch.Tensor):
        named = named.flatten().tolist()
    return tuple(named) if isinstance(named, list | tuple) else (named,)


def set_among(
    config: transformers.GenerationConfig | None, names: dict[str, tuple]
) -> dict[str, object]:
    """Those of some settings that have a value which changes something."""
    values = {} if config is None else vars(config)
    found = {name: values.get(name) for name in names}
    return {name: value for name, value in found.items() if value not in names[name]}


def changed_settings(model: object) -> tuple[dict[str, object], dict[str, object]]:
    """A model's settings that change what greedy writes → (those obeyed, those ignored)."""
    config = getattr(model, "generation_config", None)
    obeyed, ignored = set_among(config, OBEYED), set_among(config, IGNORED)
    mark = obeyed.get("watermarking_config")
    if type(mark).__name__ == SYNTH_ID:  # it remembers from pass to pass
        ignored["watermarking_config"] = obeyed.pop("watermarking_config")
    return obeyed, ignored


@dataclass(frozen=True)
class Obeyed:
    """What a model's settings make of its logits, in one run.

    processors: transformers' own, as `generate` has them for that prompt and limit. stretch: by
    how much they may draw two logits apart, at most. mends: they replace what is not finite.
    """

    processors: transformers.LogitsProcessorList
    stretch: float = 1.0
    mends: bool = False

    @torch.inference_mode()
    def __call__(self, ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Logits `[V]` of the token after `ids` `[1, T]` → the same as the settings leave them.

        A token that they forbid gets the lowest number there is, and what they make no number of
        (a decay of a forbidden end) the highest: `generate` chooses it. Raises ValueError for
        logits that are not finite, unless the settings mend them.
        """
        if not (self.mends or bool(torch.isfinite(logits).all())):
            raise ValueError(f"logits must be finite, got others after {ids.shape[1]} tokens")
        said = self.processors(ids.to(logits.device), logits[None].float().clone())[0]
        return said.nan_to_num(FINITE.max, FINITE.max, FINITE.min)


def settings_for(
    model: transformers.PreTrainedModel, ids: torch.Tensor, count: int, ends: tuple[int, ...]
) -> Obeyed | None:
    """What a model's settings make of a run of `count` tokens after `ids` `[1, T]`; None: nothing.

    ends: the ids that end a text. Raises ValueError for a setting that is out of range.
    """
    obeyed, _ = changed_settings(model)
    if not obeyed:
        return None
    config = model.generation_config
    options = {name: value for name, value in PLAIN.items() if hasattr(config, name)}
    options |= {"max_new_tokens": count, "eos_token_id": list(ends), "pad_token_id": ends[0]}
    options["watermarking_config"] = obeyed.get("watermarking_config")
    # `generate` prepares all as for a run of its own, and lets us take it from there.
    processors = model.generate(
        ids, attention_mask=torch.ones_like(ids), custom_generate=take_processors, **options
    )
    return Obeyed(processors, stretch_of(obeyed, count), "remove_invalid_values" in obeyed)


def take_processors(
    _model: transformers.PreTrainedModel,
    _ids: torch.Tensor,
    logits_processor: transformers.LogitsProcessorList,
    **_rest: object,
) -> transformers.LogitsProcessorList:
    """In the place of a decoding method: hand out the logits processors and compute nothing."""
    return logits_processor


def stretch_of(obeyed: dict[str, object], count: int) -> float:
    """By how much some settings draw two logits apart at most, in a run of `count` tokens.

    The bound of a near tie grows by as much: what differs in the last bits is drawn apart, too.
    """
    stretch = 1.0
    for name in ("repetition_penalty", "encoder_repetition_penalty"):
        penalty = float(obeyed.get(name, 1.0))
        stretch *= max(penalty, 1 / penalty)
    _, factor = obeyed.get("exponential_decay_length_penalty", (0, 1.0))
    try:
        return stretch * max(1.0, float(factor)) ** count
    except OverflowError:
        return float("inf")


def say_what_is_ignored(model: object, told: dict[str, object]) -> None:
    """One warning that names the settings that are not obeyed; told: what was said before."""
    _, ignored = changed_settings(model)
    if ignored and told.get("ignored") != ignored:
        told["ignored"] = ignored
        named = ", ".join(f"{name}={value!r}" for name, value in ignored.items())
        warnings.warn(
            f"the model's generation_config asks for {named}, which is not obeyed here: "
            "the text is greedy's, or a draw's, without",
            stacklevel=2,
        )
