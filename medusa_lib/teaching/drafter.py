"""STEP4's room: a drafted branch, its picture and its panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes

from medusa_lib.base.checks import checked
from medusa_lib.base.words import Positive, Prompt, Seed
from medusa_lib.demo import PROMPT
from medusa_lib.steps.device import make_generator
from medusa_lib.steps.drafter import propose_branch
from medusa_lib.steps.model import LM
from medusa_lib.steps.sampling import softmax_temp, top_p_indices
from medusa_lib.steps.utilities import append_token, last_logits
from medusa_lib.teaching.shared.html import render, token_texts
from medusa_lib.teaching.shared.panel import DraftPanel
from medusa_lib.teaching.shared.style import BLUE, axes_for, label_of, open_frame, visible


@dataclass(frozen=True)
class DraftedBranch:
    """One drafted branch: ids, their texts, and the probability the drafter gave each."""

    ids: list[int]
    tokens: list[str]
    probs: list[float]


def drafted_branch(
    lm: LM, ids: torch.Tensor, span: int, temperature: float, top_p: float | None, seed: int
) -> DraftedBranch:
    """Draft one branch and look up the probability of each of its tokens: 2 × span passes.

    The probability is that of the drafter's draw: after temperature, within the nucleus.
    Raises ValueError for a knob out of range.
    """
    branch = propose_branch(lm, ids, span, temperature, top_p, generator=make_generator(seed))
    probs, cur = [], ids
    for token in branch:
        full = softmax_temp(last_logits(lm, cur), temperature)
        nucleus = full[top_p_indices(full, top_p)].sum()
        probs.append(min(1.0, float(full[token] / nucleus)))
        cur = append_token(cur, token)
    return DraftedBranch(branch, token_texts(lm, branch), probs)


def plot_branch(tokens: Sequence[str], probs: Sequence[float], ax: Axes | None = None) -> Axes:
    """A drafted branch: for each token, the probability the drafter gave it, in draft order."""
    ax = axes_for(ax, (6.4, 2.6))
    places = np.arange(len(tokens))
    ax.bar(places, probs, color=BLUE, width=0.6)
    for x, p in zip(places, probs, strict=True):
        share = f"{p:.2f}" if p >= 0.005 else "<0.01"
        ax.text(x, p, share, ha="center", va="bottom", fontsize=8)
    labels = [f"{i + 1}\n{label_of(token)}" for i, token in enumerate(tokens)]
    ax.set_xticks(places, labels)
    ax.set(ylim=(0, 1.12), ylabel="drafter's probability", xlabel="position in the branch, token")
    return open_frame(ax)


class BranchPanel(DraftPanel):
    """STEP4: temperature, top-p, span and a redraw button over drafted branches."""

    @checked
    def __init__(
        self, lm: LM, prompt: Prompt = PROMPT, seed: Seed = 7, branches: Positive = 3
    ) -> None:
        self.seeds = branches
        super().__init__(lm, prompt, seed, height="360px")
        first = "".join(token_texts(lm, self.draft(seed)))
        self.says = (
            f"Panel: sliders over drafted branches. With seed {seed} the branch is {first!r}"
        )

    def draft(self, seed: int) -> list[int]:
        """The branch drafted with this seed at the sliders' values: span passes."""
        return propose_branch(self.lm, self.ids, *self.knobs, generator=make_generator(seed))

    def picture(self) -> str:
        """HTML: one line per branch, then the first branch's probabilities."""
        first = drafted_branch(self.lm, self.ids, *self.knobs, self.seed)
        others = range(self.seed + 1, self.seed + self.seeds)
        drafts = {s: token_texts(self.lm, self.draft(s)) for s in others}
        label = f"seed {self.seed}: " + ", ".join(f"{p:.2f}" for p in first.probs)
        bars = self.figure(
            lambda ax: plot_branch(first.tokens, first.probs, ax),
            (6.4, 2.6),
            label,
            margins=(0.7, 0.75, 0.1, 0.1),
        )
        return branches_html({self.seed: first.tokens, **drafts}) + bars


def branches_html(branches: Mapping[int, Sequence[str]]) -> str:
    """A line for each branch. branches: seed → the texts of its tokens."""
    shown = {seed: [visible(text) for text in texts] for seed, texts in branches.items()}
    return render("branches", shown)
