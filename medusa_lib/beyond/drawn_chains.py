"""A chain of heads at a temperature: each token drawn from what its head says.

A best guess is right as often as the model itself draws it. A drawn one is accepted as often as
both distributions agree, which is far more often: see BEYOND4's rule.
"""

from __future__ import annotations

import torch

from medusa_lib.base.checks import checked
from medusa_lib.base.words import Generator, Temperature, TopP
from medusa_lib.beyond.medusa_heads import FromHidden, MedusaHeads
from medusa_lib.beyond.one_pass import Branch, State
from medusa_lib.steps.sampling import draw_from, nucleus_probs

SPAN = 3  # tokens; where texts vary, a longer chain seldom holds


class DrawnChain(FromHidden):
    """Bets with heads: a chain of tokens drawn at the temperature and nucleus of the run."""

    span = SPAN

    @checked
    def __init__(
        self, heads: MedusaHeads, temperature: Temperature, top_p: TopP, generator: Generator
    ) -> None:
        super().__init__(heads)
        self.drawing = temperature, top_p, generator

    def propose(self, state: State, span: int) -> Branch:
        """At most `span` tokens and the distributions they were drawn from; no more than heads."""
        told, count = self.told(state), min(span, self.heads.shape.count)
        return Branch() if told is None else Branch(*draw_chain(*told, count, self.drawing))


def draw_chain(
    heads: MedusaHeads,
    hidden: torch.Tensor,
    token: int,
    count: int,
    drawing: tuple[float, float, torch.Generator],
) -> tuple[list[int], torch.Tensor]:
    """Tokens drawn one after the other, and the distributions `[count, V]` they were drawn from.

    hidden: `[width]`. drawing: temperature, top_p and the source of chance.
    """
    temperature, top_p, generator = drawing
    if heads.quick is not None:
        chances = torch.rand(count, dtype=torch.float64, generator=generator)
        return heads.quick.drawn(hidden, token, chances, temperature, top_p)
    hidden = before = hidden[None].float()  # [1, width]
    tokens, probs = [token], torch.zeros(count, len(heads.embedding), dtype=torch.float64)
    with torch.inference_mode():
        for head in range(count):
            before = heads.step(head, hidden, before, tokens[-1])
            said = heads.out(before)[0]  # [words]
            probs[head, heads.vocab.cpu()] = nucleus_probs(said, temperature, top_p)
            tokens.append(draw_from(probs[head], generator))
    return tokens[1:], probs
