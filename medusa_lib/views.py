"""What a panel shows, as pure functions: values in, plain data or HTML out.

A lesson's cell below a panel calls the same functions, so that what the panel shows at its
starting values is printed and checked. Everything a model wrote is escaped.
"""

from __future__ import annotations

import html
import io
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from medusa_lib.demo import LABELS, metrics_rows
from medusa_lib.device import make_generator
from medusa_lib.drafter import propose_branch
from medusa_lib.model import LM
from medusa_lib.plots import visible
from medusa_lib.records import Generation, LoopRecord
from medusa_lib.sampling import softmax_temp, top_p_indices
from medusa_lib.utilities import append_token, decode, encode, last_logits

CHIP_COLOURS = ("#D6E8F5", "#FBE8C6", "#D3EFE4", "#F4DCE9")
MARKS = {
    "accepted": ("✓", "#C9EBDD", "2px solid #009E73"),
    "corrected": ("✗", "#FBE3B5", "2px dashed #B87700"),
    "bonus": ("+", "#CFE3F3", "2px dotted #0072B2"),
    "greedy": ("", "#EEEEEE", "2px solid #999999"),
    "unused": ("–", "#FFFFFF", "2px dotted #999999"),
}
SVG_STYLE = "max-width:100%;height:auto;stroke-linejoin:round;stroke-linecap:butt"
NO_METADATA = ("Date", "Creator", "Format", "Type")
_ID = re.compile(r'(\sid="|href="#|url\(#)')  # within a tag: an id, or a reference to one
_drawing = threading.Lock()  # matplotlib's settings are shared by all threads


def token_texts(lm: LM, ids: Sequence[int] | torch.Tensor) -> list[str]:
    """Each token id decoded alone, special tokens included: [12, 5] → ["In", " a"]."""
    flat = ids.flatten().tolist() if isinstance(ids, torch.Tensor) else ids
    return [lm.tokenizer.decode([i], clean_up_tokenization_spaces=False) for i in flat]


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


def chips_html(lm: LM, text: str) -> str:
    """Text → its tokens as coloured chips with their ids below. Raises ValueError if empty."""
    ids = encode(lm, text)[0].tolist()
    chips = "".join(
        f'<span class="chip" data-id="{i}" style="display:inline-block;margin:2px;padding:2px 5px;'
        f"border:1px solid #777;border-radius:4px;background:{CHIP_COLOURS[n % 4]};color:#000;"
        f'text-align:center;font-family:monospace">{html.escape(visible(token))}'
        f'<br><small style="color:#444">{i}</small></span>'
        for n, (i, token) in enumerate(zip(ids, token_texts(lm, ids), strict=True))
    )
    return f'<div role="group" aria-label="{len(ids)} tokens">{chips}</div>'


def mark_html(text: str, kind: str) -> str:
    """One token as marked text: colour, underline and a sign say where it came from."""
    sign, colour, line = MARKS[kind]
    shown = html.escape(text.replace("\n", "⏎"))
    return (
        f'<span class="token" data-source="{kind}" title="{kind}" style="background:{colour};'
        f'color:#000;border-bottom:{line};white-space:pre-wrap">{shown}<sup>{sign}</sup></span>'
        + ("<br>" if "\n" in text else "")
    )


def legend_html(kinds: Sequence[str]) -> str:
    """What the marks mean, one sample each."""
    return " &nbsp; ".join(mark_html(kind, kind) for kind in kinds)


def run_html(lm: LM, run: Generation) -> str:
    """A run's text, prompt first, each new token marked by where it came from."""
    prompt = html.escape(decode(lm, run.prompt_ids)).replace("\n", "⏎<br>")
    pairs = zip(token_texts(lm, run.new_ids), run.sources, strict=True)
    marked = "".join(mark_html(text, kind) for text, kind in pairs)
    return (
        f'<div style="line-height:1.9"><b style="white-space:pre-wrap">{prompt}</b>{marked}</div>'
    )


def verdicts_html(rows: Sequence[tuple[str, str, str]]) -> str:
    """`verdicts` as a table: position, draft, greedy, verdict."""
    cells = "".join(
        f"<tr><td>{i + 1}</td><td>{mark_html(visible(draft), kind)}</td>"
        f"<td>{html.escape(visible(greedy)) if greedy else ''}</td><td>{kind}</td></tr>"
        for i, (draft, greedy, kind) in enumerate(rows)
    )
    head = "".join(f"<th scope='col'>{h}</th>" for h in ("position", "draft", "greedy", "verdict"))
    style = "border-spacing:14px 4px;line-height:1.5"
    return f'<table class="verdicts" style="{style}"><tr>{head}</tr>{cells}</table>'


def metrics_html(runs: dict[str, Generation]) -> str:
    """The figures of each run side by side, each under its label with its denominator."""
    rows = "".join(
        f"<tr><th scope='row' style='text-align:left'>{label}</th>"
        + "".join(f'<td data-metric="{key}">{html.escape(value)}</td>' for value in values)
        + "</tr>"
        for key, (label, *values) in zip(LABELS, metrics_rows(*runs.values()), strict=True)
    )
    head = "".join(f"<th scope='col'>{html.escape(name)}</th>" for name in runs)
    head = f"<tr><td></td>{head}</tr>"
    style = "border-spacing:14px 2px;line-height:1.5"
    return f'<table class="metrics" style="{style}">{head}{rows}</table>'


def figure_html(
    draw: Callable[[Axes], object],
    size: tuple[float, float],
    label: str,
    prefix: str = "",
    margins: tuple[float, float, float, float] | None = None,
) -> str:
    """A plot as SVG text with a label for those who do not see it. size: inches.

    prefix: put before each id within, so that the pictures of one page do not share ids.
    margins: left, bottom, right, top in inches; None has them measured, which takes as long
    as the drawing.
    """
    figure, buffer = Figure(figsize=size), io.StringIO()
    if margins is None:
        figure.set_layout_engine("constrained")
    else:
        (left, bottom, right, top), (wide, high) = margins, size
        figure.subplots_adjust(left / wide, bottom / high, 1 - right / wide, 1 - top / high)
    with _drawing, mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "medusa"}):
        draw(figure.subplots())
        # Not savefig, which draws everything twice: a slider waits for this.
        FigureCanvasSVG(figure).print_svg(buffer, metadata=dict.fromkeys(NO_METADATA))
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.S)  # it would style the whole page
    svg = re.sub("<[^<>]+>", lambda tag: _ID.sub(rf"\1{prefix}", tag[0]), svg)
    head = f'<svg role="img" aria-label="{html.escape(label)}" style="{SVG_STYLE}" '
    return svg.replace("<svg ", head, 1)
