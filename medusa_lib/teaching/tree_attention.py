"""BEYOND7's room: a tree of drafts, its mask, node budgets, and the panel over a run of trees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.text import Text

from medusa_lib.base.checks import Check, check_function, check_kind, checked
from medusa_lib.base.metrics import mean_accepted_length
from medusa_lib.base.records import Generation
from medusa_lib.base.words import Count, Positive, Prompt, Seed
from medusa_lib.beyond.heads_files import shipped_heads
from medusa_lib.beyond.heads_training import examples_of, right_ranks, write_texts
from medusa_lib.beyond.masks import attends
from medusa_lib.beyond.medusa_heads import HeadsDrafter, MedusaHeads, check_heads_fit
from medusa_lib.beyond.one_pass import State, check_tree_fits
from medusa_lib.beyond.speculative import speculate
from medusa_lib.beyond.trees import Node, Parents, check_parents, grow_tree, leaves, tree_depths
from medusa_lib.demo import PROMPT
from medusa_lib.steps.device import make_generator
from medusa_lib.steps.loops import OnLoop, start_ids
from medusa_lib.steps.model import LM
from medusa_lib.teaching.shared.controls import (
    slider,
    temperature_slider,
    text_box,
)
from medusa_lib.teaching.shared.html import render, token_texts
from medusa_lib.teaching.shared.panel import StepPanel
from medusa_lib.teaching.shared.recording import Grid
from medusa_lib.teaching.shared.style import (
    BLUE,
    GREEN,
    GREY,
    axes_for,
    label_of,
    open_frame,
    series_look,
)

NODE_LOOKS = {  # kind → sign, fill, border colour, border style, border width
    "accepted": ("✓ ", "#C9EBDD", GREEN, "-", 2.8),
    "drafted": ("", "white", "#777777", "-", 0.8),
    "corrected": ("✗ ", "#FBE3B5", "#B87700", "--", 1.6),
    "bonus": ("+ ", "#CFE3F3", BLUE, ":", 1.6),
    "greedy": ("", "#EEEEEE", "#777777", ":", 1.6),
    "text": ("", "#EEEEEE", "black", "-", 0.8),
}


def tree_rows_of(parents: Sequence[int]) -> list[int]:
    """The row in which each token is drawn: a branch's end has a row of its own, from 0.

    A token stands in the row of its first child, so that the first branch is a straight line.
    """
    children: dict[int, list[int]] = {}
    for token, parent in enumerate(parents):
        children.setdefault(parent, []).append(token)
    rows, waiting, row = [0] * len(parents), children.get(-1, [])[::-1], 0
    while waiting:
        token = waiting.pop()
        rows[token] = row
        if token in children:
            waiting += children[token][::-1]
        else:
            row += 1
    return rows


def tree_size(parents: Sequence[int]) -> tuple[float, float]:
    """Inches that a drawing of this tree needs: (wide, high)."""
    deepest = max(tree_depths(tuple(parents)), default=0)
    return 0.8 + 0.9 * (deepest + 1), 0.9 + 0.32 * max(1, len(leaves(parents)))


def plot_tree(
    texts: Sequence[str],
    parents: Sequence[int],
    path: Sequence[int] = (),
    root: str = "text",
    following: tuple[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A tree of drafted tokens, from left to right; each box has the token's place and text.

    path: the places of the accepted tokens, drawn with ✓ and a thick border. root: the last
    token of the text. following: (text, "corrected", "bonus" or "greedy"), what the model said
    after the accepted path, drawn where it would stand.
    """
    parents = check_parents(parents, len(texts))
    kinds = ["accepted" if token in path else "drafted" for token in range(len(texts))]
    labels = [f"{token} {label_of(text)}" for token, text in enumerate(texts)]
    if following is not None:
        parents = (*parents, path[-1] if path else -1)
        kinds.append(following[1])
        labels.append(label_of(following[0]))
    ax = axes_for(ax, tree_size(parents))
    depths, rows = tree_depths(parents), tree_rows_of(parents)
    for token, parent in enumerate(parents):
        x, y = (0, 0) if parent < 0 else (depths[parent], rows[parent])
        _, _, colour, style, width = NODE_LOOKS[kinds[token]]
        bend = ((x, y), (x + 0.5, y), (x + 0.5, rows[token]), (depths[token], rows[token]))
        look = {"color": colour, "linewidth": width, "zorder": 2 if token in path else 1}
        ax.plot(*zip(*bend, strict=True), style, **look)
    _node(ax, (0, 0), label_of(root), "text").set_gid("text")
    for token, kind in enumerate(kinds):
        at = depths[token], rows[token]
        _node(ax, at, labels[token], kind).set_gid(f"{kind}-{token}")
    deepest = max(depths, default=0)
    ax.set(xlim=(-0.5, deepest + 0.6), ylim=(max(rows, default=0) + 0.6, -0.6), yticks=[])
    ax.set_xticks(range(deepest + 1))
    ax.set_xlabel("depth (tokens after the text)")
    ax.spines["left"].set_visible(False)
    return open_frame(ax)


