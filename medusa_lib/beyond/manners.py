"""How a foreign model may be asked: tried on a few tokens before the first run, not looked up.

GPT-2's and Llama's families are known. Any other model is asked the same short text as a whole,
in parts over a cache that is rolled back, and as a tree; what says the same may be used. You can
skip this module: nothing in a lesson depends on how it works.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from medusa_lib.base.words import Parents
from medusa_lib.beyond.masks import mask_and_offsets, with_cache
from medusa_lib.beyond.near_ties import NearTie
from medusa_lib.engine.cache import growing_cache, is_growing
from medusa_lib.steps.model import LM
from medusa_lib.steps.own_way import differ, ordinary_ids, rows_of_text

FAMILIES = ("gpt2", "llama")  # whose attention is known to be this one
MASKED = ("eager", "sdpa")  # kinds of attention that take a mask of numbers
BEFORE, TREE = 5, (-1, 0, -1)  # tokens read before a tree of three, and its parents


@dataclass(frozen=True)
class Manner:
    """What a model takes beside ids and a cache, as tried.

    positions: each token's place in the text; False: it counts by itself. trees: the mask of a
    tree. why: if not empty, why it cannot be asked over a cache at all.
    """

    positions: bool = True
    trees: bool = True
    why: str = ""


def manner_of(lm: LM) -> Manner:
    """How a model may be asked, tried once and again if its kind of attention changes.

    Raises ValueError, by name, for a model that cannot be asked over a cache.
    """
    config = lm.model.config
    attention = config._attn_implementation
    if config.model_type in FAMILIES:
        cache = lm.kept.get("manner", ("", None))
        if cache[0] != ("known", attention):
            trees = attention in MASKED and is_growing(growing_cache(config))
            cache = lm.kept["manner"] = (("known", attention), Manner(trees=trees))
        return cache[1]
    if lm.kept.get("manner", (None,))[0] != attention:
        growing_cache(config)  # refuses a recurrence
        lm.kept["manner"] = attention, tried(lm)
    manner = lm.kept["manner"][1]
    if manner.why:
        raise ValueError(
            "lm must be a model that says over a cache what it says of the whole text, "
            f"got {config.model_type}: {manner.why}"
        )
    return manner


@torch.inference_mode()
def tried(lm: LM) -> Manner:
    """Ask a model in every way → the best that says what it says of the whole text."""
    why = ""
    for positions in (True, False):
        try:
            difference = in_parts(lm, positions)
        except Exception as error:  # whatever the reason, it cannot be asked so
            why = why or (str(error).strip() or repr(error)).splitlines()[0][:120]
            continue
        if difference is None:
            return Manner(positions, positions and takes_trees(lm))
        why = difference
    return Manner(why=why)


def in_parts(lm: LM, positions: bool) -> str | None:
    """Read a text in parts, one of them taken back → how that differs from the whole, or None."""
    ids = ordinary_ids(lm, 8)
    wanted, cache = rows_of_text(lm, ids), growing_cache(lm.model.config)
    half, rows = len(ids) // 2, []
    rows.append(fed(lm, cache, ids[:half], positions=positions))
    rows.append(fed(lm, cache, [ids[half], *ids[:2]], positions=positions)[:1])  # a wrong guess
    if cache.get_seq_length() != half + 3:
        return "it keeps nothing there"
    cache.crop(-2)
    rows.append(fed(lm, cache, ids[half + 1 :], positions=positions))
    return differ(torch.cat(rows), wanted, NearTie.of(lm).at(wanted))


def takes_trees(lm: LM) -> bool:
    """True if a tree's rows say what its ways say as texts, and the cache keeps the chosen way."""
    cache = growing_cache(lm.model.config)
    if lm.model.config._attn_implementation not in MASKED or not is_growing(cache):
        return False
    ids = ordinary_ids(lm, BEFORE + 4)
    text, (first, second, other, after) = ids[:BEFORE], ids[BEFORE:]
    try:
        fed(lm, cache, text)
        rows = fed(lm, cache, [first, second, other], TREE)
        for layer in cache.layers:
            for held in (layer.keys, layer.values):
                held[..., BEFORE, :] = held[..., BEFORE + 2, :]  # keep the other way
        cache.crop(-2)
        last = fed(lm, cache, [after])
    except Exception:  # whatever the reason, it takes none
        return False
    ways = rows_of_text(lm, [*text, first, second]), rows_of_text(lm, [*text, other, after])
    wanted = torch.cat([ways[0][BEFORE:], ways[1][BEFORE:]])
    return differ(torch.cat([rows, last]), wanted, NearTie.of(lm).at(wanted)) is None


def fed(
    lm: LM,
    cache: DynamicCache,
    ids: Sequence[int],
    parents: Parents | None = None,
    *,
    positions: bool = True,
) -> torch.Tensor:
    """One pass of the model itself over some ids after those cached → logits `[n, V]`."""
    seen, device, mask = cache.get_seq_length(), lm.device, None
    places = torch.arange(seen, seen + len(ids), device=device)
    if parents is not None:
        mask, offsets = mask_and_offsets(parents, 0, lm.model.dtype, device)
        mask, places = with_cache(mask, seen), offsets + seen
    given = {"position_ids": places[None]} if positions else {}
    asked = torch.tensor([list(ids)], device=device)
    masks = {"attention_mask": mask} if mask is not None else {}
    return (
        lm.model(input_ids=asked, past_key_values=cache, use_cache=True, **given, **masks)
        .logits[0]
        .float()
    )
