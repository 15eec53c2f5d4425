"""Which models have a quick twin in plain loops, and when it is made.

You can skip this module: nothing in a lesson depends on how it works. Whatever a user does to a
model is obeyed: one that is not wholly the usual one goes its own way, `model(…)`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch
import transformers
from torch import nn

from medusa_lib.engine.cache import ArrayCache
from medusa_lib.steps.model import LM, PreTrainedModel

A_WHILE = 1.0  # seconds
COMPILING = "compiling the model's loops, once on this machine: a few seconds …"
TOLERANCE = 1e-4  # largest difference from the model's logits, relative to the largest of them
PROBE = 6  # tokens of the text that both are asked about
MOST = 4e-4  # and not half of what counts as a near tie
# With the separator: what stands in a folder `torch_steering` beside torch's is somebody else's.
FOLDERS = tuple(f"{Path(package.__file__).parent}{os.sep}" for package in (torch, transformers))
NUMBERS = frozenset((bool, int, float))
PLAIN = (torch.Tensor, nn.Parameter, nn.Buffer)  # not quantised, not distributed


class Twin(Protocol):
    """What computes a model's passes in its place: see PlainLoops, the one there is."""

    context: int
    vocab_size: int

    def new_cache(self) -> ArrayCache:
        """An empty cache."""

    def __call__(self, cache: ArrayCache, *fed: object) -> tuple[torch.Tensor, torch.Tensor]:
        """One pass → (logits, hidden states)."""

    def read(self, cache: ArrayCache, ids: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """One pass over a text, each token of which attends to those before it."""


def quick(lm: LM) -> Twin | None:
    """The quick twin of a model, made when first asked for; None: it goes its own way."""
    if torch.is_autocast_enabled("cpu"):
        return None
    if "twin" not in lm.kept:
        refresh(lm)
    return lm.kept["twin"][1]


def get_ready(lm: LM, say: Callable[[str], object]) -> None:
    """Make the twin if there never was one, and say what goes on if that takes a while."""
    if "twin" not in lm.kept:
        timer = threading.Timer(A_WHILE, say, [COMPILING])
        timer.start()
        try:
            refresh(lm)
        finally:
            timer.cancel()


def refresh(lm: LM) -> None:
    """Make the twin now: for the first time, or anew if the model has changed since."""
    if torch.is_autocast_enabled("cpu"):
        return
    now = stamp(lm.model)
    if not is_same(lm.kept.get("twin", (None,))[0], now):
        twin = make_twin(lm.model)
        fits = twin is not None and lm.context_length <= twin.context
        lm.kept["twin"] = (now, twin if fits else None)


@torch.no_grad()
def make_twin(model: PreTrainedModel) -> Twin | None:
    """A model's twin, with copies of its weights, or None where the model must be asked itself.

    So where it is not in single precision on the CPU or not wholly the usual one, where numba is
    missing or does not know the processor, and where the answers differ.
    """
    try:
        twin = in_plain_loops(model) if is_usual(model) else None
        return twin if twin is not None and answers_alike(twin, model) else None
    except Exception:  # whatever the reason, the model can still be asked itself
        return None


def in_plain_loops(model: PreTrainedModel) -> Twin | None:
    """A model as arrays and loops, None for other families; numba takes long to import."""
    from medusa_lib.engine.arrays import PlainLoops  # noqa: PLC0415
    from medusa_lib.engine.weights import read  # noqa: PLC0415

    weights = read(model)
    return None if weights is None else PlainLoops(weights)


def is_usual(model: nn.Module) -> bool:
    """True for a model in single precision on the CPU whose parts are those of a new one.

    The same classes in the same places, with the same settings and weights' names, no hooks, for
    evaluation.
    """
    from transformers import GPT2LMHeadModel, LlamaForCausalLM  # noqa: PLC0415 - slow to import

    if type(model) not in (GPT2LMHeadModel, LlamaForCausalLM) or has_global_hooks():
        return False
    tensors = [*model.parameters(), *model.buffers()]
    plain = all(map(is_plain, tensors))
    single = all(p.dtype == torch.float32 and p.device.type == "cpu" for p in model.parameters())
    if not (plain and single) or any(map(is_touched, model.modules())):
        return False
    with torch.device("meta"):
        new = pieces_of(dict(type(model)(model.config).eval().named_modules()))
    parts = pieces_of(dict(model.named_modules()))
    same_places = parts.keys() == new.keys()
    return same_places and all(new[name].items() <= parts[name].items() for name in new)


def pieces_of(parts: dict[str, nn.Module]) -> dict[str, dict[str, object]]:
    """Of each part of a model, by its name: class, weights' names and plain settings."""
    return {
        name: {
            "class": type(part),
            "weights": [key for key, weight in part._parameters.items() if weight is not None],
            "buffers": [key for key, buffer in part._buffers.items() if buffer is not None],
            # A number or a truth value or, in a part of the model, None.
            **{k: v for k, v in vars(part).items() if type(v) in NUMBERS or (v is None and name)},
        }
        for name, part in parts.items()
    }


def is_touched(part: nn.Module) -> bool:
    """True if a part has hooks, or a forward that neither torch nor transformers wrote."""
    # transformers has hooks of its own, which only look
    return "forward" in vars(part) or not all(map(is_usual_code, work_of(part)))


def work_of(part: nn.Module) -> list[object]:
    """What is called where a part is asked: its class's forward, and its hooks."""
    return [type(part).forward, *part._forward_hooks.values(), *part._forward_pre_hooks.values()]


def is_usual_code(function: object) -> bool:
    """True for a function whose code stands in torch's folder or transformers'."""
    code = getattr(function, "__code__", None)
    return code is not None and code.co_filename.startswith(FOLDERS)


def has_global_hooks() -> bool:
    """True if something is called before or after every module there is."""
    module = nn.modules.module
    return bool(module._global_forward_hooks or module._global_forward_pre_hooks)


def stamp(model: nn.Module) -> tuple[object, ...]:
    """What changes whenever somebody changes what a model computes: weights, parts, hooks, config.

    See `is_same`. A function of transformers that somebody replaces in its module is not seen.
    """
    parts = all_parts(model)
    named = [each for part in parts for each in weights_of(part)]
    weights = {id(tensor): tensor for _, tensor in named}
    places = {who: place for place, who in enumerate(weights)}  # tied weights are seen by these
    names = [(name, places[id(tensor)]) for name, tensor in named]
    known = has_global_hooks(), [known_of(part) for part in parts], names, config_of(model)
    return *known, *known_weights([*weights.values()])


def is_same(before: object, now: object) -> bool:
    """True for two stamps of one model. Another array in a setting's place is another model."""
    try:
        return before == now
    except (ValueError, RuntimeError):  # whether two arrays are equal is no truth value
        return False


def all_parts(model: nn.Module) -> list[nn.Module]:
    """A model and its parts, each once."""
    parts, known = [model], {id(model)}
    for part in parts:  # which grows meanwhile
        for inner in part._modules.values():
            if inner is not None and id(inner) not in known:
                known.add(id(inner))
                parts.append(inner)
    return parts


def known_of(part: nn.Module) -> tuple[object, ...]:
    """A part's class and work, the names of its parts, and all that it was told.

    Every run asks for it: a copy of the whole is made sooner than a choice.
    """
    return type(part), work_of(part), [*part._modules], vars(part).copy()


def weights_of(part: nn.Module) -> list[tuple[str, torch.Tensor]]:
    """A part's own weights and buffers, by their names."""
    own = (*part._parameters.items(), *part._buffers.items())
    return [(name, tensor) for name, tensor in own if tensor is not None]


def config_of(model: nn.Module) -> dict[str, object]:
    """The plain values of a model's config, and those of its rotary positions."""
    config = getattr(model, "config", None)
    own = {} if config is None else vars(config)
    plain = {key: value for key, value in own.items() if type(value) in (bool, int, float, str)}
    return {**plain, "rope": repr(own.get("rope_parameters"))}


def known_weights(weights: Sequence[torch.Tensor]) -> tuple[object, ...]:
    """Kinds, versions and checksums of some tensors; of those no twin could read, who they are.

    Writing through `.data`, or a fused optimizer, counts no version. Where numba is missing, there
    is no twin that could be out of date; it takes long to import.
    """
    try:
        from medusa_lib.engine.arrays import sums_of  # noqa: PLC0415
    except ImportError:
        return ()
    readable = [weight for weight in weights if weight.is_cpu and is_plain(weight)]
    kinds = [(weight.dtype, weight.shape, version_of(weight)) for weight in weights]
    others = [] if len(readable) == len(weights) else [*map(id, weights)]
    return kinds, others, sums_of(readable)


def is_plain(tensor: torch.Tensor) -> bool:
    """True for a tensor that is nothing but its numbers in memory."""
    strided = tensor.layout is torch.strided
    return type(tensor) in PLAIN and strided and not tensor.is_quantized


def version_of(tensor: torch.Tensor) -> int:
    """How often a tensor was changed in place; one made in inference mode does not count."""
    return 0 if tensor.is_inference() else tensor._version


def spread_ids(vocab_size: int, count: int) -> list[int]:
    """Ids from all over a vocabulary.

    The first ones are often special tokens. A row of those is no text, and there even two passes
    of the same model may differ by more than counts as a near tie.
    """
    return [(2 * place + 1) * vocab_size // (2 * count) for place in range(count)]


def answers_alike(twin: Twin, model: PreTrainedModel) -> bool:
    """True if both say the same of a short text, read in two parts so that the cache is used.

    As far as the rule for near ties can make good, and to 1e-4 of the largest logit.
    """
    ids = spread_ids(twin.vocab_size, min(PROBE, twin.context))
    wanted = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    cache, first = twin.new_cache(), max(1, len(ids) - 1)
    parts = [twin.read(cache, part)[0] for part in (ids[:first], ids[first:]) if part]
    difference = float((torch.cat(parts) - wanted).abs().max())
    return difference <= min(MOST, TOLERANCE * max(1.0, float(wanted.abs().max())))
