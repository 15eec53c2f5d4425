"""Every drafter of the course by its name, each as it is best set up."""

from __future__ import annotations

from collections.abc import Callable

from medusa_lib.base.checks import checked
from medusa_lib.base.words import Generator, Temperature, TopP
from medusa_lib.beyond.branches import BranchesDrafter
from medusa_lib.beyond.drafters import (
    Drafter,
    FirstOf,
    ModelDrafter,
    NgramDrafter,
    careful_ngram,
    check_drafter,
    draft_model,
)
from medusa_lib.beyond.drawn_chains import DrawnChain
from medusa_lib.beyond.early_exit import early_exit
from medusa_lib.beyond.growing_trees import GrowingDrafter, Growth
from medusa_lib.beyond.heads_files import shipped_heads
from medusa_lib.beyond.lookahead import LookaheadDrafter
from medusa_lib.beyond.medusa_heads import HeadsDrafter, chain_of
from medusa_lib.steps.device import make_generator
from medusa_lib.steps.model import LM

IN_CACHE = 16_000_000  # weights, of two bytes each; a processor's last cache holds about as many


def ngram_or_heads(lm: LM) -> FirstOf:
    """Where the last five tokens stood before, what followed them; else a tree of heads.

    Raises HeadsError if no shipped heads fit `lm`.
    """
    ngram = NgramDrafter(longest=5, shortest=5)
    ngram.span = 10  # so long a match is trusted further than a short one
    return FirstOf(ngram, tree_drafter(lm))


@checked
def chain_drafter(
    lm: LM, temperature: Temperature, top_p: TopP, generator: Generator
) -> HeadsDrafter | DrawnChain:
    """The shipped heads, one after the other: their best guesses, at a temperature drawn ones.

    Raises HeadsError if none fit `lm`.
    """
    heads, _ = shipped_heads(lm)
    if temperature > 0:
        return DrawnChain(heads, temperature, top_p, generator)
    return HeadsDrafter(heads, chain_of(heads.shape.count))


DRAFTERS: dict[str, Callable[..., Drafter]] = {
    "self": ModelDrafter,
    "ngram": lambda lm, temperature, top_p, generator: careful_ngram(),
    "draft_model": draft_model,
    "branches": lambda lm, temperature, top_p, generator: BranchesDrafter(lm, generator),
    "early_exit": early_exit,
    # The window of the paper's picture. A smaller one is faster here and accepts less: BEYOND12.
    "lookahead": lambda lm, temperature, top_p, generator: LookaheadDrafter(),
    "heads_chain": chain_drafter,
    "heads_tree": lambda lm, temperature, top_p, generator: tree_drafter(lm),
    "heads_ngram": lambda lm, temperature, top_p, generator: ngram_or_heads(lm),
}


@checked
def make_drafter(
    drafter: str | Drafter | None,
    lm: LM,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    generator: Generator | None = None,
) -> Drafter | None:
    """The drafter of that name for `lm`; a drafter or None as it is. generator None: unseeded.

    Raises ValueError for an unknown name, an object that cannot propose, a knob out of range, or
    a model that the drafter does not fit.
    """
    if drafter is None:
        return None
    if isinstance(drafter, str) and drafter in DRAFTERS:
        made = DRAFTERS[drafter](lm, temperature, top_p, generator or make_generator(None))
    else:
        known = ", ".join(repr(name) for name in DRAFTERS)
        made = check_drafter(drafter, f"{known}, None or have propose()")
    if hasattr(made, "check_fits"):
        made.check_fits(lm)
    return made


def tree_drafter(lm: LM) -> GrowingDrafter:
    """The shipped heads with a tree that grows as it goes. Raises HeadsError if none fit `lm`.

    Where all weights lie in the processor's cache, each position costs, and what is unlikely to
    hold is not worth one. Elsewhere a pass reads the weights for all of them.
    """
    numbers = sum(weight.numel() for weight in lm.model.parameters())
    sure = Growth(least=0.25, least_open=0.3) if numbers < IN_CACHE else Growth()
    return GrowingDrafter(shipped_heads(lm)[0], sure)
