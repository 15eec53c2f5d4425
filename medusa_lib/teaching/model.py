"""STEP1's room: the parts of a model, counted and drawn."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from transformers import PreTrainedModel

from medusa_lib.teaching.shared.style import BLUE, ORANGE, axes_for, open_frame


def parameter_parts(model: PreTrainedModel) -> dict[str, int]:
    """Number of parameters in each part of a model; a part that is shared counts once.

    Parts: token embeddings, position embeddings where there are any, each block, output.
    """
    table, parts = model.get_input_embeddings().weight, {}
    for name, values in model.named_parameters():
        block = re.search(r"\.(?:h|layers|blocks)\.(\d+)\.", name)
        if values is table:
            part = "token embeddings"
        elif block:
            part = f"block {int(block[1]) + 1}"
        else:
            part = "position embeddings" if re.search("wpe|embed_pos", name) else "output"
        parts[part] = parts.get(part, 0) + values.numel()
    return parts


def plot_parameters(parts: Mapping[str, int], ax: Axes | None = None) -> Axes:
    """Bars of the number of parameters in each part of a model, first part on top."""
    ax = axes_for(ax, (6.4, 0.35 * len(parts) + 0.9))
    rows, counts = np.arange(len(parts)), list(parts.values())
    colours = [BLUE if part.startswith("block") else ORANGE for part in parts]
    ax.barh(rows, counts, color=colours)
    for row, count in zip(rows, counts, strict=True):
        ax.text(count, row, f" {count:,} ({count / sum(counts):.0%})", va="center", fontsize=8)
    ax.set_yticks(rows, list(parts))
    ax.invert_yaxis()
    ax.set(xlim=(0, 1.35 * max(counts)), xlabel="parameters")
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    return open_frame(ax)
