"""STEP3: temperature, nucleus, and one seeded draw."""

from __future__ import annotations

import torch

from medusa_lib.base.checks import check_numbers, checked
from medusa_lib.base.words import (
    AnyTopP,
    Count,
    Flag,
    Generator,
    Ids,
    Logits,
    Probs,
    Temperature,
    TopP,
)
from medusa_lib.steps.model import LM
from medusa_lib.steps.utilities import last_logits

SUM_ERROR = 1e-6  # float32 probabilities that add up to 0.9 on paper may miss it by this much


@checked
def softmax_temp(logits: Logits, temperature: Temperature) -> Probs:
    """Logits `[V]` → probabilities `[V]`: softmax(logits / temperature).

    temperature: >= 0, in no unit; below 1e-6 it counts as 1e-6, which is greedy.
    Raises ValueError for logits that are not finite or a temperature out of range.
    """
    # Less the largest first, which changes no probability: a large logit over a small
    # temperature would overflow to infinity.
    return torch.softmax((logits - logits.max()) / max(temperature, 1e-6), dim=-1)  # [V]


@checked
def top_p_indices(probs: Probs, top_p: AnyTopP, *, standard: Flag = False) -> torch.Tensor:
    """Probabilities `[V]` → ids of the nucleus, most probable first, never fewer than one.

    The original's rule: the longest head whose cumulative probability is <= top_p.
    standard=True: the smallest head whose cumulative probability is >= top_p (Holtzman et al.
    2020; Hugging Face's TopPLogitsWarper), so one token more. None or >= 1 keeps all.
    Raises ValueError for probs that are no distribution, or a top_p that is negative or NaN.
    """
    order = torch.argsort(probs, descending=True, stable=True)  # [V]
    if top_p is None or top_p >= 1:
        return order
    total = probs[order].double().cumsum(0)  # [V]
    within = total < top_p - SUM_ERROR if standard else total <= top_p + SUM_ERROR  # [V]
    kept = int(within.sum()) + standard
    return order[: max(1, kept)]


@checked
def ban_repeats(probs: torch.Tensor, ids: torch.Tensor, rep_ban_n: Count) -> torch.Tensor:
    """Probabilities `[V]` with the last `rep_ban_n` tokens of `ids` at 0, renormalised.

    Where nothing is left, the unbanned distribution. Raises ValueError if rep_ban_n < 0.
    """
    if rep_ban_n == 0:
        return probs
    banned = probs.clone()  # [V]
    banned[ids[0, -rep_ban_n:].to(probs.device)] = 0
    return banned / banned.sum() if banned.sum() > 0 else probs


def draw(probs: Probs, kept: torch.Tensor, generator: Generator) -> int:
    """One draw from `probs` `[V]` limited to the ids in `kept`, on the CPU."""
    weights = torch.zeros(len(probs), dtype=torch.float64)  # [V]
    weights[kept.cpu()] = probs[kept].double().cpu()
    # All V weights go in, zeros too: each draw then takes the same share of the generator's
    # stream, whatever the nucleus, so a seed's later draws do not depend on its size.
    return int(torch.multinomial(weights, 1, generator=generator))


@checked
def sample_next(
    lm: LM,
    ids: Ids,
    temperature: Temperature,
    top_p: TopP,
    ban_eos: Flag = False,
    rep_ban_n: Count = 0,
    *,
    generator: Generator,
    standard: Flag = False,
) -> int:
    """One forward pass and one draw → the id of the next token.

    logits → softmax_temp → repetition ban → nucleus → draw → EOS ban. standard: see
    top_p_indices. Raises ValueError for a knob out of range, before the pass.
    """
    logits = last_logits(lm, ids)  # [V]
    probs = ban_repeats(softmax_temp(logits, temperature), ids, rep_ban_n)  # [V]
    kept = top_p_indices(probs, top_p, standard=standard)
    token = draw(probs, kept, generator)
    if ban_eos and lm.is_end(token):
        recent = ids[0, -rep_ban_n:].tolist() if rep_ban_n else []
        return draw_no_end(lm, logits, probs, kept, recent, generator)
    return token


def draw_no_end(
    lm: LM,
    logits: Logits,
    probs: Probs,
    kept: torch.Tensor,
    recent: list[int],
    generator: Generator,
) -> int:
    """A draw from the nucleus `kept` without EOS; where that is empty, the best of the rest.

    So the ban never leaks.
    """
    others = kept[[not lm.is_end(token) for token in kept.tolist()]]
    if float(probs[others].sum()) > 0:
        return draw(probs, others, generator)
    return best_no_end(lm, logits, recent)


def best_no_end(lm: LM, logits: Logits, recent: list[int]) -> int:
    """The id of the largest of `logits` `[V]` that is neither EOS nor recent.

    Where nothing is left, the largest that is not EOS.
    """
    ranked = torch.argsort(logits, descending=True, stable=True).tolist()
    order = [token for token in ranked if not lm.is_end(token)]
    return next((token for token in order if token not in recent), order[0])


@checked
def nucleus_probs(logits: torch.Tensor, temperature: Temperature, top_p: AnyTopP) -> Probs:
    """Logits `[V]` → the distribution a draw really comes from: softmax, nucleus, renormalised.

    Float64, on the CPU. Raises ValueError for logits that are not finite, or a temperature or
    top_p out of range.
    """
    numbers = check_numbers("logits", logits).double().cpu()  # a model may have said NaN
    # As softmax_temp; no logits of a model overflow in float64.
    probs = torch.softmax(numbers / max(temperature, 1e-6), dim=-1)  # [V]
    if top_p is None or top_p >= 1:  # all are kept
        return probs
    nucleus = top_p_indices(probs, top_p)
    kept = torch.zeros_like(probs)  # [V]
    kept[nucleus] = probs[nucleus]
    return kept / kept.sum()


def draw_from(probs: torch.Tensor, generator: Generator) -> int:
    """One draw from `probs` `[V]` >= 0, which need not add up to 1.

    The token at which their running sum passes a random share of the whole: one random number,
    where torch.multinomial takes V of them and five times as long.
    """
    total = probs.detach().double().cumsum(0).numpy()  # [V]
    share = torch.rand(1, dtype=torch.float64, generator=generator).item() * total[-1]
    place = int(total.searchsorted(share, side="right"))
    # Rounded up to the whole sum, a share would lie beyond the last token that can be drawn.
    return place if place < len(probs) else int(probs.nonzero()[-1])
