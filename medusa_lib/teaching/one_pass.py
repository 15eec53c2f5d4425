"""BEYOND1's room: what one pass read and kept, what passes cost, and the panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from medusa_lib.base.checks import checked
from medusa_lib.base.records import Generation
from medusa_lib.base.words import Count, Positive, Prompt
from medusa_lib.beyond.speculative import speculate
from medusa_lib.demo import PROMPT
from medusa_lib.steps.loops import OnLoop, start_ids
from medusa_lib.steps.model import LM
from medusa_lib.teaching.prefix_accept import verdicts
from medusa_lib.teaching.shared.controls import (
    drafter_dropdown,
    span_slider,
    text_box,
)
from medusa_lib.teaching.shared.html import legend_html, render, says_html, token_texts
from medusa_lib.teaching.shared.panel import StepPanel
from medusa_lib.teaching.shared.recording import Grid
from medusa_lib.teaching.shared.style import (
    axes_for,
    label_of,
    name_lines,
    open_frame,
    series_look,
    visible,
)


@dataclass(frozen=True)
class PassView:
    """One loop of the cure, told by texts: what one pass read, and what became of it.

    before: the texts of the tokens held or fed before the last unseen one, `last`. held: how
    many of `before` the cache holds already; all are fed anew in the first loop. rows:
    `verdicts`. said: the model's own token in each row that was looked at. kept: (text, where
    it came from) of each token added. rolled_back: drafts cut from the cache; after: how many
    tokens it then holds.
    """

    index: int
    loops: int
    before: list[str]
    held: int
    last: str
    rows: list[tuple[str, str, str]]
    said: list[str]
    kept: list[tuple[str, str]]
    rolled_back: list[str]
    after: int
    passes: int
    ends: bool

    @property
    def fed(self) -> int:
        """How many tokens the pass runs over."""
        return len(self.before) - self.held + 1 + len(self.rows)

    @property
    def words(self) -> str:
        """The loop in one line."""
        kinds = [kind for *_, kind in self.rows]
        kept = [kind for _, kind in self.kept]
        more = f", {self.passes - 1} more for near ties" if self.passes > 1 else ""
        counts = (
            f"{kinds.count('accepted')} of {len(kinds)} drafts accepted" if kinds else "no draft"
        )
        last = kept[-1] if kept and kept[-1] in ("corrected", "bonus") else ""
        return (
            f"loop {self.index}, of {self.loops} loops: cache {self.held}, fed {self.fed} in "
            f"one pass{more}; {counts}{f', then one {last}' if last else ''}"
            f"{', then EOS' if self.ends else ''}; {len(self.rolled_back)} rolled back, "
            f"cache {self.after}"
        )


def pass_view(lm: LM, run: Generation, index: int) -> PassView:
    """Loop `index` of a run of `speculate` → what its pass read and what was kept. No pass."""
    record = run.loops[index]
    earlier = [token for loop in run.loops[:index] for token in loop.emitted]
    ids = [*run.prompt_ids, *earlier]
    texts, said = token_texts(lm, ids), record.branch[: record.accepted]
    if record.correction is not None:
        said += (record.correction,)
    elif not any(map(lm.is_end, said)):  # after the last accepted draft: the bonus, or the end
        said += record.emitted[record.accepted :] or lm.end_ids[:1]
    return PassView(
        index=index,
        loops=len(run.loops),
        before=texts[:-1],
        held=len(ids) - 1 if index else 0,
        last=texts[-1],
        rows=verdicts(lm, record),
        said=token_texts(lm, said),
        kept=list(zip(token_texts(lm, record.emitted), record.sources, strict=True)),
        rolled_back=token_texts(lm, record.branch[record.accepted :]),
        after=len(ids) + record.accepted,
        passes=record.verify_passes,
        ends=run.stop_reason == "eos" and index == len(run.loops) - 1,
    )


def pass_html(view: PassView, shown: int = 24) -> str:
    """A loop of the cure: the text before it, its mask as a grid, what was kept and cut.

    shown: how many of the tokens before are written out.
    """
    tail = ("… " if len(view.before) > shown else "") + "".join(view.before[-shown:])
    held = "cache" if view.held else "fed now, the cache is empty"
    cut = [(text, "unused") for text in view.rolled_back]
    lines = (
        (f"{held}: {len(view.before)} tokens", render("tail", tail.replace("\n", "⏎"))),
        ("one pass over", mask_html(view)),
        ("added to the text", render("kept", view.kept, view.ends)),
        ("rolled back", render("kept", cut, False) or "nothing"),
        ("the cache now", f"{view.after} tokens"),
    )
    return render("pass", [(head, Markup(body)) for head, body in lines])


def mask_html(view: PassView) -> str:
    """Which token attends to which in one pass, ● for yes, and what the model said in each row.

    Rows: the last token of the text and the drafts. Columns: all before, then the same tokens.
    """
    drafts = [(visible(draft), kind) for draft, _, kind in view.rows]
    tokens = [(visible(view.last), "greedy"), *drafts]
    said = [visible(text) for text in view.said]
    answers = said + ["not looked at"] * (len(tokens) - len(said))
    return render("mask", len(view.before), tokens, answers)


def plot_attention(
    weights: Sequence[Sequence[float]], words: Sequence[str], ax: Axes | None = None
) -> Axes:
    """How much each fed word looks at each word: a row of weights for each, darker for more.

    weights: `[fed, len(words)]`, each row adding up to 1; the last words are the fed ones. A
    thick line parts what is in the cache from what is fed; a weight of 0 is left white.
    """
    ax = axes_for(ax, (5.6, 2.2))
    shares = np.asarray(weights)
    held = len(words) - len(shares)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1.2, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        ax.text(column, row, f"{share:.2f}" if share else "–", ha="center", va="center")
    if held:
        ax.axvline(held - 0.5, color="black", linewidth=2)
    ax.set_xticks(range(len(words)), map(label_of, words))
    ax.set_yticks(range(len(shares)), map(label_of, words[held:]))
    ax.xaxis.tick_top(), ax.xaxis.set_label_position("top")
    ax.set(xlabel="looks at", ylabel="fed")
    return ax


def plot_pass_cost(costs: Mapping[str, Mapping[int, float]], ax: Axes | None = None) -> Axes:
    """The cost of one pass against its number of positions, as a multiple of one position's.

    costs: for each model, number of positions → seconds, 1 among them. Between the two dotted
    lines: at the lower one more positions are free, at the upper one each costs as the first.
    """
    ax = axes_for(ax, (6.4, 3.6))
    counts = sorted({count for cost in costs.values() for count in cost})
    ax.set_xscale("log", base=2), ax.set_yscale("log", base=2)
    for i, (name, cost) in enumerate(costs.items()):
        ratios = [seconds / cost[1] for seconds in cost.values()]
        ax.plot(list(cost), ratios, label=name, **series_look(i, linestyle="-"))
    ax.plot(counts, counts, ":", color="black", label="a pass for each position")
    ax.plot(counts, [1] * len(counts), ":", color="grey", label="more positions are free")
    ax.set_xticks(counts, counts), ax.set_yticks(counts, counts)
    ax.minorticks_off()
    ax.set(xlabel="positions in one pass", ylabel="seconds ÷ seconds of one position")
    name_lines(ax)
    return open_frame(ax)


class OnePassPanel(StepPanel):
    """BEYOND1: a run loop by loop: what one pass read, its mask, what was kept and cut."""

    grid: ClassVar[Grid] = {
        "prompt": ("In the middle of the forest stood",),
        "drafter": ...,
        "span": (1, 2, 4, 8),
        "loop": ...,
    }

    view_of = staticmethod(pass_view)

    @checked
    def __init__(
        self,
        lm: LM,
        prompt: Prompt = PROMPT,
        max_new_tokens: Positive = 30,
        loop: Count | None = None,
    ) -> None:
        start_ids(lm, prompt)  # refuses a bad prompt at once
        self.max_new_tokens, self.prompt = max_new_tokens, text_box(prompt)
        self.drafter, self.span = drafter_dropdown("ngram"), span_slider(4)
        super().__init__([self.prompt, self.drafter, self.span], "420px", lm, loop)
        self.says = (
            "Panel: prompt, drafter, span and loop over what one pass read and what was kept. "
            + self.current().words
        )

    def write(self, on_loop: OnLoop) -> Generation:
        """A run at the controls' values."""
        given = (self.prompt.value, self.drafter.value, self.max_new_tokens, self.span.value)
        return speculate(self.lm, *given, on_loop=on_loop)

    def picture(self) -> str:
        """HTML: the loop in one line, then its pass."""
        view = self.current()
        legend = legend_html(("accepted", "corrected", "bonus", "greedy", "unused"))
        return f"{says_html(view.words)}{pass_html(view)}<p>{legend}</p>"
