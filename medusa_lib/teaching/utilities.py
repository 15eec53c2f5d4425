"""STEP2's room: tokens as chips, the most probable next tokens, and the panel over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from medusa_lib.base.checks import checked
from medusa_lib.demo import PROMPT
from medusa_lib.steps.model import LM
from medusa_lib.steps.sampling import softmax_temp, top_p_indices
from medusa_lib.steps.utilities import encode, last_logits
from medusa_lib.teaching.shared.controls import observe, text_box
from medusa_lib.teaching.shared.html import render, token_texts
from medusa_lib.teaching.shared.panel import Panel
from medusa_lib.teaching.shared.recording import Grid
from medusa_lib.teaching.shared.style import (
    BLUE,
    GREY,
    ORANGE,
    axes_for,
    label_of,
    open_frame,
    visible,
)


@dataclass(frozen=True)
class NextTokens:
    """The most probable next tokens, and how the nucleus cuts the whole distribution.

    tokens, probs, kept: same length, in descending probability; kept is True inside the
    nucleus. nucleus_size in tokens, nucleus_mass in [0, 1].
    """

    tokens: list[str]
    probs: list[float]
    kept: list[bool]
    nucleus_size: int
    nucleus_mass: float


def next_tokens(
    lm: LM,
    logits: torch.Tensor,
    temperature: float = 1.0,
    top_p: float | None = None,
    *,
    standard: bool = False,
    top: int = 12,
) -> NextTokens:
    """Logits `[V]` → the `top` next tokens at this temperature, and the nucleus. No model pass.

    Raises ValueError for a knob out of range.
    """
    probs = softmax_temp(logits, temperature)
    nucleus = top_p_indices(probs, top_p, standard=standard)
    order = top_p_indices(probs, None)[:top]
    return NextTokens(
        tokens=token_texts(lm, order),
        probs=probs[order].tolist(),
        kept=[i < len(nucleus) for i in range(len(order))],
        nucleus_size=len(nucleus),
        nucleus_mass=min(1.0, float(probs[nucleus].sum())),
    )


def chips_html(lm: LM, text: str) -> str:
    """Text → its tokens as coloured chips with their ids below. Raises ValueError if empty."""
    ids = encode(lm, text)[0].tolist()
    return render(
        "chips", [(i, visible(t)) for i, t in zip(ids, token_texts(lm, ids), strict=True)]
    )


def plot_next_tokens(
    tokens: Sequence[str],
    probs: Sequence[float],
    kept: Sequence[bool] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Bars of next-token probabilities, most probable on top; the nucleus is filled.

    tokens, probs, kept: same length, in descending probability; kept None: no nucleus shown.
    The axis ends at 0.1, 0.2, 0.5 or 1, so that it stays put while sliders move a little.
    """
    ax = axes_for(ax, (6.4, 0.3 * len(tokens) + 1))
    kept = [True] * len(tokens) if kept is None else kept
    rows = np.arange(len(tokens))
    for i, (p, inside) in enumerate(zip(probs, kept, strict=True)):
        look = {"color": BLUE} if inside else {"color": "white", "edgecolor": GREY, "hatch": "//"}
        ax.barh(i, p, **look)[0].set_gid(f"bar-{i}")
        ax.text(p, i, f" {p:.3f}", va="center", fontsize=8)
    ax.set_yticks(rows, [label_of(token) for token in tokens])
    ax.invert_yaxis()
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter("{x:g}")
    end = next((end for end in (0.1, 0.2, 0.5) if max(probs, default=0) < end), 1)
    ax.set(xlim=(0, 1.12 * end), xlabel="probability of being the next token", ylabel="token")
    if not all(kept):
        edge = sum(kept) - 0.5
        ax.axhline(edge, color=ORANGE, linestyle="--", linewidth=1.5)
        ax.text(1.1 * end, edge, "nucleus ends here", ha="right", va="bottom", fontsize=8)
    return open_frame(ax)


def bars_html(panel: Panel, view: NextTokens, label: str) -> str:
    """The next-token bars as SVG, one of a panel's pictures."""
    longest = max(10, *(len(visible(token)) for token in view.tokens))
    return panel.figure(
        lambda ax: plot_next_tokens(view.tokens, view.probs, view.kept, ax),
        (6.4, 0.27 * len(view.tokens) + 0.7),
        label,
        margins=(0.4 + 0.09 * longest, 0.55, 0.1, 0.1),
    )


class TokensPanel(Panel):
    """STEP2: a text's tokens as chips, and the most probable next tokens."""

    grid: ClassVar[Grid] = {
        "text": (  # letters large and small, a word in pieces, spaces, figures, what is no letter
            PROMPT,
            "The king and the queen",
            "the king and the queen",
            "the king and the queens",
            "In the middle of the forest stood",
            "Peter Rabbit",
            "unbelievably",
            "12345678",
            "a  b   c",
            "Once upon a time there was a ",
            "naïve café",
            "x = f(y) + 1",
        )
    }

    @checked
    def __init__(self, lm: LM, text: str = PROMPT) -> None:
        self.lm, self.text = lm, text_box(text, "text")
        super().__init__([self.text], height="330px")
        observe(self.update, self.text)
        self.update()
        count = encode(lm, text).shape[1]
        top = next_tokens(lm, last_logits(lm, encode(lm, text)), top=1)
        self.says = (
            f"Panel: a text box. {text!r} is {count} tokens; "
            f"most probable next: {top.tokens[0]!r} ({top.probs[0]:.2f})"
        )

    def update(self) -> None:
        """Redraw for the text now in the box."""
        self.redraw(lambda: self.picture(self.text.value))

    def picture(self, text: str) -> str:
        """HTML for one text. Raises ValueError if it is empty or too long."""
        view = next_tokens(self.lm, last_logits(self.lm, encode(self.lm, text)), top=8)
        label = f"most probable next token {view.tokens[0]!r}, probability {view.probs[0]:.3f}"
        return chips_html(self.lm, text) + bars_html(self, view, label)
