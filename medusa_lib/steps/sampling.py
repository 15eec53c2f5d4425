"""STEP3: temperature, nucleus, and one seeded draw."""

from __future__ import annotations

import math

import torch

from medusa_lib.base.checks import (
    check_bool,
    check_generator,
    check_ids,
    check_int,
    check_probs,
    check_temperature,
    check_top_p,
    check_vector,
)
from medusa_lib.steps.model import LM
from medusa_lib.steps.utilities import last_logits

SUM_ERROR = 1e-6  # float32 probabilities that add up to 0.9 on paper may miss it by this much


def softmax_temp(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Logits `[V]` → probabilities `[V]`: softmax(logits / temperature).

    temperature: >= 0, in no unit; below 1e-6 it counts as 1e-6, which is greedy.
    Raises ValueError for logits that are not finite or a temperature out of range.
    """
    check_vector(logits, "logits")
    temperature = max(check_temperature(temperature), 1e-6)
    # Less the largest first, which changes no probability: a large logit over a small
    # temperature would overflow to infinity.
    return torch.softmax((logits - logits.max()) / temperature, dim=-1)


def top_p_indices(
    probs: torch.Tensor, top_p: float | None, *, standard: bool = False
) -> torch.Tensor:
    """Probabilities `[V]` → ids of the nucleus, most probable first, never fewer than one.

    The original's rule: the longest head whose cumulative probability is <= top_p.
    standard=True: the smallest head whose cumulative probability is >= top_p (Holtzman et al.
    2020; Hugging Face's TopPLogitsWarper), so one token more. None or >= 1 keeps all.
    Raises ValueError for probs that are no distribution, or a top_p that is negative or NaN.
    """
    check_probs(probs), check_bool("standard", standard)
    top_p = check_top_p(top_p, high=math.inf)
    order = torch.argsort(probs, descending=True, stable=True)
    if top_p is None or top_p >= 1:
        return order
    total = probs[order].double().cumsum(0)
    within = total < top_p - SUM_ERROR if standard else total <= top_p + SUM_ERROR
    kept = int(within.sum()) + standard
    return order[: max(1, kept)]


def ban_repeats(probs: torch.Tensor, ids: torch.Tensor, rep_ban_n: int) -> torch.Tensor:
    """Probabilities `[V]` with the last `rep_ban_n` tokens of `ids` at 0, renormalised.

    Where nothing is left, the unbanned distribution. Raises ValueError if rep_ban_n < 0.
    """
    if check_int("rep_ban_n", rep_ban_n, 0) == 0:
        return probs
    banned = probs.clone()
    banned[ids[0, -rep_ban_n:].to(probs.device)] = 0
    return banned / banned.sum() if banned.sum() > 0 else probs


def draw(probs: torch.Tensor, kept: torch.Tensor, generator: torch.Generator) -> int:
    """One draw from `probs` `[V]` limited to the ids in `kept`, on the CPU."""
    weights = torch.zeros(len(probs), dtype=torch.float64)
    weights[kept.cpu()] = probs[kept].double().cpu()
    # All V weights go in, zeros too: each draw then takes the same share of the generator's
    # stream, whatever the nucleus, so a seed's later draws do not depend on its size.
    return int(torch.multinomial(weights, 1, generator=generator))


def best_without(logits: torch.Tensor, eos_id: int, recent: list[int]) -> int:
    """The id of the largest of `logits` `[V]` that is neither EOS nor recent.

    Where nothing is left, the largest that is not EOS.
    """
    order = [t for t in torch.argsort(logits, descending=True, stable=True).tolist() if t != eos_id]
    return next((t for t in order if t not in recent), order[0])


def sample_next(
    lm: LM,
    ids: torch.Tensor,
    temperature: float,
    top_p: float | None,
    ban_eos: bool = False,
    rep_ban_n: int = 0,
    *,
    generator: torch.Generator,
    standard: bool = False,
) -> int:
    """One forward pass and one draw → the id of the next token.

    logits → softmax_temp → repetition ban → nucleus → draw → EOS ban. standard: see
    top_p_indices. Raises ValueError for a knob out of range, before the pass.
    """
    check_temperature(temperature), check_top_p(top_p), check_ids(ids)
    check_int("rep_ban_n", rep_ban_n, 0), check_generator(generator)
    check_bool("ban_eos", ban_eos), check_bool("standard", standard)
    logits = last_logits(lm, ids)
    probs = ban_repeats(softmax_temp(logits, temperature), ids, rep_ban_n)
    kept = top_p_indices(probs, top_p, standard=standard)
    token = draw(probs, kept, generator)
    if ban_eos and token == lm.eos_id:
        kept = kept[kept != lm.eos_id]
        if float(probs[kept].sum()) > 0:
            return draw(probs, kept, generator)
        # The nucleus held EOS alone: the best of the rest, so that the ban never leaks.
        recent = ids[0, -rep_ban_n:].tolist() if rep_ban_n else []
        return best_without(logits, lm.eos_id, recent)
    return token


def nucleus_probs(logits: torch.Tensor, temperature: float, top_p: float | None) -> torch.Tensor:
    """Logits `[V]` → the distribution a draw really comes from: softmax, nucleus, renormalised.

    Float64, on the CPU. Raises ValueError for a temperature or top_p out of range.
    """
    probs = softmax_temp(logits.cpu().double(), temperature)
    if check_top_p(top_p, high=math.inf) in (None, 1):  # all are kept
        return probs
    nucleus = top_p_indices(probs, top_p)
    kept = torch.zeros_like(probs)
    kept[nucleus] = probs[nucleus]
    return kept / kept.sum()


def draw_from(probs: torch.Tensor, generator: torch.Generator) -> int:
    """One draw from `probs` `[V]` >= 0, which need not add up to 1."""
    return int(torch.multinomial(probs, 1, generator=generator))
