"""What a panel shows, as pure functions: values in, plain data or HTML out.

A lesson's cell below a panel calls the same functions, so that what the panel shows at its
starting values is printed and checked. Everything a model wrote is escaped.
"""

from __future__ import annotations

import html
import io
import math
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
from medusa_lib.records import (
    Generation,
    LoopRecord,
    acceptance_rate,
    mean_accepted_length,
)
from medusa_lib.sampling import softmax_temp, top_p_indices
from medusa_lib.sampling_exactly import nucleus_probs, residual
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


def metrics_html(runs: dict[str, Generation], *more: tuple[str, ...]) -> str:
    """The figures of each run side by side, each under its label with its denominator.

    more: further rows, a label and then a cell for each run.
    """
    keyed = [*zip(LABELS, metrics_rows(*runs.values()), strict=True), *(("more", m) for m in more)]
    rows = "".join(
        f"<tr><th scope='row' style='text-align:left'>{label}</th>"
        + "".join(f'<td data-metric="{key}">{html.escape(value)}</td>' for value in values)
        + "</tr>"
        for key, (label, *values) in keyed
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


def loops_words(loops: Sequence[LoopRecord]) -> str:
    """The figures of a draft-and-verify run in one line."""

    def figure(value: float) -> str:
        return "none" if math.isnan(value) else f"{value:.2f}"

    return (
        f"α = {figure(acceptance_rate(loops))}, τ = {figure(mean_accepted_length(loops))}; "
        f"{sum(len(r.emitted) for r in loops)} tokens took "
        f"{sum(r.verify_passes for r in loops)} verify passes and "
        f"{sum(r.draft_passes for r in loops)} draft passes"
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
    elif lm.eos_id not in said:  # after the last accepted draft: the bonus, or the end
        said += record.emitted[record.accepted :] or (lm.eos_id,)
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
    tail = "".join(view.before[-shown:])
    tail = html.escape(("… " if len(view.before) > shown else "") + tail.replace("\n", "⏎"))
    held = "cache" if view.held else "fed now, the cache is empty"
    kept = "".join(mark_html(text, kind) for text, kind in view.kept)
    kept += " <b>EOS</b>: the text ends" if view.ends else ""
    cut = "".join(mark_html(text, "unused") for text in view.rolled_back) or "nothing"
    lines = (
        (f"{held}: {len(view.before)} tokens", f'<span style="white-space:pre-wrap">{tail}</span>'),
        ("one pass over", mask_html(view)),
        ("added to the text", kept),
        ("rolled back", cut),
        ("the cache now", f"{view.after} tokens"),
    )
    cells = "".join(
        f'<tr><th scope="row" style="text-align:right;vertical-align:top;padding-right:12px;'
        f'width:150px">{head}</th><td>{body}</td></tr>'
        for head, body in lines
    )
    style = "border-spacing:0 8px;line-height:1.5"
    return f'<table class="pass" style="{style}">{cells}</table>'


def mask_html(view: PassView) -> str:
    """Who may look at whom in one pass, ● for yes, and what the model said in each row.

    Rows: the last token of the text and the drafts. Columns: all before, then the same tokens.
    """
    drafts = [(draft, kind) for draft, _, kind in view.rows]
    tokens = [(view.last, "greedy"), *drafts]
    heads = [f"{len(view.before)} before", *(html.escape(visible(text)) for text, _ in tokens)]
    heads = ["fed", *heads, "the model says"]
    box = "border:1px solid #999;text-align:center;padding:1px 6px"
    rows = ""
    for row, (text, kind) in enumerate(tokens):
        cells = "".join(
            f'<td style="{box};background:{"#CFE3F3" if yes else "#FFFFFF"};color:#000" '
            f'data-look="{int(yes)}">{"●" if yes else ""}</td>'
            for yes in [True, *(column <= row for column in range(len(tokens)))]
        )
        answer = html.escape(visible(view.said[row])) if row < len(view.said) else "not looked at"
        head = f'<th scope="row" style="text-align:right">{mark_html(visible(text), kind)}</th>'
        rows += f'<tr>{head}{cells}<td style="padding-left:8px">{answer}</td></tr>'
    top = "".join(f'<th scope="col" style="padding:1px 6px">{text}</th>' for text in heads)
    return f'<table class="mask" style="border-collapse:collapse"><tr>{top}</tr>{rows}</table>'


@dataclass(frozen=True)
class Overlap:
    """What speculative sampling makes of one word: the draft's q, the target's p, what they share.

    accepted: min(p, q). residual: what is left of p, renormalised; all 0 if nothing is. Each
    list has a number for every word.
    """

    p: list[float]
    q: list[float]
    accepted: list[float]
    residual: list[float]

    @property
    def acceptance(self) -> float:
        """Probability that the draft is accepted: the sum of min(p, q), in [0, 1]."""
        return min(1.0, sum(self.accepted))


def overlap(
    target: torch.Tensor, draft: torch.Tensor, temperature: float, top_p: float | None
) -> Overlap:
    """Logits `[V]` of target and draft → their distributions and what those share.

    Raises ValueError for a knob out of range.
    """
    p, q = (nucleus_probs(logits, temperature, top_p) for logits in (target, draft))
    shared = torch.minimum(p, q)
    differ = float(shared.sum()) < 1 - 1e-9
    rest = residual(0, p, q) if differ else torch.zeros_like(p)
    return Overlap(p.tolist(), q.tolist(), shared.tolist(), rest.tolist())


def overlap_words(parts: Overlap) -> str:
    """How often the draft is accepted, as one line."""
    return (
        f"a draft is accepted with probability {parts.acceptance:.2f}; "
        f"with probability {1 - parts.acceptance:.2f} the residual takes its place"
    )


OVERLAP_HEAD = ("word", "p", "q", "min(p, q)", "residual", "rejected × residual", "sum")


def overlap_rows(words: Sequence[str], parts: Overlap) -> list[list[str]]:
    """`overlap` as rows of text, one for each word, in the order of OVERLAP_HEAD.

    The last column adds the ways to the word: as an accepted draft, or from the residual.
    """
    rows, rejected = [], 1 - parts.acceptance
    columns = zip(words, parts.p, parts.q, parts.accepted, parts.residual, strict=True)
    for word, p, q, accepted, rest in columns:
        second = rejected * rest
        numbers = (p, q, accepted, rest, second, accepted + second)
        rows.append([word, *(f"{number:.2f}" for number in numbers)])
    return rows


def table_html(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column names its rows. Everything is escaped."""
    top = "".join(f"<th scope='col'>{html.escape(cell)}</th>" for cell in head)
    body = "".join(
        f"<tr><th scope='row' style='text-align:left'>{html.escape(name)}</th>"
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for name, *cells in rows
    )
    style = "border-spacing:14px 2px;line-height:1.5"
    return f'<table style="{style}"><tr>{top}</tr>{body}</table>'
