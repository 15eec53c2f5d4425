"""Where the time of a loop of `speculate` goes, by the clock, during real runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

from medusa_lib.bench.decoders import CHAIN, GREEDY, HEADS_AND_NGRAM, NGRAM, TREE
from medusa_lib.bench.rows import LoopParts
from medusa_lib.beyond import speculative
from medusa_lib.beyond.heads_files import heads_fit
from medusa_lib.beyond.one_pass import State, takes_masks
from medusa_lib.steps.model import LM

# The functions that a loop calls one after the other → the part of LoopParts that each is.
PARTS = {"draft": "drafting", "one_pass": "forward", "verify": "choosing", "keep": "cache"}


@contextlib.contextmanager
def stopwatches() -> Iterator[dict[str, float]]:
    """The seconds of each part of the loops that run while this is open, growing."""
    plain = {name: getattr(speculative, name) for name in PARTS}
    seconds = dict.fromkeys(PARTS.values(), 0.0)

    def watched(part: str, call: Callable[..., object]) -> Callable[..., object]:
        def run(*given: object) -> object:
            began = time.perf_counter()
            try:
                return call(*given)
            finally:
                seconds[part] += time.perf_counter() - began

        return run

    try:
        for name, part in PARTS.items():
            setattr(speculative, name, watched(part, plain[name]))
        yield seconds
    finally:
        for name, call in plain.items():
            setattr(speculative, name, call)


def watched_drafters(lm: LM) -> dict[str, str | None]:
    """The decoders whose loops are taken apart, by the names of their rows → drafters."""
    drafters: dict[str, str | None] = {GREEDY: None, NGRAM: "ngram"}
    if heads_fit(lm):
        drafters[CHAIN] = "heads_chain"
    if heads_fit(lm) and takes_masks(State.start(lm, [])):
        drafters |= {TREE: "heads_tree", HEADS_AND_NGRAM: "heads_ngram"}
    return drafters


def parts_of(lm: LM, prompts: Sequence[str], count: int, name: str) -> LoopParts:
    """Write all prompts with one decoder → where its loops' seconds went."""
    drafter = watched_drafters(lm)[name]
    with stopwatches() as seconds:
        runs = [speculative.speculate(lm, prompt, drafter, count) for prompt in prompts]
    loops = [loop for run in runs for loop in run.loops]
    total = sum(loop.seconds for loop in loops)
    shares = {part: taken / total for part, taken in seconds.items()}
    rest = 1 - sum(shares.values())
    return LoopParts(name, len(loops), 1000 * total / len(loops), rest=rest, **shares)


def loop_parts(lm: LM, prompts: Sequence[str], count: int) -> list[LoopParts]:
    """A row for each decoder; all have run before, so nothing is made for the first time."""
    return [parts_of(lm, prompts, count, name) for name in watched_drafters(lm)]
