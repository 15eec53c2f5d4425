"""STEP5's room: greedy's verdicts on a branch, per-loop acceptance, and the panel over them."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from medusa_lib.base.checks import checked
from medusa_lib.base.metrics import acceptance_rate, mean_accepted_length
from medusa_lib.base.records import LoopRecord
from medusa_lib.base.words import Ids, Prompt, Seed, Tokens
from medusa_lib.demo import PROMPT
from medusa_lib.steps.device import make_generator
from medusa_lib.steps.drafter import propose_branch
from medusa_lib.steps.loops import record_loop
from medusa_lib.steps.model import LM
from medusa_lib.steps.prefix_accept import prefix_accept_once
from medusa_lib.steps.utilities import up_to_end
from medusa_lib.teaching.shared.html import render, says_html, token_texts
from medusa_lib.teaching.shared.panel import DraftPanel
from medusa_lib.teaching.shared.style import (
    KIND_COLOURS,
    KIND_HATCHES,
    axes_for,
    open_frame,
    two_digits,
    visible,
)


@checked
def settle_branch(lm: LM, ids: Ids, branch: Tokens, index: int = 0) -> LoopRecord:
    """Verify a branch and write down what came out: one pass for each token that it reaches.

    Nothing after an EOS in the branch is verified. index: the record's number.
    """
    began = time.perf_counter()
    grown, accepted = prefix_accept_once(lm, ids, up_to_end(lm, branch))
    new = grown[0, ids.shape[1] :].tolist()
    return record_loop(lm, index, list(branch), accepted, new, began)


def verdicts(lm: LM, record: LoopRecord) -> list[tuple[str, str, str]]:
    """A loop → for each drafted token (draft text, greedy's text or "", verdict).

    verdict: "accepted", "corrected" or "unused".
    """
    rows = []
    for i, text in enumerate(token_texts(lm, record.branch)):
        if i < record.accepted:
            rows.append((text, text, "accepted"))
        elif i < record.evaluated:
            rows.append((text, token_texts(lm, [record.correction])[0], "corrected"))
        else:
            rows.append((text, "", "unused"))
    return rows


def verdicts_html(rows: Sequence[tuple[str, str, str]]) -> str:
    """`verdicts` as a table: position, draft, greedy, verdict."""
    shown = [
        (visible(draft), visible(greedy) if greedy else "", kind) for draft, greedy, kind in rows
    ]
    return render("verdicts", shown)


def plot_acceptance(loops: Sequence[LoopRecord], ax: Axes | None = None) -> Axes:
    """Per-loop acceptance: accepted, corrected and unused drafts of each loop, with α and τ."""
    ax = axes_for(ax, (8, 3))
    places = np.array([record.index for record in loops])
    kinds = {
        "accepted": [record.accepted for record in loops],
        "corrected": [record.evaluated - record.accepted for record in loops],
        "unused": [record.unused for record in loops],
        "bonus": [int(record.bonus is not None) for record in loops],
    }
    floor = np.zeros(len(loops))
    for kind, counts in kinds.items():
        if kind == "bonus" and not any(counts):
            continue
        bars = ax.bar(
            places,
            counts,
            bottom=floor,
            label=kind,
            color=KIND_COLOURS[kind],
            hatch=KIND_HATCHES[kind],
            edgecolor="black",
            linewidth=0.4,
        )
        for place, bar in zip(places, bars, strict=True):
            bar.set_gid(f"{kind}-{place}")
        floor += counts
    alpha, tau = two_digits(acceptance_rate(loops)), two_digits(mean_accepted_length(loops))
    title = f"α = {alpha} (accepted ÷ evaluated), τ = {tau} (tokens emitted ÷ loops)"
    ax.set_title(title, fontsize=10)
    ax.set(xlabel="loop", ylabel="tokens per loop", ylim=(0, max(1, floor.max(initial=0)) + 0.3))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return open_frame(ax)


class AcceptPanel(DraftPanel):
    """STEP5: one branch compared token by token with greedy."""

    @checked
    def __init__(self, lm: LM, prompt: Prompt = PROMPT, seed: Seed = 7) -> None:
        super().__init__(lm, prompt, seed, height="260px")
        record = self.current()
        self.says = (
            f"Panel: sliders over one branch and greedy's verdict on it. With seed {seed}, "
            f"{record.accepted} of {len(record.branch)} drafted tokens are accepted"
        )

    def current(self) -> LoopRecord:
        """One branch at the sliders' values, verified."""
        generator = make_generator(self.seed)
        branch = propose_branch(self.lm, self.ids, *self.knobs, generator=generator)
        return settle_branch(self.lm, self.ids, branch)

    def picture(self) -> str:
        """HTML: the table of verdicts and the sum of it."""
        record = self.current()
        words = (
            f"seed {self.seed}: {record.accepted} accepted, "
            f"{record.evaluated - record.accepted} corrected, {record.unused} unused; "
            f"{len(record.emitted)} tokens emitted for "
            f"{record.draft_passes} draft + {record.verify_passes} verify passes"
        )
        return verdicts_html(verdicts(self.lm, record)) + says_html(words)
