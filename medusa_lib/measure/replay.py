"""Settle a drafter's bets on a text that is already written, without the model that wrote it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from medusa_lib.base.checks import checked
from medusa_lib.base.records import Generation, LoopRecord
from medusa_lib.base.words import Span
from medusa_lib.beyond.drafters import Drafter, check_needs_no_pass, common_prefix
from medusa_lib.beyond.one_pass import Branch, LentState, State, check_is_branch
from medusa_lib.beyond.speculative import Verdict, record_pass
from medusa_lib.steps.model import LM
from medusa_lib.steps.utilities import up_to_end


@checked
def replay(lm: LM, run: Generation, drafter: Drafter, span: Span) -> list[LoopRecord]:
    """The loops in which `drafter` would have written greedy's `run`: those of `speculate`.

    At temperature 0 the text is greedy's whatever is drafted, so it can be looked up. For
    drafters that need nothing of the model's own passes. Raises ValueError for one of trees.
    """
    check_needs_no_pass(drafter)
    state, loops = State.start(lm, run.prompt_ids), []
    rest = [*run.new_ids, *(lm.end_ids[:1] if run.stop_reason == "eos" else [])]
    while rest:
        began = time.perf_counter()
        room = span if lm.is_end(rest[-1]) else len(rest) - 1
        branch = bet(state, drafter, min(span, room))
        accepted = common_prefix(branch.tokens, rest)
        new, rest = rest[: accepted + 1], rest[accepted + 1 :]
        state.ids += new
        verdict = Verdict(range(accepted), new)
        loops.append(record_pass(lm, len(loops), branch, verdict, began))
    return loops


def bet(state: State, drafter: Drafter, most: int) -> Branch:
    """What a drafter bets on, cut after EOS. Raises ValueError for a tree."""
    branch = check_is_branch(drafter.propose(LentState.of(state), most) if most else Branch())
    if branch.parents is not None:
        raise ValueError("drafter must be one of single branches to be replayed, got a tree")
    return Branch(up_to_end(state.lm, branch.tokens[:most]), passes=branch.passes)


class Replays:
    """Known texts of several kinds, written again by several drafters; each replay is kept."""

    def __init__(
        self,
        lm: LM,
        texts: Mapping[str, Sequence[Generation]],
        drafters: Mapping[str, Drafter],
    ) -> None:
        self.lm, self.texts, self.drafters = lm, texts, drafters
        self.known: dict[tuple[str, int, str], list[LoopRecord]] = {}

    def loops(self, name: str, span: int, kind: str) -> list[LoopRecord]:
        """All loops in which the drafter of that name writes all texts of a kind."""
        key = (name, span, kind)
        if key not in self.known:
            drafter, runs = self.drafters[name], self.texts[kind]
            self.known[key] = [r for run in runs for r in replay(self.lm, run, drafter, span)]
        return self.known[key]