def _node(ax: Axes, at: tuple[float, float], label: str, kind: str) -> Text:
    sign, fill, colour, style, width = NODE_LOOKS[kind]
    box = {"boxstyle": "round,pad=0.25", "facecolor": fill, "edgecolor": colour}
    box |= {"linestyle": style, "linewidth": width}
    words = {"fontsize": 8, "weight": "bold" if kind == "accepted" else "normal"}
    return ax.text(*at, sign + label, ha="center", va="center", bbox=box, zorder=3, **words)


def mask_size(count: int) -> tuple[float, float]:
    """Inches that the mask of a tree of `count` tokens needs: (wide, high)."""
    return 1.7 + 0.22 * (count + 1), 1.4 + 0.22 * (count + 1)


def plot_tree_mask(
    texts: Sequence[str],
    parents: Sequence[int],
    path: Sequence[int] = (),
    root: str = "text",
    ax: Axes | None = None,
) -> Axes:
    """Which token attends to which in the pass over a tree: a mark for yes.

    The first row is the last token of the text, the first column all of the text. Rows of
    accepted tokens have ✓ and squares in place of dots.
    """
    parents = check_parents(parents, len(texts))
    may, count = attends(parents), len(texts) + 1
    ax = axes_for(ax, mask_size(len(texts)))
    kinds = ((BLUE, "o", False), (GREEN, "s", True))
    for colour, marker, accepted in kinds:
        rows = [row for row in range(count) if (row - 1 in path) == accepted]
        spots = [(column, row) for row in rows for column in range(count) if may[row, column]]
        if spots:
            ax.scatter(*zip(*spots, strict=True), s=26, color=colour, marker=marker, zorder=2)
    names = [f"{token} {label_of(text)}" for token, text in enumerate(texts)]
    signs = ["✓ " if token in path else "" for token in range(len(texts))]
    ax.set_xticks(range(count), ["text", *names], rotation=90, fontsize=8)
    rows = [sign + name for sign, name in zip(signs, names, strict=True)]
    ax.set_yticks(range(count), [label_of(root), *rows], fontsize=8)
    for token in path:
        ax.get_yticklabels()[token + 1].set_weight("bold")
    for edge in range(count + 1):
        for line in (ax.axhline, ax.axvline):
            line(edge - 0.5, color=GREY, linewidth=0.5)
    ax.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), aspect="equal")
    ax.set_ylabel("this token …")
    ax.set_xlabel("… may attend to this one")
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    ax.tick_params(length=0)
    return ax


