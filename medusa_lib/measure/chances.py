"""Medusa-tiny without its model: greedy's text is known, so each draft is a loaded coin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from medusa_lib.base.checks import checked
from medusa_lib.base.metrics import ratio
from medusa_lib.base.words import Logits, Positive, Seed, Span, Start, Temperature, TopP
from medusa_lib.steps.device import make_generator
from medusa_lib.steps.loops import for_run, start_ids
from medusa_lib.steps.model import LM
from medusa_lib.steps.sampling import nucleus_probs
from medusa_lib.steps.utilities import append_token, check_fits, last_logits

Setting = tuple[float, float, int]  # temperature, top-p, span
Loops = list[tuple[int, int]]  # of each loop: tokens drafted, tokens accepted


@dataclass(frozen=True)
class KnownText:
    """Greedy's new tokens, and for each the logits `[V]` that chose it."""

    tokens: list[int]
    logits: list[Logits]


@checked
def known_text(lm: LM, prompt: Start, count: Positive) -> KnownText:
    """Let greedy write until EOS or `count` tokens, and keep what it saw: a pass for each.

    Raises ValueError for a prompt out of range, or a count that the context has no room for,
    before any pass.
    """
    lm, ids = for_run(lm, prompt, count), start_ids(lm, prompt)
    check_fits(lm, ids, count - 1)
    tokens, rows = [], []
    while len(tokens) < count:
        row = last_logits(lm, ids)  # [V]
        token = int(row.argmax())
        if lm.is_end(token):
            break
        tokens, rows, ids = [*tokens, token], [*rows, row], append_token(ids, token)
    return KnownText(tokens, rows)


@checked
def draft_chances(text: KnownText, temperature: Temperature, top_p: TopP) -> list[float]:
    """At each place of greedy's text: how probably the drafter draws greedy's own token."""
    rows = (nucleus_probs(row, temperature, top_p) for row in text.logits)  # [V] each
    return [float(row[token]) for row, token in zip(rows, text.tokens, strict=True)]


@checked
def toss_loops(chances: Sequence[float], span: Span, seed: Seed) -> Loops:
    """Medusa-tiny's loops by tossing coins: for each loop (drafted, accepted)."""
    generator, at, loops = make_generator(seed), 0, []
    while at < len(chances):
        drafted, accepted = min(span, len(chances) - at), 0
        coins = torch.rand(drafted, generator=generator).tolist()
        while accepted < drafted and coins[accepted] < chances[at + accepted]:
            accepted += 1
        loops.append((drafted, accepted))
        at += min(accepted + 1, drafted)  # a correction goes in, if there is one
    return loops


def evaluated_in(loops: Loops) -> int:
    """Drafts that were evaluated: those accepted, and of each loop the first one rejected."""
    return sum(min(kept + 1, drafted) for drafted, kept in loops)


def alpha_of(loops: Loops) -> float:
    """α = accepted ÷ evaluated, in [0, 1]; NaN if there is no loop."""
    return ratio(sum(kept for _, kept in loops), evaluated_in(loops))


def passes_of(loops: Loops) -> float:
    """Passes ÷ tokens emitted, 2 at best: each evaluated token costs a pass and emits one.

    NaN if there is no loop.
    """
    return 1 + ratio(sum(drafted for drafted, _ in loops), evaluated_in(loops))


def clear_changes(
    figures: Mapping[Setting, Sequence[float]], slider: int, values: tuple[float, float]
) -> tuple[int, int, int]:
    """What moving one slider does, beyond luck → (falls, rises, of how many).

    figures: setting → the figure of each run. slider: its place in a setting; it moves from
    values[0] to values[1], the others stay. A change counts only where no two runs overlap.
    """
    at = [[figures[key] for key in figures if key[slider] == value] for value in values]
    pairs = list(zip(*at, strict=True))
    falls = sum(min(before) > max(after) for before, after in pairs)
    rises = sum(max(before) < min(after) for before, after in pairs)
    return falls, rises, len(pairs)
