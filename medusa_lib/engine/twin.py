"""Which models have a quick twin in plain loops, and when it is made.

You can skip this module: nothing in a lesson depends on how it works. Whatever a user does to a
model is obeyed: one that is not wholly the usual one goes its own way, `model(…)`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import torch
from torch import nn
from transformers import PreTrainedModel

from medusa_lib.engine.cache import ArrayCache
from medusa_lib.steps.model import LM

A_WHILE = 1.0  # seconds
COMPILING = "compiling the model's loops, once on this machine: a few seconds …"
TOLERANCE = 1e-4  # largest difference from the model's logits, relative to the largest of them
USUAL = ("torch.nn.modules.", "transformers.")  # where the forwards of usual parts are written
PLAIN = (torch.Tensor, nn.Parameter, nn.Buffer)  # not quantised, not distributed
MISSING = (ImportError, OSError, RuntimeError, NotImplementedError)  # no numba, or not for this CPU


class Twin(Protocol):
    """What computes a model's passes in its place: see PlainLoops, the one there is."""

    context: int

    def new_cache(self) -> ArrayCache:
        """An empty cache."""

    def __call__(self, cache: ArrayCache, *fed: object) -> tuple[torch.Tensor, torch.Tensor]:
        """One pass → (logits, hidden states)."""


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
    now = stamp(lm.model)
    if lm.kept.get("twin", (None,))[0] != now:
        lm.kept["twin"] = (now, make_twin(lm.model))


@torch.no_grad()
def make_twin(model: PreTrainedModel) -> Twin | None:
    """A model's twin, with copies of its weights, or None where the model must be asked itself.

    So where it is not in single precision on the CPU or not wholly the usual one, where numba is
    missing or does not know the processor, and where the answers differ.
    """
    if not is_usual(model):
        return None
    try:
        twin = in_plain_loops(model)
        return twin if twin is not None and answers_alike(twin, model) else None
    except MISSING:
        return None


def in_plain_loops(model: PreTrainedModel) -> Twin | None:
    """A model as arrays and loops, None for other families; numba takes long to import."""
    from medusa_lib.engine.arrays import PlainLoops  # noqa: PLC0415
    from medusa_lib.engine.weights import read  # noqa: PLC0415

    weights = read(model)
    return None if weights is None else PlainLoops(weights)


def is_usual(model: nn.Module) -> bool:
    """True for a model in single precision on the CPU whose parts are those of a new one.

    The same classes in the same places, with the same settings, no hooks, for evaluation.
    """
    tensors = [*model.parameters(), *model.buffers()]
    plain = all(type(t) in PLAIN and t.layout is torch.strided for t in tensors)
    single = all(p.dtype == torch.float32 and p.device.type == "cpu" for p in model.parameters())
    untouched = isinstance(model, PreTrainedModel) and not any(map(is_touched, model.modules()))
    if not (plain and single and untouched) or has_global_hooks():
        return False
    with torch.device("meta"):
        new = pieces_of(type(model)(model.config).eval())
    parts = pieces_of(model)
    same_places = parts.keys() == new.keys()
    return same_places and all(new[name].items() <= parts[name].items() for name in new)


def pieces_of(model: nn.Module) -> dict[str, dict[str, object]]:
    """The parts of a model by name: the class of each and the numbers that it was given."""
    return {
        name: {
            "class": type(part),
            **{
                key: value for key, value in vars(part).items() if type(value) in (bool, int, float)
            },
        }
        for name, part in model.named_modules()
    }


def is_touched(part: nn.Module) -> bool:
    """True if a part has hooks, or a forward that neither torch nor transformers wrote."""
    hooks = [*part._forward_hooks.values(), *part._forward_pre_hooks.values()]
    work = [type(part).forward, *hooks]  # transformers has hooks of its own, which only look
    return "forward" in vars(part) or not all(is_usual_code(function) for function in work)


def is_usual_code(function: object) -> bool:
    """True for a function of torch's or transformers'."""
    return str(getattr(function, "__module__", "")).startswith(USUAL)


def has_global_hooks() -> bool:
    """True if something is called before or after every module there is."""
    module = nn.modules.module
    return bool(module._global_forward_hooks or module._global_forward_pre_hooks)


def stamp(model: nn.Module) -> tuple[object, ...]:
    """What changes whenever somebody changes what a model computes: weights, parts, hooks."""
    touched = [name for name, part in model.named_modules() if is_touched(part)]
    weights = [
        (t.data_ptr(), t.dtype, t.device, version_of(t), total(t)) for t in model.parameters()
    ]
    return has_global_hooks(), touched, pieces_of(model), weights


def total(tensor: torch.Tensor) -> float:
    """The sum of a weight: writing through `.data`, or a fused optimizer, counts no version."""
    return float(tensor.detach().sum()) if tensor.device.type == "cpu" else 0.0


def version_of(tensor: torch.Tensor) -> int:
    """How often a tensor was changed in place; one made in inference mode does not count."""
    return 0 if tensor.is_inference() else tensor._version


def answers_alike(twin: Twin, model: PreTrainedModel) -> bool:
    """True if both say the same of a short text, read in two parts so that the cache is used."""
    count = min(6, twin.context)
    ids = [place % len(twin.weights.tokens) for place in range(count)]
    wanted = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    cache, first = twin.new_cache(), max(1, count - 1)
    parts = [twin.read(cache, part)[0] for part in (ids[:first], ids[first:]) if part]
    difference = float((torch.cat(parts) - wanted).abs().max())
    return difference <= TOLERANCE * max(1.0, float(wanted.abs().max()))