def plot_budgets(
    lines: Mapping[str, Mapping[int, float]], label: str, ax: Axes | None = None
) -> Axes:
    """A figure against the number of nodes in the tree, the axis by doublings.

    lines: name → nodes → value, from 0 up. Of each line the greatest value has a ring and, if
    there are several lines, the name.
    """
    ax = axes_for(ax, (5.4, 3.4))
    for i, (name, line) in enumerate(lines.items()):
        look, best = series_look(i), max(line, key=line.__getitem__)
        ax.plot(list(line), list(line.values()), label=name, **look)
        ring = {"s": 170, "facecolor": "none", "edgecolor": look["color"], "linewidth": 1.8}
        ax.scatter([best], [line[best]], **ring, zorder=3)
        said = f"{name}, best: {best}" if len(lines) > 1 else f"best: {best}"
        words = {"textcoords": "offset points", "ha": "center", "fontsize": 9}
        words["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # over the lines
        ax.annotate(said, (best, line[best]), (0, 12), **words, color=look["color"])
    ax.margins(y=0.2)
    counts = sorted({count for line in lines.values() for count in line})
    ax.set_xscale("log", base=2)
    ax.set_xticks(counts, counts)
    ax.minorticks_off()
    ax.set(xlabel="nodes in the tree", ylabel=label)
    ax.set_ylim(bottom=0)  # or a small fall would look like a deep one
    return open_frame(ax)


CANDIDATES = 8  # of each head, that a tree may use


def grown_drafter(
    heads: MedusaHeads, chance: Callable[[Node], float], nodes: int, depth: int | None = None
) -> HeadsDrafter:
    """Heads that draft the tree of `nodes` nodes with the greatest chances. depth: heads used.

    Fewer nodes where the heads have no more to offer. Raises ValueError for a tree of none.
    """
    depth = heads.shape.count if depth is None else depth
    ranks = min(CANDIDATES, heads.shape.words)
    return HeadsDrafter(heads, grow_tree(chance, nodes, depth, ranks))


def guess_ranks(
    lm: LM, heads: MedusaHeads, starts: torch.Tensor, temperature: float, seed: int = 7
) -> torch.Tensor:
    """At which rank each head had the token that followed: `[n, K]`, 0 for its best guess.

    Counted on texts of 48 tokens that the model writes after `starts` `[texts, T]`, at each
    place that does not repeat; the heads are told the true tokens on the way. See right_ranks.
    """
    written = write_texts(lm, starts, 48, temperature, make_generator(seed))
    places = examples_of(written, heads.shape.count + 1)
    followed = replace(places, labels=places.tokens[:, 1:])  # [n, K]: drawn, not most probable
    return right_ranks(heads, followed, lm.vocab_size)


@dataclass(frozen=True)
class TreeView:
    """One loop of a run: the tree that one pass verified, and what became of it.

    root: the text's last token. tokens, parents: the drafts, the accepted path first. following:
    (text, "corrected", "bonus" or "greedy"), what the model added after the path; None for EOS.
    passes: that verified it. tau: of the whole run.
    """

    index: int
    loops: int
    root: str
    tokens: list[str]
    parents: Parents
    accepted: int
    following: tuple[str, str] | None
    passes: int
    tau: float

    @property
    def path(self) -> tuple[int, ...]:
        """The places of the accepted tokens."""
        return tuple(range(self.accepted))

    @property
    def words(self) -> str:
        """The loop and the run in one line."""
        ends = f"{len(leaves(self.parents))} branches"
        shape = f"{len(self.tokens)} drafts in {ends}" if self.tokens else "no draft"
        last = f", then one {self.following[1]}" if self.following else ", then EOS"
        more = f", {self.passes - 1} more for near ties" if self.passes > 1 else ""
        kept = f"; {self.accepted} accepted{last}" if self.tokens else ""
        return (
            f"loop {self.index}, of {self.loops} loops: {shape}, one pass{more}{kept}. "
            f"The run: τ = {self.tau:.2f} (tokens emitted ÷ loops)"
        )


def tree_view(lm: LM, run: Generation, index: int) -> TreeView:
    """Loop `index` of a run of `speculate` → its tree and what was kept of it. No pass."""
    record = run.loops[index]
    earlier = [token for loop in run.loops[:index] for token in loop.emitted]
    count = len(record.branch)
    parents = tuple(range(-1, count - 1)) if record.parents is None else record.parents
    rest = token_texts(lm, record.emitted[record.accepted :])
    following = (rest[0], record.sources[-1]) if rest else None
    return TreeView(
        index=index,
        loops=len(run.loops),
        root=token_texts(lm, [*run.prompt_ids, *earlier])[-1],
        tokens=token_texts(lm, record.branch),
        parents=parents,
        accepted=record.accepted,
        following=following,
        passes=record.verify_passes,
        tau=mean_accepted_length(run.loops),
    )


MOST_NODES = 32  # that the picture has room for


class TreePanel(StepPanel):
    """BEYOND7: heads, nodes and temperature over one loop's tree, its mask and the run's τ."""

    grid: ClassVar[Grid] = {
        "depth": (1, 3),  # and all of them
        "nodes": (1, 16),
        "loop": ...,
    }

    view_of = staticmethod(tree_view)

    @checked
    def __init__(
        self,
        lm: LM,
        chance: Annotated[Callable[[Node], float], Check(check_function)],
        prompt: Prompt = PROMPT,
        nodes: Positive = 8,
        max_new_tokens: Positive = 30,
        loop: Count | None = None,
        heads: Annotated[MedusaHeads, Check(check_kind, MedusaHeads)] | None = None,
        seed: Seed = 7,
    ) -> None:
        start_ids(lm, prompt)  # refuses a bad prompt at once
        self.chance, self.seed, self.max_new_tokens = chance, seed, max_new_tokens
        self.heads = shipped_heads(lm)[0] if heads is None else heads
        check_heads_fit(self.heads, lm), check_tree_fits(State.start(lm, []))
        self.prompt, most = text_box(prompt), self.heads.shape.count
        self.depth, self.nodes = (
            slider("heads", most, 1, most),
            slider("nodes", nodes, 1, MOST_NODES),
        )
        self.temperature = temperature_slider(0.0)
        controls = [self.prompt, self.depth, self.nodes, self.temperature]
        super().__init__(controls, "480px", lm, loop)
        self.loop.continuous_update = False  # a large tree takes a moment to draw
        self.says = (
            "Panel: prompt, sliders for heads, nodes, temperature and loop over one loop's tree "
            f"and its mask. With {most} heads and {nodes} nodes: {self.current().words}"
        )

    def write(self, on_loop: OnLoop) -> Generation:
        """A run at the controls' values."""
        drafter = grown_drafter(self.heads, self.chance, self.nodes.value, self.depth.value)
        knobs = {"temperature": self.temperature.value, "seed": self.seed, "on_loop": on_loop}
        return speculate(self.lm, self.prompt.value, drafter, self.max_new_tokens, **knobs)

    def picture(self) -> str:
        """HTML: the loop and the run in one line, then the tree and its mask."""
        view = self.current()
        told = (view.tokens, view.parents, view.path, view.root)
        size, side = tree_size((*view.parents, view.accepted - 1)), mask_size(len(view.tokens))
        tree = self.figure(
            lambda ax: plot_tree(*told, view.following, ax),
            size,
            f"a tree, its accepted path marked: {view.words}",
            "tree",
            margins=(0.1, 0.55, 0.1, 0.1),
        )
        mask = self.figure(
            lambda ax: plot_tree_mask(*told, ax),
            side,
            f"the mask of that pass, {len(view.tokens) + 1} rows and columns",
            "mask",
            margins=(1.55, 0.1, 0.1, 1.25),
        )
        return render("tree", view.words, [(Markup(tree), size[0]), (Markup(mask), side[0])])
