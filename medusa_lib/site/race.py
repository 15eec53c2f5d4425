"""The landing page's live picture: greedy beside the cure, pass by pass, from their records."""

from __future__ import annotations

from dataclasses import dataclass

from medusa_lib.base.records import Generation
from medusa_lib.beyond.speculative import speculate
from medusa_lib.steps.loops import run_greedy
from medusa_lib.steps.model import LM
from medusa_lib.teaching.shared.html import token_texts

PROMPT, NEW_TOKENS, DRAFTER = "Once there lived a king who", 40, "heads_tree"


@dataclass(frozen=True)
class Lane:
    """One decoder's run. tokens: text, where it came from, and the pass that wrote it, from 1."""

    name: str
    tokens: tuple[tuple[str, str, int], ...]
    passes: int

    def written(self, passes: int) -> int:
        """How many tokens stand there after so many passes."""
        return sum(at <= passes for _, _, at in self.tokens)


def lane_of(lm: LM, name: str, run: Generation) -> Lane:
    """A run as a lane: the tokens of a loop appear together, when its last pass is done."""
    tokens, passes = [], run.model_passes - run.draft_passes - run.verify_passes
    for loop in run.loops:
        passes += loop.draft_passes + loop.verify_passes
        texts = token_texts(lm, loop.emitted)
        tokens += [(text, kind, passes) for text, kind in zip(texts, loop.sources, strict=True)]
    return Lane(name, tuple(tokens), run.model_passes)


def run_race(lm: LM, prompt: str = PROMPT, new_tokens: int = NEW_TOKENS) -> tuple[Lane, Lane]:
    """Greedy's lane and the cure's. Raises RuntimeError should their texts differ."""
    greedy = run_greedy(lm, prompt, new_tokens)
    cure = speculate(lm, prompt, DRAFTER, new_tokens)
    if greedy.new_ids != cure.new_ids:
        raise RuntimeError("the cure's text is not greedy's: nothing is published")
    return lane_of(lm, "Greedy", greedy), lane_of(lm, "With Medusa heads", cure)
