"""The figures of BEYOND5: a tree of drafts, its mask, and node budgets.

Made like those of plots.py: plain data in, Axes out.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.text import Text

from medusa_lib.plots import BLUE, GREEN, GREY, ORANGE, _axes, _label, _open
from medusa_lib.tree_attention import check_parents, leaves, tree_depths, tree_looks

LOOKS = {  # kind → sign, fill, border colour, border style, border width
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
    labels = [f"{token} {_label(text)}" for token, text in enumerate(texts)]
    if following is not None:
        parents = (*parents, path[-1] if path else -1)
        kinds.append(following[1])
        labels.append(_label(following[0]))
    ax = _axes(ax, tree_size(parents))
    depths, rows = tree_depths(parents), tree_rows_of(parents)
    for token, parent in enumerate(parents):
        x, y = (0, 0) if parent < 0 else (depths[parent], rows[parent])
        _, _, colour, style, width = LOOKS[kinds[token]]
        bend = ((x, y), (x + 0.5, y), (x + 0.5, rows[token]), (depths[token], rows[token]))
        look = {"color": colour, "linewidth": width, "zorder": 2 if token in path else 1}
        ax.plot(*zip(*bend, strict=True), style, **look)
    _node(ax, (0, 0), _label(root), "text").set_gid("text")
    for token, kind in enumerate(kinds):
        at = depths[token], rows[token]
        _node(ax, at, labels[token], kind).set_gid(f"{kind}-{token}")
    deepest = max(depths, default=0)
    ax.set(xlim=(-0.5, deepest + 0.6), ylim=(max(rows, default=0) + 0.6, -0.6), yticks=[])
    ax.set_xticks(range(deepest + 1))
    ax.set_xlabel("depth (tokens after the text)")
    ax.spines["left"].set_visible(False)
    return _open(ax)


def _node(ax: Axes, at: tuple[float, float], label: str, kind: str) -> Text:
    sign, fill, colour, style, width = LOOKS[kind]
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
    """Who may look at whom in the pass over a tree: a mark for yes.

    The first row is the last token of the text, the first column all of the text. Rows of
    accepted tokens have ✓ and squares in place of dots.
    """
    parents = check_parents(parents, len(texts))
    looks, count = tree_looks(parents), len(texts) + 1
    ax = _axes(ax, mask_size(len(texts)))
    kinds = ((BLUE, "o", False), (GREEN, "s", True))
    for colour, marker, accepted in kinds:
        rows = [row for row in range(count) if (row - 1 in path) == accepted]
        spots = [(column, row) for row in rows for column in range(count) if looks[row, column]]
        if spots:
            ax.scatter(*zip(*spots, strict=True), s=26, color=colour, marker=marker, zorder=2)
    names = [f"{token} {_label(text)}" for token, text in enumerate(texts)]
    signs = ["✓ " if token in path else "" for token in range(len(texts))]
    ax.set_xticks(range(count), ["text", *names], rotation=90, fontsize=8)
    rows = [sign + name for sign, name in zip(signs, names, strict=True)]
    ax.set_yticks(range(count), [_label(root), *rows], fontsize=8)
    for token in path:
        ax.get_yticklabels()[token + 1].set_weight("bold")
    for edge in range(count + 1):
        for line in (ax.axhline, ax.axvline):
            line(edge - 0.5, color=GREY, linewidth=0.5)
    ax.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), aspect="equal")
    ax.set_ylabel("this token …")
    ax.set_xlabel("… may look at this one")
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    ax.tick_params(length=0)
    return ax


def plot_budgets(
    lines: Mapping[str, Mapping[int, float]],
    label: str,
    best: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A figure against the number of nodes in the tree, one line each, the axis by doublings.

    lines: name → nodes → value, from 0 up. best: nodes of the point of the first line to be marked.
    """
    ax = _axes(ax, (5.4, 3.4))
    looks = itertools.cycle(
        zip((BLUE, ORANGE, GREEN, "black"), "os^D", ("-", "--", "-.", ":"), strict=True)
    )
    for (name, line), (colour, marker, dash) in zip(lines.items(), looks, strict=False):
        nodes, values = list(line), list(line.values())
        ax.plot(nodes, values, dash, color=colour, marker=marker, markersize=4, label=name)
    if best is not None:
        value = next(iter(lines.values()))[best]
        look = {"s": 170, "facecolor": "none", "edgecolor": "black", "linewidth": 1.8}
        ax.scatter([best], [value], **look, zorder=3)
        ax.annotate(f"best: {best}", (best, value), (0, 12), textcoords="offset points",
                    ha="center", fontsize=9, weight="bold")  # fmt: skip
        ax.margins(y=0.2)
    counts = sorted({count for line in lines.values() for count in line})
    ax.set_xscale("log", base=2)
    ax.set_xticks(counts, counts)
    ax.minorticks_off()
    ax.set(xlabel="nodes in the tree", ylabel=label)
    ax.set_ylim(bottom=0)  # or a small fall would look like a deep one
    if len(lines) > 1:
        ax.legend(frameon=False, fontsize=8)
    return _open(ax)
